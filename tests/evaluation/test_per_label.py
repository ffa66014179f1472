"""Scores of each label and whole evaluations, by hand."""

from __future__ import annotations

import json

import pytest

from giellm_utils.core.artifacts import Confusion, LabelScores, Score, SystemScores
from giellm_utils.core.schema import Level, LEVELS, Part, Record, Span, Task, Word
from giellm_utils.evaluation.per_label import confusion, evaluate, per_text_label, per_word_label
from giellm_utils.evaluation.score import METRICS, score_documents
from giellm_utils.formats.giellm import GiellmFormat
from support.records import answers, GOLD, gold_answers, RECORDS, TRIP


def shares(found: LabelScores) -> list[float | None]:
    return [found.precision.value, found.recall.value, found.f1.value]


def test_word_labels_by_hand() -> None:
    given = answers("<旅行>抽出:地;東京:人;京都関係:無い;", GOLD["2"], "<旅行>抽出:物;雨関係:無い;")
    found = per_word_label(TRIP, RECORDS, "joint", given, seed=0)
    assert list(found) == ["地", "人", "居", "行"]
    assert shares(found["地"]) == [1, 0.5, pytest.approx(4 / 6)]
    assert shares(found["人"]) == [0.5, 1, pytest.approx(2 / 3)]
    assert [found[label].support for label in found] == [4, 1, 1, 0]
    assert found["行"].f1 == Score(value=None, low=None, high=None, n=3)
    assert per_word_label(TRIP, RECORDS, "text", given, seed=0) == {}


def test_a_label_of_two_parts_is_named_with_its_part() -> None:
    task = Task("two", "", ("旅行",), (Part("person", "人名", ("主", "副")), Part("place", "地名", ("主",))))
    words = (Word("person", "主", Span(0, 2)), Word("place", "主", Span(0, 1)))
    both = Record("1", "two", "田中", "旅行", words)
    given = [GiellmFormat(task).parse("人名:主;田中地名:無い;", "words")]
    found = per_word_label(task, [both], "words", given, seed=0)
    assert {k: v.f1.value for k, v in found.items()} == {"person/主": 1, "副": None, "place/主": 0}


def test_text_labels_and_confusion_by_hand() -> None:
    given = answers(GOLD["1"], "<旅行>", "雨雨")  # gold 旅行 仕事 旅行, predicted 旅行 旅行 none
    frame = score_documents(TRIP, RECORDS, "joint", given)
    assert confusion(frame, TRIP.text_labels) == Confusion(
        labels=["旅行", "仕事"], matrix=[[1, 0, 1], [1, 0, 0]])
    found = per_text_label(frame, TRIP.text_labels, seed=0)
    assert shares(found["旅行"]) == [0.5, 0.5, 0.5]
    assert found["仕事"].precision.value is None and found["仕事"].recall.value == 0
    assert (found["旅行"].support, found["仕事"].support) == (2, 1)
    with pytest.raises(ValueError, match="gold label '仕事' is not one of 旅行"):
        confusion(frame, ["旅行"])


# -- whole evaluations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_an_evaluation_is_json_and_its_groups_add_up(level: Level) -> None:
    found = evaluate(TRIP, RECORDS, level, gold_answers(RECORDS, level), resamples=50, seed=0)
    assert SystemScores.model_validate(json.loads(json.dumps(found.model_dump(), allow_nan=False))) == found
    assert (found.n, found.n_empty_gold) == (3, 1)
    key = "tl" if level == "text" else "wl_exact"
    assert [group[key].n for group in (found.all, found.with_words, found.empty_gold)] == [3, 2, 1]
    assert [group[key].value for group in (found.all, found.with_words, found.empty_gold)] == [1, 1, 1]
    assert (found.per_word_label is None) == (level == "text")
    assert (found.per_text_label is None) == (found.confusion is None) == (level == "words")
    assert {m for m, s in found.all.items() if s} == set(METRICS) - NOT_AT[level]


NOT_AT = {"joint": set(), "words": {"tl", "tl_balanced", "all", "all_set"},
          "text": set(METRICS) - {"tl", "tl_balanced", "format_accuracy", "truncated"}}


def test_an_evaluation_without_tables_has_the_same_scores() -> None:
    given = answers(GOLD["1"], "<旅行>抽出:人;田中関係:無い;", "雨雨")
    full, scores = (evaluate(TRIP, RECORDS, "joint", given, seed=3, tables=t) for t in (True, False))
    assert (scores.per_word_label, scores.per_text_label, scores.confusion) == (None, None, None)
    assert full.per_word_label and full.per_text_label and full.confusion
    tables = {"per_word_label": None, "per_text_label": None, "confusion": None}
    assert full.model_copy(update=tables) == scores


def test_no_documents_are_no_tables() -> None:
    found = evaluate(TRIP, [], "joint", [], seed=0)
    assert (found.n, found.per_text_label, found.confusion) == (0, None, None)
    assert set(found.all.values()) == {None}
