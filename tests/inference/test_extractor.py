"""Extraction: offsets over cuts, order, memory, long texts. A stand-in decodes here; test_hostile.py has the
real decoder."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from giellm_utils.core.schema import Item
from giellm_utils.data.registry import TASKS
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.constrained import Choice
from giellm_utils.inference.extractor import _winner, confidences, ExtractionError, Extractor, WINDOW
from giellm_utils.inference.results import ExtractedRelation
from giellm_utils.models.bundle import BundleError, make_card, read_card, write_card
from giellm_utils.models.load import model_path
from support.extraction import extractor, lengths, mentions
from support.models import SCRATCH


def test_offsets_are_of_the_whole_text_and_both_tasks_are_there():
    text = "東京は晴れ。東京の空は\n" * 30
    result = next(extractor("scnm", "tcree").extract([text]))
    assert [r.task for r in result.results] == ["scnm", "tcree"]
    for part in result.results:
        assert part.pieces > 1 and not part.problems and part.label
        assert all(text[s.start:s.end] == s.surface == "東京" for s in mentions(part))
    # Offsets differ, so none was lost and none counted twice.
    found = [w.start for w in result["scnm"].words]
    assert found == [i for i in range(len(text)) if text.startswith("東京", i)]
    assert isinstance(next(w for w in result["tcree"].words if w.kind == "relation"), ExtractedRelation)
    assert json.loads(json.dumps(result.to_json()))["tasks"]["scnm"]["words"][0] == {
        "kind": "entity", "label": TASKS["scnm"].parts[0].labels[0], "surface": "東京", "start": 0, "end": 2,
        "confidence": 0.9}


def test_a_model_that_wants_the_other_level_in_its_prompt_is_refused():
    made = extractor()
    card = made.card.model_copy(update={"condition": "text-given", "levels": ["words"]})
    with pytest.raises(ExtractionError, match="trained as text-given and wants the other level of a text"):
        Extractor(made.decoder, made.tokenizer, card)
    with pytest.raises(ExtractionError, match="trained as placebo-words, a control of the experiment with"):
        Extractor(made.decoder, made.tokenizer, made.card.model_copy(update={"condition": "placebo-words"}))


def test_two_thousand_mentions_of_one_name_come_back():
    """20,000 characters, read by a model of texts of 60: a model writes no more items than it ever saw."""
    text = "東京の空は青く高い。" * 2000
    model = extractor(most=12, characters=lengths(60), context=1024)
    result = next(model.extract([text]))["scnm"]
    assert [w.start for w in result.words] == list(range(0, len(text), 10))
    assert result.pieces == 334 and all(r.text.endswith("。") for r in model.decoder.requests)
    assert model.decoder.calls == 1, "all pieces go to the decoder together, to fill its batches"
    blind = extractor(most=12, context=2048)
    assert len(next(blind.extract([text]))["scnm"].words) < 200, "what it was like without the lengths"


def test_a_prompt_that_holds_the_text_twice_leaves_room_for_half_of_it():
    once, twice = extractor(context=1024), extractor(context=1024)
    twice.formats["scnm"] = make_format("giellm-twice", TASKS["scnm"])
    for model in (once, twice):
        list(model.extract(["東京の空は青く高い。" * 200]))
    most = [max(len(model.formats["scnm"].prompt(r.text)) for r in model.decoder.requests)
            for model in (once, twice)]
    assert max(most) <= 1024 - once.card.tasks["scnm"].budgets["joint"]
    assert len(twice.decoder.requests) > len(once.decoder.requests)


def test_a_card_bounds_each_task_by_its_own_texts():
    model = extractor("scnm", "tcree", characters=lengths(20))
    tasks = {**model.card.tasks, "tcree": model.card.tasks["tcree"].model_copy(
        update={"lengths": lengths(100)})}
    model.card = model.card.model_copy(update={"tasks": tasks})
    result = next(model.extract(["東京の空は青く高い。" * 8]))
    assert (result["scnm"].pieces, result["tcree"].pieces, result.pieces) == (4, 1, 4)


def test_the_text_label_of_a_cut_text_is_that_of_most_characters():
    even, odd = "あ" * 19 + "。", "い" * 4 + "。"
    result = next(extractor(characters=lengths(20)).extract([even + odd]))["scnm"]
    assert result.pieces == 2 and result.label == TASKS["scnm"].text_labels[0]


def test_truncation_and_empty_text_and_invented_spans():
    model = extractor()
    empty, cut_off = model.extract(["", "切れた東京"])
    assert (empty["scnm"].label, empty["scnm"].words, empty["scnm"].truncated, empty["scnm"].pieces) == (
        None, (), False, 0)
    assert cut_off["scnm"].truncated
    model.decoder.items = lambda request: [Item("entity", "人名", (s,)) for s in ("大阪", "東京", "東京")]
    result = next(model.extract(["東京"]))["scnm"]
    assert [p.name for p in result.problems] == ["not_in_text"]
    assert [w.surface for w in result.words] == ["東京"]


def test_confidences_are_products_over_the_tokens_that_write_what_they_are_of():
    fmt = GiellmFormat(TASKS["scnm"])
    output = "<社会>固有表現抽出:人名;東京:地名;東京"
    assert fmt.places(output) == ((0, 4), ((10, 16), (16, 22)))
    # The third writes the end of one item and the beginning of the next, the last the end of the output.
    chosen = [(0, 1, 0.5), (1, 4, 0.5), (15, 17, 0.5), (18, 19, 0.8), (22, 22, 0.1)]
    given = {"output": output, "choices": [Choice(a, b, math.log(p)) for a, b, p in chosen]}
    label, items = confidences(fmt, given, "joint")
    assert label == pytest.approx(0.25) and items == pytest.approx([0.5, 0.4])
    assert confidences(fmt, {"output": output, "choices": ()}, "joint") == (1, [1, 1])
    assert confidences(fmt, {"output": output, "choices": None}, "joint") == (None, [None, None])
    assert confidences(fmt, {"output": "固有表現抽出:無い;", "choices": ()}, "words") == (None, [])


def test_confidences_are_said_at_the_temperatures_of_the_card():
    plain, warm, words = extractor("scnm", "tcree"), extractor("scnm", "tcree"), extractor("scnm")
    for model in (plain, warm, words):
        model.decoder.label = 0.8
    warm.card = warm.card.with_temperatures({"scnm": {"label": 3.0, "words": 2.0}})
    words.card = words.card.with_temperatures({"scnm": {"words": 2.0}})
    raw, said, some = (next(model.extract(["東京と東京。"])) for model in (plain, warm, words))
    assert raw["scnm"].confidence == some["scnm"].confidence == pytest.approx(0.8)
    assert said["scnm"].confidence == pytest.approx(4 ** (1 / 3) / (1 + 4 ** (1 / 3)))
    assert [w.confidence for w in said["scnm"].words] == pytest.approx([0.75, 2 / 3])
    assert said["scnm"].words == some["scnm"].words and said["tcree"] == raw["tcree"]
    assert warm.card.with_temperatures({}) == plain.card, "and none that stood there before"


def test_a_temperature_is_of_the_whole_text_not_of_its_pieces(monkeypatch):
    plain, warm = (extractor(characters=lengths(6)) for _ in range(2))
    warm.card = warm.card.with_temperatures({"scnm": {"label": 0.5}})
    for model in (plain, warm):
        sure = iter((0.9, 0.6))
        monkeypatch.setattr("giellm_utils.inference.extractor.confidences",
                            lambda fmt, output, level, sure=sure: (next(sure), [0.9] * len(
                                fmt.places(output["output"], level).items)))
        found = next(model.extract(["東京京京。" * 2]))["scnm"]
        assert found.pieces == 2
        wanted = 0.75 if model is plain else 0.9
        assert found.confidence == pytest.approx(wanted)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, 1e9])
def test_a_card_of_a_temperature_that_is_none_is_one_sentence(temperature, tmp_path):
    card = extractor().card.model_dump(mode="json")
    card["tasks"]["scnm"]["temperatures"] = {"words": temperature}
    (tmp_path / "giellm.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=r"tasks.scnm.temperatures.words: Input should be"):
        read_card(tmp_path)


def test_a_text_of_many_pieces_has_the_confidence_of_those_it_is_taken_from():
    text = "東京。" * 6 + "東" + "。" * 3
    model = extractor(characters=lengths(6))
    result = next(model.extract([text]))["scnm"]
    assert result.pieces == 4 and result.confidence == pytest.approx(0.5)
    # The same word twice: the surer one counts. Each piece has one of 0.9 and one of 0.8.
    assert [w.confidence for w in result.words] == pytest.approx([0.9, 0.8] * 3)
    model.decoder.items = lambda request: [Item("entity", "人名", ("東京",))] * 3
    result = next(model.extract(["東京"]))["scnm"]
    assert [(w.start, w.confidence) for w in result.words] == [(0, pytest.approx(0.9))]
    weak = _winner({"a": [(4, 0.2), (2, 0.8)], "b": [(5, 1.0)]})
    assert weak == ("a", pytest.approx(0.4)) and _winner({"a": [(1, None), (2, 0.5)]}) == ("a", None)


def test_what_is_below_a_threshold_is_left_out():
    found = next(extractor("scnm", "tcree").extract(["東京、東京、東京"]))
    kept = found.at_least(0.8)
    assert [w.confidence for w in kept["scnm"].words] == pytest.approx([0.9, 0.8])
    assert (kept["scnm"].label, kept["scnm"].confidence) == (None, pytest.approx(0.5))
    assert found.at_least(0.5)["scnm"] == found["scnm"] and found.at_least(0.0) == found
    assert kept.labels == found.labels, "colours stay"
    unknown = replace(found["scnm"], confidence=None, words=tuple(
        replace(w, confidence=None) for w in found["scnm"].words))
    assert unknown.at_least(1.0) == unknown


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


def test_importing_the_extractor_loads_neither_pandas_nor_matplotlib():
    code = ("import sys, giellm_utils.inference.extractor as e; e.Extractor; "
            "print([m for m in ('pandas', 'matplotlib', 'torch') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_trained_folder_reads_texts(tmp_path, scratch_cache):
    shutil.copytree(model_path(SCRATCH), tmp_path / "model")
    write_card(tmp_path / "model", make_card(
        SCRATCH, "giellm", [TASKS["scnm"], TASKS["tcree"]], ["joint"], context=300,
        budgets={"scnm": {"joint": 24}, "tcree": {"joint": 24}},
        max_items={"scnm": {"entity": 2}, "tcree": {"relation": 2, "event": 2}}))
    model = Extractor.from_pretrained(tmp_path, batch_size=4)
    text = "東京で学会があった。大阪でも。" * 30
    long, short = model.extract([text, "東京。"])
    assert long["scnm"].pieces > 1 and long.index == 0 and short["tcree"].pieces == 1
    for result in (long, short):
        for part in result.results:
            assert part.words and not part.problems and 0 < part.confidence <= 1
            assert all(0 < w.confidence <= 1 for w in part.words) and part.confidence < 1
            assert all(result.text[s.start:s.end] == s.surface for s in mentions(part))
