"""The peers' formats carry the whole record, and their tokens are counted as training counts ours."""

from __future__ import annotations

import ast
import itertools
import json

import pytest
from test_figures import shown_boxes

from giellm_utils.experiment.benchmarks import tokens as peer_costs
from giellm_utils.core.settings import ConfigError
from giellm_utils.models.spec import ModelConfig
from giellm_utils.formats.giellm import Converter
from giellm_utils.reporting.figures.format_costs import peer_costs as figure
from giellm_utils.models.load import load_tokenizer
from giellm_utils.formats.cost_only import FORMATS, IEPILE_SPLIT, MARKERS, Call
from giellm_utils.core.schema import Record, Span, Word
from giellm_utils.training.sequences import build
from giellm_utils.core.files import read_json
from giellm_utils.data.registry import TASKS, load_dataset
from giellm_utils.training.rows import Sequences

TASK = TASKS["scnm"]
CONVERTER = Converter(TASK)
CALLS = {"joint": 1, "text_words": 2, "slg": 1, "usa": 1, "oiellm": 1, "uie": 1, "instruct_uie": 2, "yayi_uie": 2,
         "iepile": 3, "gollie": 1}


def record(text: str, label: str, *words: tuple[str, str]) -> Record:
    spans = [Span(text.index(s), text.index(s) + len(s)) for _, s in words]
    entities = tuple(Word("entity", kind, span) for (kind, _), span in zip(words, spans, strict=True))
    return Record("x", "scnm", text, label, entities).validate(TASK)


PLAIN = record("佐藤と鈴木は京都にいる。", "社会", ("人名", "佐藤"), ("人名", "鈴木"), ("地名", "京都"))
EMPTY = record("雨が降る。", "自然")
HOSTILE = record('彼は"A\\B: 1;2"　と\nいう。', "文芸", ("製品名", '"A\\B: 1;2"　と'))
WORD, OPTIONS = "固有表現抽出", "<社会><文芸><学問><技術><自然>"
TYPES = ("人名", "法人名", "政治的組織名", "その他の組織名", "地名", "施設名", "製品名", "イベント名")


def calls(name: str, given: Record) -> list[Call]:
    return FORMATS[name].calls(given, CONVERTER)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_carries_the_whole_record(name):
    for given in load_dataset("scnm", "embedded").records:
        made = calls(name, given)
        assert len(made) == CALLS[name]
        assert all(given.text in prompt for prompt, _ in made)
        targets = "\n".join(target for _, target in made)
        assert given.label in targets
        for item in given.items():
            assert item.label in targets
            assert targets.count(item.surfaces[0]) >= sum(i == item for i in given.items()), (given.text, targets)


@pytest.mark.parametrize("name", FORMATS)
def test_prompts_list_the_labels_that_are_said_and_no_answer(name):
    form = FORMATS[name]
    prompts = "\n".join(prompt for prompt, _ in calls(name, PLAIN))
    offered = [all(label in prompts for label in labels) for labels in (TASK.text_labels, TYPES)]
    assert offered == {"none": [False, False], "text": [True, False], "both": [True, True]}[form.offers]
    other = record(PLAIN.text, "技術", ("施設名", "京都"))
    assert prompts == "\n".join(prompt for prompt, _ in calls(name, other)), "the answer leaks into the prompt"


def test_formats_in_plain_text():
    names = "".join(f":{kind};" for kind in TYPES)
    answer = f"<社会>{WORD}:人名;佐藤:人名;鈴木:地名;京都"
    assert calls("slg", PLAIN) == [(f"{PLAIN.text}{OPTIONS}{PLAIN.text}{WORD}{names}:無い;", answer)]
    assert calls("usa", PLAIN) == [(f"{PLAIN.text}{OPTIONS}{PLAIN.text}{WORD}{names}", answer)]
    assert calls("oiellm", PLAIN) == [(f"{PLAIN.text}/NER", "社会/NER/:人名;佐藤:人名;鈴木:地名;京都")]
    spots = "".join(f"<spot>{label}" for label in (*TASK.text_labels, *TYPES))
    assert calls("uie", PLAIN) == [(f"{spots}<extra_id_2>{PLAIN.text}", "((社会)(人名: 佐藤)(人名: 鈴木)(地名: 京都))")]
    (label_prompt, label), (prompt, words) = calls("instruct_uie", PLAIN)
    assert (label, words) == ("社会", "人名: 佐藤; 人名: 鈴木; 地名: 京都")
    for made, options in ((label_prompt, TASK.text_labels), (prompt, TYPES)):
        assert made.endswith(f"\nOption:{','.join(options)} \nText: {PLAIN.text}\nAnswer:")


def test_nothing_to_extract_is_said():
    last = {name: calls(name, EMPTY)[-1].target for name in FORMATS}
    assert last["slg"] == last["usa"] == last["joint"] == f"<自然>{WORD}:無い;"
    assert last["oiellm"] == "自然/NER/:無い;" and last["uie"] == "((自然))"
    assert last["instruct_uie"] == "None" and last["yayi_uie"] == "{}" and last["gollie"] == ' [類別(label="自然")]'
    assert json.loads(last["iepile"]) == {kind: [] for kind in TYPES[IEPILE_SPLIT:]}


