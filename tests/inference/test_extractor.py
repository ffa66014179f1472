"""extractor, extract_cli: offsets over cuts, order, memory, resume after a kill. A stand-in decodes here;
test_hostile.py has the real decoder. As a script: one extraction of a file, slow enough to be killed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from giellm_utils.cli import extract
from giellm_utils.inference import stream
from giellm_utils.models.bundle import card_for, make_card, read_card, write_card
from giellm_utils.models.spec import ModelConfig
from giellm_utils.formats.giellm import Converter
from giellm_utils.inference.stream import extract_file, ExtractFileError
from giellm_utils.inference.cut import MOST_INSTRUCTIONS, cut
from giellm_utils.inference.extractor import WINDOW, ExtractionError, Extractor
from giellm_utils.inference.results import ExtractedRelation
from giellm_utils.core.schema import Item
from giellm_utils.data.registry import TASKS

SCRATCH = ModelConfig(id="scratch")


class Characters:
    """A tokenizer of one token a character."""

    def __call__(self, texts, add_special_tokens=True):
        return SimpleNamespace(input_ids=[[ord(c) for c in text] for text in texts])


class StandIn:
    """Extracts every 東京 as the first label and, of relations, 東京 of itself; yields out of order."""

    def __init__(self, converters, delay: float = 0, refused: str = "拒", truncated: str = "切") -> None:
        self.converters, self.delay, self.refused, self.truncated = converters, delay, refused, truncated
        self.requests = []

    def items(self, request) -> list[Item]:
        count = request.text.count("東京")
        return [Item(p.kind, p.labels[0], ("東京",) * (1 if p.shape == "span" else 2))
                for p in self.converters[request.task].task.parts for _ in range(count)]

    def decode(self, requests, on_error=None):
        held = []
        for number, request in enumerate(requests):
            self.requests.append(request)
            if self.refused in request.text:
                on_error(number, "refused")
                continue
            converter = self.converters[request.task]
            label = converter.task.text_labels[len(request.text) % 2]
            output = converter.mark(label) + converter.words(self.items(request))
            held.append((number, {"output": output, "truncated": self.truncated in request.text}))
            if len(held) == 8:
                random.Random(number).shuffle(held)
                yield from self._slowly(held)
                held = []
        yield from self._slowly(held[::-1])

    def _slowly(self, held):
        for pair in held:
            time.sleep(self.delay)
            yield pair


def card(*tasks: str, context: int = 200, budget: int = 40):
    converters = [Converter(TASKS[t]) for t in tasks]
    return make_card(SCRATCH, converters, ["joint"], context=context,
                     budgets={t: {"joint": budget} for t in tasks},
                     max_items={c.task.name: {p.kind: 3 for p in c.task.parts} for c in converters})


def extractor(*tasks: str, delay: float = 0, batch_size: int = 2, **options) -> Extractor:
    made = card(*(tasks or ("scnm",)), **options)
    return Extractor(StandIn(made.converters(), delay), Characters(), made, batch_size)


def spans(result):
    for word in result.words:
        yield from (word.head, word.tail) if isinstance(word, ExtractedRelation) else (word,)


# -- cutting ---------------------------------------------------------------------------------------


def lengths(texts):
    return [len(t) for t in texts]


@pytest.mark.parametrize("text, limit", [
    ("", 20), ("一文だけ。", 20), ("一つ目の文。二つ目!?「三つ目。」\n四つ目の文がここに" * 9, 40),
    ("句点のない長い文" * 40, 30), ("長い" * 60 + "。短い。" * 20, 30), ("固有表現抽出" * 70, 2000)])
def test_cuts_tile_the_text_within_the_limits(text, limit):
    ranges = cut(text, lengths, limit, ["固有表現抽出"])
    assert "".join(text[a:b] for a, b in ranges) == text
    for a, b in ranges:
        assert 0 < b - a <= limit and text[a:b].count("固有表現抽出") <= MOST_INSTRUCTIONS


def test_cuts_fall_on_sentence_ends_where_there_are_some():
    text = "彼は「行く。」と言った。雨だ!\n晴れ?" * 10
    ends = {text[a:b][-1] for a, b in cut(text, lengths, 30)}
    assert ends <= set("。!\n?」") and len(cut(text, lengths, 30)) > 1
    assert not any(text[a] in "」\n" for a, _ in cut(text, lengths, 30))


# -- results ---------------------------------------------------------------------------------------


def test_offsets_are_of_the_whole_text_and_both_tasks_are_there():
    text = "東京は晴れ。東京の空は\n" * 30
    result = next(extractor("scnm", "tcree").extract([text]))
    assert [r.task for r in result.results] == ["scnm", "tcree"]
    for part in result.results:
        assert part.pieces > 1 and not part.problems and part.label
        assert all(text[s.start:s.end] == s.surface == "東京" for s in spans(part))
    # Offsets differ, so none was lost and none counted twice.
    assert [w.start for w in result["scnm"].words] == [i for i in range(len(text)) if text.startswith("東京", i)]
    assert isinstance(next(w for w in result["tcree"].words if w.kind == "relation"), ExtractedRelation)
    assert json.loads(json.dumps(result.to_json()))["tasks"]["scnm"]["words"][0] == {
        "kind": "entity", "label": TASKS["scnm"].parts[0].labels[0], "surface": "東京", "start": 0, "end": 2}


def test_the_text_label_of_a_cut_text_is_that_of_most_characters():
    model = extractor(context=126)  # 20 characters of text a piece
    limit = model._limit("scnm", "joint")
    even, odd = ("あ" * (limit - 2 - limit % 2) + "。", "い" * 3 + "。")
    result = next(model.extract([even + odd]))["scnm"]
    assert result.pieces == 2 and result.label == TASKS["scnm"].text_labels[len(even) % 2]


def test_truncation_and_empty_text_and_invented_spans():
    model = extractor()
    empty, cut_off = model.extract(["", "切れた東京"])
    assert (empty["scnm"].label, empty["scnm"].words, empty["scnm"].truncated, empty["scnm"].pieces) == (
        None, (), False, 0)
    assert cut_off["scnm"].truncated
    model.decoder.items = lambda request: [Item("entity", "人名", (s,)) for s in ("大阪", "東京", "東京")]
    result = next(model.extract(["東京"]))["scnm"]
    assert [p.name for p in result.problems] == ["not_in_text"] and [w.surface for w in result.words] == ["東京"]


def test_the_view_escapes_and_shows_what_is_hidden():
    text = "<script>alert(1)</script>東京\u202e<img onerror=x>"
    html = next(extractor("scnm", "tcree").extract([text]))._repr_html_()
    assert "<script" not in html and "<img" not in html and "\u202e" not in html and "U+202E" in html
    assert "&lt;script&gt;" in html and "東京" in html


def test_wrong_requests_are_one_clear_sentence():
    model = extractor()
    for texts, options, words in (("一つ", {}, "one string"), (["一つ"], {"tasks": "tcree"}, "scnm"),
                                  (["一つ"], {"level": "words"}, "'joint'")):
        with pytest.raises(ExtractionError, match=words):
            model.extract(texts, **options)
    with pytest.raises(ExtractionError, match="text 1: it is int"):
        list(model.extract(["一つ", 2]))
    with pytest.raises(ExtractionError, match="text 1: refused"):
        list(model.extract(["一つ", "拒否"]))
    with pytest.raises(ExtractionError, match="context of 60"):
        list(extractor(context=60).extract(["一つ"]))


def test_a_long_input_is_read_one_window_ahead_at_most():
    model = extractor(batch_size=4)
    given = 0

    def texts():
        nonlocal given
        for n in range(50_000):
            given += 1
            yield "拒" if n % 1000 == 7 else f"{n}番目の東京"

    furthest, seen, refused = 0, [], []
    for result in model.extract(texts(), on_error=lambda i, reason: refused.append(i)):
        furthest = max(furthest, given - result.index)
        seen.append(result.index)
        model.decoder.requests.clear()
    assert furthest <= WINDOW
    assert refused == list(range(7, 50_000, 1000)) and seen == sorted(set(range(50_000)) - set(refused))


# -- the card --------------------------------------------------------------------------------------


def test_a_card_comes_back_as_it_was_written(tmp_path):
    made = card("scnm", "tcree")
    write_card(tmp_path, made)
    assert read_card(tmp_path) == made
    assert made.converters()["tcree"].options == Converter(TASKS["tcree"]).options
    assert list(card_for(tmp_path, "m", None, ["tcree"], None).tasks) == ["tcree"]
    with pytest.raises(ExtractionError, match="not trained on scpos-rw"):
        card_for(tmp_path, "m", None, ["scpos-rw"], None)


@pytest.mark.parametrize("old, new, words", [
    ('"joint": 40', '"joint": 0', "budgets of joint"), ('"entity": 3', '"person": 3', "max_items of entity"),
    ('"context"', '"contexts"', "contexts"), ('"marks": "<>"', '"marks": ";;"', "marks"),
    ("{", "", "giellm.json")])
def test_a_faulty_card_is_named_with_its_field(tmp_path, old, new, words):
    path = tmp_path / "giellm.json"
    text = json.dumps(card("scnm").model_dump())
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ExtractionError, match=words):
        read_card(tmp_path)


def test_without_a_card_one_sentence_says_what_is_missing(tmp_path):
    with pytest.raises(ExtractionError, match="no model"):
        Extractor.from_pretrained(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").write_text("{}", encoding="utf-8")
    both = r"tasks \(argument tasks\) and its base model \(argument base\); give them"
    with pytest.raises(ExtractionError, match=both):
        Extractor.from_pretrained(tmp_path)
    with pytest.raises(ExtractionError, match=r"base model \(argument base\); give it"):
        Extractor.from_pretrained(tmp_path, tasks=["scnm"])
    with pytest.raises(ExtractionError, match="no task 'nonsense'"):
        Extractor.from_pretrained(tmp_path, tasks=["nonsense"], base="scratch")


# -- files -----------------------------------------------------------------------------------------

BAD = [b"not json\n", b'{"id": 1}\n', b'{"text": 5}\n', b'{"text": "\xff"}\n', b"[" * 100_000 + b"\n",
       b'{"id": NaN, "text": "x"}\n', '{"text": "拒"}\n'.encode()]


def write_input(path: Path, count: int) -> Path:
    """`count` lines: good ones, every tenth bad, every 25th blank, a lone surrogate; no last line end."""
    rows = [BAD[n // 10 % len(BAD)] if n % 10 == 9 else b"\n" if n % 25 == 3
            else json.dumps({"id": f"x{n}", "text": f"{n}番目、東京。" + "\ud800" * (n % 7 == 0)}).encode() + b"\n"
            for n in range(count)]
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(rows).removesuffix(b"\n"))
    return path


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_a_killed_extraction_goes_on_without_loss_or_repetition(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 300)
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    counts = extract_file(extractor(), source, whole, tasks=["scnm"], quiet=True)
    assert (counts.good, counts.bad) == (258, 30) and counts.resumed == 0
    child = subprocess.Popen([sys.executable, __file__, str(source), str(out)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 400
    while not out.exists() or out.read_bytes().count(b"\n") < 60:
        assert child.poll() is None and time.monotonic() < deadline, child.stderr.read().decode()[-2000:]
        time.sleep(0.02)
    with pytest.raises(ExtractFileError, match="being written by another"):
        extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    left = out.read_bytes().count(b"\n")
    assert 60 <= left < 258
    # What a kill in the middle of a write leaves.
    for path in (out, tmp_path / "out.jsonl.errors.jsonl"):
        with path.open("ab") as file:
            file.write(b'{"line": 29')
    counts = extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    assert (counts.good, counts.bad, counts.resumed) == (258, 30, left)
    assert out.read_bytes() == whole.read_bytes()
    errors, wanted = (sorted(rows_of(p.with_name(p.name + ".errors.jsonl")), key=lambda r: r["line"])
                      for p in (out, whole))
    assert errors == wanted and [r["line"] for r in errors] == list(range(10, 301, 10))
    # Once more: nothing is left to do, and nothing changes.
    again = extractor()
    assert extract_file(again, source, out, tasks=["scnm"], quiet=True).resumed == 258
    assert not again.decoder.requests and out.read_bytes() == whole.read_bytes()


def test_any_cut_of_the_output_is_completed_to_the_same_bytes(tmp_path):
    source, out = write_input(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    whole = out.read_bytes()
    errors = sorted(rows_of(tmp_path / "out.jsonl.errors.jsonl"), key=lambda r: r["line"])
    for at in range(0, len(whole), 97):
        out.write_bytes(whole[:at])
        extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
        assert out.read_bytes() == whole
        assert sorted(rows_of(tmp_path / "out.jsonl.errors.jsonl"), key=lambda r: r["line"]) == errors
    assert rows_of(out)[0]["text"].endswith("\ud800") and rows_of(out)[0]["id"] == "x0"


def test_an_output_of_something_else_is_left_alone(tmp_path):
    source, out = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    extract_file(extractor(), source, out, tasks=["scnm"], model="a", quiet=True)
    before = out.read_bytes()

    def refused(words, source=source, **changed):
        with pytest.raises(ExtractFileError, match=words):
            extract_file(extractor("scnm", "tcree"), source, out, quiet=True,
                         **{"tasks": ["scnm"], "model": "a", **changed})
        assert out.read_bytes() == before

    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "別の文。"}\n', encoding="utf-8")
    refused("another input", other)
    refused("tasks", tasks=["tcree"])
    refused("model", model="b")
    refused("both input and output", out)
    out.with_name("out.jsonl.state").unlink()
    refused("cannot be told")
    counts = extract_file(extractor(), source, out, tasks=["scnm"], model="b", overwrite=True, quiet=True)
    assert counts.resumed == 0
    assert out.read_bytes() == before


def test_an_input_that_grew_goes_on_and_one_that_changed_later_does_not(tmp_path):
    source, out = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    first = extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    with source.open("ab") as file:
        file.write('\n{"text": "東京が増えた。"}\n'.encode())
    assert extract_file(extractor(), source, out, tasks=["scnm"], quiet=True).good == first.good + 1
    assert rows_of(out)[-1]["line"] == 31
    source.write_bytes(source.read_bytes().replace("増えた".encode(), "減った".encode()))
    with pytest.raises(ExtractFileError, match="line 31 of"):
        extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)


def test_a_line_too_long_is_read_over(tmp_path, monkeypatch):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'{"text": "a"}\n' + b"x" * 1000 + b'\n{"text": "b"}\n')
    monkeypatch.setattr(stream, "LONGEST_LINE", 64)
    monkeypatch.setattr(stream.lines, "__defaults__", (64,))
    counts = extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    assert (counts.good, counts.bad) == (2, 1) and [r["line"] for r in rows_of(out)] == [1, 3]


def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(extract.extract)
    return app


def test_the_command_and_its_exit_codes(tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "from_pretrained",
                        lambda model, **options: extractor(*(options["tasks"] or ())))
    # A user may have run `make run`, whose model is the default.
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    run = CliRunner()
    one = run.invoke(command(), ["東京へ行く。", "--task", "scnm", "--model", "m"])
    assert one.exit_code == 0
    assert json.loads(one.stdout)["tasks"]["scnm"]["words"][0]["end"] == 2
    source, out = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    both = [str(source), "--tasks", "scnm,tcree", "-o", str(out), "--model", "m"]
    done = run.invoke(command(), both)
    assert done.exit_code == 3 and "3 bad lines" in done.stderr
    assert set(rows_of(out)[0]["tasks"]) == {"scnm", "tcree"}
    fine = tmp_path / "fine.jsonl"
    fine.write_text('{"text": "東京"}\n', encoding="utf-8")
    assert run.invoke(command(), [str(fine), "-o", str(tmp_path / "f.jsonl"), "--model", "m"]).exit_code == 0
    assert not (tmp_path / "f.jsonl.errors.jsonl").exists()
    for arguments, words in (([str(source), "--model", "m"], "-o OUT.jsonl"),
                             (["none.jsonl", "-o", str(out), "--model", "m"], "no file none.jsonl"),
                             ([str(source), "-o", str(out), "--model", "m"], "was made with tasks"),
                             (["東京", "--level", "words", "--model", "m"], "'joint'"), (["東京"], "make run trains one, or name one with --model")):
        failed = run.invoke(command(), arguments)
        assert failed.exit_code == 2 and words in failed.stderr.replace("\n", " "), arguments


def test_a_trained_folder_reads_texts(tmp_path, scratch_cache):
    from giellm_utils.models.load import model_path

    shutil.copytree(model_path(SCRATCH), tmp_path / "model")
    converters = [Converter(TASKS["scnm"]), Converter(TASKS["tcree"])]
    write_card(tmp_path / "model", make_card(
        SCRATCH, converters, ["joint"], context=300, budgets={"scnm": {"joint": 24}, "tcree": {"joint": 24}},
        max_items={"scnm": {"entity": 2}, "tcree": {"relation": 2, "event": 2}}))
    model = Extractor.from_pretrained(tmp_path, batch_size=4)
    text = "東京で学会があった。大阪でも。" * 30
    long, short = model.extract([text, "東京。"])
    assert long["scnm"].pieces > 1 and long.index == 0 and short["tcree"].pieces == 1
    for result in (long, short):
        for part in result.results:
            assert part.words and not part.problems
            assert all(result.text[s.start:s.end] == s.surface for s in spans(part))


if __name__ == "__main__":
    extract_file(extractor(delay=0.02), Path(sys.argv[1]), Path(sys.argv[2]), tasks=["scnm"], quiet=True)
