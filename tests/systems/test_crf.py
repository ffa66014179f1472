"""The plain pipeline: what it tags, what it chooses on dev, what it must not read."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest

from giellm_utils.core.answer import gold_answer
from giellm_utils.core.schema import Record, Span, Word
from giellm_utils.data.registry import get_task, load_dataset
from giellm_utils.evaluation.score import score_documents, summarise
from giellm_utils.systems import pairs, tagger, text_label
from giellm_utils.systems.base import answer
from giellm_utils.systems.choice import choose, f1
from giellm_utils.systems.crf import CrfPipeline, RelationFinder
from giellm_utils.systems.floors import NotFittedError
from giellm_utils.systems.pairs import PairClassifier, Related
from giellm_utils.systems.registry import entries
from giellm_utils.systems.tagger import Labelled, SpanTagger
from support.records import TRIP


@cache
def ten(name: str, split: str = "train") -> tuple[Record, ...]:
    """Ten records with words of an embedded set."""
    found = load_dataset(name, "embedded").split(split)
    return tuple(r for r in found if r.words)[:10]


@cache
def fitted(name: str) -> CrfPipeline:
    system = CrfPipeline(get_task(name))
    system.fit(ten(name))
    return system


def blind(records) -> list[Record]:
    """The records with another label and without words: all that may be read is left."""
    return [replace(r, label=get_task(r.task).text_labels[0], words=()) for r in records]


# -- tags and features -------------------------------------------------------------------------------


def labelled(*spans: tuple[int, int, str]) -> list[Labelled]:
    return [Labelled(Span(start, end), label) for start, end, label in spans]


@pytest.mark.parametrize(("spans", "expected"), [
    ((), "OOOOO"), (((0, 2, "a"), (2, 3, "a")), "BIBOO"), (((1, 5, "a"),), "OBIII"),
    (((0, 3, "a"), (2, 4, "b")), "BIIOO"), (((0, 1, "b"), (0, 3, "a")), "BIIOO")])
def test_tags_by_hand(spans, expected: str) -> None:
    """Of spans that overlap the first, and of those that begin together the longer, stays."""
    tags = tagger.tags("あいうえお", labelled(*spans))
    assert "".join(t[0] for t in tags) == expected


def test_every_gold_span_survives_the_tags() -> None:
    for name in ("scnm", "scpos-rw"):
        for record in ten(name):
            spans = [Labelled(w.span, w.label) for w in record.words]
            assert tagger.spans_of(tagger.tags(record.text, spans)) == sorted(spans)


def test_an_inside_that_continues_nothing_begins_a_span() -> None:
    assert tagger.spans_of(["I-a", "I-b", "O", "I-b", "I-b", "B-b"]) == labelled(
        (0, 1, "a"), (1, 2, "b"), (3, 5, "b"), (5, 6, "b"))


def test_features_know_the_neighbours_the_morpheme_and_the_lexicon() -> None:
    found = tagger.features("騒音 A")
    assert len(found) == 4
    assert {"c0=騒", "c1=音", "c-1=#", "w0=騒音", "m=B", "polar=noun-ネガティブ"} <= set(found[0])
    assert "m=IE" in found[1] and not any(f.startswith("w0=") for f in found[2])
    assert {"k0=LATIN", "c1=#"} <= set(found[3])


# -- choosing ----------------------------------------------------------------------------------------


def test_the_first_of_the_best_is_chosen_and_the_first_of_all_without_dev() -> None:
    grid = ({"c": 1}, {"c": 2}, {"c": 3})
    assert choose(grid, lambda s: {1: 0.2, 2: 0.5, 3: 0.5}[s["c"]], True) == {"c": 2, "dev": 0.5}
    assert choose(grid, lambda s: 1 / 0, False) == {"c": 1, "dev": None}


def test_f1_by_hand() -> None:
    assert f1([{1, 2}, {3}], [{1}, {4}]) == pytest.approx(2 / 5)
    assert f1([set()], [set()]) == 0.0


def test_settings_are_chosen_on_dev_and_all_records_are_learned_from(monkeypatch) -> None:
    seen: list[int] = []
    learn = SpanTagger.fit
    monkeypatch.setattr(SpanTagger, "fit", lambda self, t, s: (seen.append(len(t)), learn(self, t, s))[1])
    records = [replace(r, split="dev" if i < 3 else "train") for i, r in enumerate(ten("scnm"))]
    system = CrfPipeline(get_task("scnm"))
    system.fit(records)
    assert seen == [7] * len(tagger.GRID) + [10]
    assert 0 <= system.settings["text"]["dev"] <= 1 and 0 <= system.settings["words"]["entity"]["dev"] <= 1
    assert json.loads(json.dumps(system.settings))["grids"]["crf"][0] == tagger.GRID[0]
    assert fitted("scnm").settings["text"] == {**text_label.GRID[0], "dev": None}


# -- ten items ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scnm", "scpos-rw", "tcree"])
def test_ten_items_are_learned_by_heart(name: str) -> None:
    """Ten texts it has seen come back nearly whole: label, spans, relations and events."""
    records = ten(name)
    answers = fitted(name).predict(records)
    scores = summarise(score_documents(get_task(name), records, "joint", answers), seed=0, resamples=20)
    assert scores["tl"].value == 1.0 and scores["f1"].value > 0.9 and scores["invented"].value == 0.0
    assert scores["format_accuracy"].value == 1.0


@pytest.mark.parametrize("name", ["scnm", "tcree"])
def test_it_reads_neither_labels_nor_words_of_what_it_is_asked(name: str) -> None:
    asked = ten(name, "test")
    answers = fitted(name).predict(asked)
    assert answers == fitted(name).predict(blind(asked)) and len(answers) == 10
    assert answers != [gold_answer(r) for r in asked]


def test_the_same_records_give_the_same_answers() -> None:
    again = CrfPipeline(get_task("scnm"))
    again.fit(ten("scnm"))
    assert again.predict(ten("scnm", "test")) == fitted("scnm").predict(ten("scnm", "test"))


def test_items_stand_in_canonical_order() -> None:
    a, b = Word("entity", "地", Span(0, 1)), Word("entity", "人", Span(2, 3))
    made = answer(TRIP, "あいう", "旅行", [b, a, b])
    assert [i.surfaces for i in made.items] == [("あ",), ("う",)]


# -- relations ---------------------------------------------------------------------------------------


def test_a_pair_has_a_direction() -> None:
    texts = [f"{who}は{where}にいる" for who in ("田中", "鈴木", "佐藤") for where in ("奈良", "京都")]
    one = [Related(Span(0, 2), "居", Span(3, 5))]
    model = PairClassifier(pairs.GRID[0]).fit(texts, [one] * len(texts))
    assert model.predict("山本は東京にいる", [Span(3, 5), Span(0, 2), Span(0, 2)]) == one
    assert model.predict("山本は東京にいる", [Span(0, 2)]) == []


def test_arguments_are_tagged_by_the_end_at_which_they_stand() -> None:
    finder = RelationFinder(TRIP.part("place"))
    words = (Word("place", "居", Span(0, 1), Span(2, 3)), Word("place", "行", Span(2, 3), Span(4, 5)))
    found = finder._arguments(Record("r", "trip", "あいうえお", "旅行", words))
    assert found == labelled((0, 1, "head"), (2, 3, "both"), (4, 5, "tail"))


def test_without_relations_in_train_none_are_found() -> None:
    system = CrfPipeline(TRIP)
    system.fit([Record(str(i), "trip", text, "旅行") for i, text in enumerate(["雨が降る", "風が吹く"])])
    answer, = system.predict([Record("x", "trip", "雪が降る", "仕事")])
    assert (answer.label, answer.items) == ("旅行", ())


# -- faults ------------------------------------------------------------------------------------------


def test_faults() -> None:
    system = CrfPipeline(get_task("scnm"))
    with pytest.raises(ValueError, match="needs train records"):
        system.fit([])
    with pytest.raises(NotFittedError, match="fit it on the train records"):
        system.predict(ten("scnm"))
    assert fitted("scnm").predict([]) == []
    with pytest.raises(NotFittedError, match="has learned nothing yet"):
        text_label.TextLabel().predict(["文"])


def test_it_stands_in_tables_and_is_no_floor() -> None:
    entry = entries()["crf"]
    assert (entry.floor, entry.level) == (False, "joint") and entry.applies(TRIP)
    assert isinstance(entry.make(get_task("tcree")), CrfPipeline)