@pytest.mark.parametrize("given", [PLAIN, EMPTY, HOSTILE])
def test_json_and_python_formats_read_back(given):
    gold = [(i.label, i.surfaces[0]) for i in given.items()]
    asked, found = [], []
    for prompt, target in calls("iepile", given)[1:]:
        question, answer = json.loads(prompt), json.loads(target)
        assert question["input"] == given.text and list(answer) == question["schema"]
        assert len(question["schema"]) <= IEPILE_SPLIT
        asked += question["schema"]
        found += [(kind, surface) for kind, surfaces in answer.items() for surface in surfaces]
    assert tuple(asked) == TYPES and sorted(found) == sorted(gold)
    yayi = json.loads(calls("yayi_uie", given)[1].target)
    assert sorted((kind, s) for kind, surfaces in yayi.items() for s in surfaces) == sorted(gold)

    (prompt, target), = calls("gollie", given)
    *classes, text, result = ast.parse(prompt + target).body
    assert [c.name for c in classes] == ["類別", *TYPES] and all(ast.get_docstring(c) for c in classes)
    assert ast.literal_eval(text.value) == given.text
    instances = [(c.func.id, c.keywords[0].arg, ast.literal_eval(c.keywords[0].value)) for c in result.value.elts]
    assert instances == [("類別", "label", given.label), *((kind, "span", s) for kind, s in gold)]


def test_another_task_is_refused_in_one_sentence():
    other = load_dataset("tcree", "embedded")
    for name in set(FORMATS) - {"joint", "text_words"}:
        with pytest.raises(ValueError, match=r"written for SCNM, not for .* \(task tcree\)"):
            FORMATS[name].calls(other.records[0], Converter(other.task))


def test_tokens_are_counted_as_in_training(scratch_cache):
    tokenizer = load_tokenizer(ModelConfig(id="scratch"))
    rows = Sequences(build({"scnm": CONVERTER}, [PLAIN, EMPTY], "joint"), tokenizer, 2048)
    counts = peer_costs.token_counts(tokenizer, [calls("joint", r) for r in (PLAIN, EMPTY)])
    # The last token of a sequence is written, never read.
    assert [total - 1 for total in counts[:, 3]] == [len(row["input_ids"]) for row in rows]
    two = peer_costs.token_counts(tokenizer, [calls("text_words", PLAIN), calls("text_words", EMPTY) * 2])
    each = [peer_costs.token_counts(tokenizer, [[c]])[0] for c in calls("text_words", EMPTY)]
    assert list(two[:, 2]) == [2, 4] and list(two[1]) == list(2 * (each[0] + each[1]))


def test_the_command_writes_what_it_measured(scratch_cache, tmp_path, capsys):
    path = peer_costs.main(["--source", "embedded", "--model", "scratch", "--out", str(tmp_path / "out")])
    result, printed = read_json(path), capsys.readouterr().out
    assert "500 sentences were asked for, it has 320; taking all" in printed
    assert (result["n"], result["wanted"], list(result["formats"])) == (320, 500, list(FORMATS))
    assert result["source"].endswith("(machine-written, stand-in) · tokenizer of tiny model from scratch (tests only)")
    joint = result["formats"]["joint"]
    records = load_dataset("scnm", "embedded").records
    # One token a character (no byte fallback on these texts), and an end of sequence.
    out = sum(len(CONVERTER.target(r, "joint")) + 1 for r in records) / 320
    assert joint["tokens_out"]["value"] == pytest.approx(out)
    uie = sum(len(calls("uie", r)[0].prompt) - 13 * len(MARKERS[0]) - len(MARKERS[1]) + 14 for r in records) / 320
    assert result["formats"]["uie"]["tokens_in"]["value"] == pytest.approx(uie), "a structure token counts as one"
    for name, found in result["formats"].items():
        assert found["calls"]["value"] == CALLS[name]
        assert found["total"]["value"] == pytest.approx(found["tokens_in"]["value"] + found["tokens_out"]["value"])
        assert found["times_joint"]["value"] == pytest.approx(found["total"]["value"] / joint["total"]["value"])
        assert all(found[key]["low"] <= found[key]["value"] <= found[key]["high"] for key in ("total", "times_joint"))
    table = path.with_suffix(".md").read_text(encoding="utf-8")
    assert table in printed
    order = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[4:]]
    assert order == [f["title"] for f in sorted(result["formats"].values(), key=lambda f: f["total"]["value"])]
    with pytest.raises(ConfigError, match="--items is 0; give 1 or more"):
        peer_costs.main(["--source", "embedded", "--items", "0"])


def test_the_figure_draws_every_format_and_overlaps_nothing():
    def interval(value: float) -> dict[str, float]:
        return {"value": value, "low": 0.97 * value, "high": 1.03 * value}

    formats = {name: {"title": form.title, "offers": form.offers, "tokens_in": interval(900 - 95 * k),
                      "tokens_out": interval(28.1), "calls": interval(CALLS[name]), "total": interval(928.1 - 95 * k)}
               for k, (name, form) in enumerate(FORMATS.items())}
    fig = figure({"source": "SCNM, embedded mini corpus (machine-written, stand-in)", "n": 320, "formats": formats})
    cheapest_first = list(reversed(formats.values()))
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == [f["title"] for f in cheapest_first]
    assert [bar.get_width() for bar in fig.axes[0].patches] == pytest.approx([
        f[part]["value"] for part in ("tokens_in", "tokens_out") for f in cheapest_first])
    boxes = shown_boxes(fig)
    assert "Source: SCNM, embedded mini corpus" in " ".join(text for text, _ in boxes)
    assert all(box.x0 >= -1 and box.x1 <= fig.bbox.x1 + 1 for _, box in boxes)
    for (a, x), (b, y) in itertools.combinations(boxes, 2):
        assert min(x.x1, y.x1) - max(x.x0, y.x0) <= 1.5 or min(x.y1, y.y1) - max(x.y0, y.y0) <= 3, (a, b)
