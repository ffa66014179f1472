"""Scores worked out by hand, properties of gold and permuted outputs, and a second, naive count."""

from __future__ import annotations

import io
import math
import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.core.answer import Answer
from giellm_utils.core.schema import Level, LEVELS, Record, SchemaError
from giellm_utils.evaluation.per_label import confusion
from giellm_utils.evaluation.score import COLUMNS, METRICS, score_document, score_documents, summarise
from support.records import (
    answers,
    EMPTY,
    FORMAT,
    GOLD,
    gold_answers,
    PERSON,
    record,
    RECORDS,
    TRIP,
    trip_records,
    TWICE,
)


def score(r: Record, output: str, level: Level = "joint", truncated: bool = False) -> dict[str, Any]:
    answer = FORMAT.parse(output, level, r.text)
    return score_document(TRIP, r, level, answer.cut() if truncated else answer)


def pick(row: dict[str, Any], names: str) -> list[Any]:
    return [row[n] for n in names.split()]


# -- one document, by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize("r", RECORDS, ids=lambda r: r.id)
def test_gold_as_written_down_by_hand_is_right_everywhere(r: Record) -> None:
    row = score(r, GOLD[r.id])
    assert pick(row, "tl wl_exact wl_set wl_words all all_set") == [1.0] * 6
    assert pick(row, "tp fp fn offset_tp offset_fp offset_fn") == [len(r.words), 0, 0] * 2
    assert row["well_formed"] and not row["truncated"]
    assert row["empty_gold"] == (r.id == "3")


def test_another_order_keeps_the_set_and_loses_the_exact_match() -> None:
    row = score(TWICE, "<旅行>抽出:地;京都:地;東京:地;東京関係:無い;")
    assert pick(row, "tl wl_exact wl_set wl_words all all_set") == [1, 0, 1, 1, 0, 1]
    assert pick(row, "tp fp fn offset_tp") == [3, 0, 0, 3]


def test_items_count_as_often_as_they_stand() -> None:
    one = score(TWICE, "<旅行>抽出:地;東京:地;京都関係:無い;")
    assert pick(one, "wl_set wl_words tp fp fn") == [0, pytest.approx(2 / 3), 2, 0, 1]
    three = score(TWICE, "<旅行>抽出:地;東京:地;京都:地;東京:地;東京関係:無い;")
    assert pick(three, "wl_set wl_words tp fp fn") == [0, 1, 3, 1, 0]
    # The third 東京 has no third occurrence: it falls on the second, which is taken.
    assert pick(three, "offset_tp offset_fp offset_fn") == [3, 1, 0]


def test_a_wrong_label_and_an_invented_span() -> None:
    row = score(PERSON, "<旅行>抽出:地;田中:地;大阪関係:田中;行;大阪")
    assert pick(row, "tl wl_exact wl_words all all_set tp fp fn") == [0, 0, 0, 0, 0, 0, 3, 3]
    # Surfaces: 田中, 大阪, 田中, 大阪; both of the relation count.
    assert pick(row, "n_spans n_invented") == [4, 2]
    assert pick(row, "offset_tp offset_fp offset_fn") == [0, 3, 3]
    assert row["well_formed"]  # a fault of content, not of form


def test_all_needs_both_levels() -> None:
    wrong_text = score(PERSON, GOLD["2"].replace("仕事", "旅行"))
    assert pick(wrong_text, "tl wl_exact wl_set all all_set") == [0, 1, 1, 0, 0]
    wrong_words = score(PERSON, "<仕事>抽出:人;田中関係:田中;居;奈良")
    assert pick(wrong_words, "tl wl_exact wl_set all all_set") == [1, 0, 0, 0, 0]
    assert wrong_words["wl_words"] == pytest.approx(2 / 3)


def test_empty_gold_is_right_only_if_nothing_is_predicted() -> None:
    assert score(EMPTY, GOLD["3"])["wl_words"] == 1
    assert pick(score(EMPTY, "<旅行>抽出:地;雨関係:無い;"), "wl_words wl_set tp fp fn") == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("output", ["", "<旅行", "<料理>抽出:無い;関係:無い;", "抽出:無い;関係:無い;", "雨"])
def test_an_output_without_a_label_of_the_task_has_none(output: str) -> None:
    row = score(EMPTY, output)
    assert row["predicted_label"] is None
    assert pick(row, "tl well_formed all") == [0, False, 0]


def test_offsets_follow_the_occurrence_rule() -> None:
    second = record("s", "東京と東京", "旅行", ("地", 3, 5))  # gold is the second, surfaces cannot say so
    row = score(second, FORMAT.target(second))
    assert pick(row, "wl_exact tp offset_tp offset_fp offset_fn") == [1, 1, 0, 1, 1]


def test_columns_that_do_not_apply_are_nan() -> None:
    text, words = score(PERSON, "<仕事>", "text"), score(PERSON, GOLD["2"][4:], "words")
    word_columns = "wl_exact wl_set wl_words tp fp fn offset_tp offset_fp offset_fn n_spans n_invented"
    assert all(map(math.isnan, pick(text, word_columns + " all all_set")))
    assert pick(text, "tl well_formed predicted_label") == [1, True, "仕事"]
    assert all(map(math.isnan, pick(words, "tl all all_set")))
    assert pick(words, "wl_exact wl_set wl_words tp predicted_label") == [1, 1, 1, 3, None]
    assert list(text) == list(words) == list(COLUMNS)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="level is 'word'"):
        score_document(TRIP, PERSON, "word", Answer(None))  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="record x: task is 'other'"):
        score(Record("x", "other", "雨", "旅行"), "")
    with pytest.raises(ValueError, match="3 records but 1 answers"):
        score_documents(TRIP, RECORDS, "joint", answers(""))
    with pytest.raises(ValueError, match="record id 1 stands more than once"):
        score_documents(TRIP, [TWICE, TWICE], "joint", answers("", ""))


def test_answers_need_no_text_of_ours() -> None:
    """A system that writes no target is scored on its label and items alone."""
    row = score_document(TRIP, PERSON, "joint", Answer("仕事", tuple(PERSON.items())))
    assert pick(row, "tl wl_exact wl_set wl_words all all_set well_formed") == [1, 1, 1, 1, 1, 1, True]
    strange = score_document(TRIP, PERSON, "joint", Answer("料理"))
    assert strange["predicted_label"] is None and strange["tl"] == 0
    both = Answer("仕事", tuple(PERSON.items()))
    assert score_document(TRIP, PERSON, "words", both)["predicted_label"] is None, "words asks for no label"


# -- summaries, by hand --------------------------------------------------------------------------------


def three_outputs() -> pd.DataFrame:
    """One right, one with a missing and an invented item, one unreadable and cut off."""
    first, second, third = answers(GOLD["1"], "<旅行>抽出:人;田中:地;大阪関係:田中;居;奈良", "雨雨")
    return score_documents(TRIP, RECORDS, "joint", [first, second, third.cut()])


def test_a_summary_by_hand() -> None:
    values = {m: s.value for m, s in summarise(three_outputs(), seed=0).items()}
    assert values == {
        "tl": pytest.approx(1 / 3),
        "tl_balanced": pytest.approx((1 / 2 + 0 / 1) / 2),  # 旅行: 1 of 2, 仕事: 0 of 1
        "wl_exact": pytest.approx(1 / 3), "wl_set": pytest.approx(2 / 3),  # nothing found where nothing is
        "wl_words": pytest.approx((1 + 2 / 3 + 1) / 3),
        "all": pytest.approx(1 / 3), "all_set": pytest.approx(1 / 3),
        "precision": pytest.approx(5 / 6), "recall": pytest.approx(5 / 6), "f1": pytest.approx(10 / 12),
        "offset_f1": pytest.approx(10 / 12), "format_accuracy": pytest.approx(2 / 3),
        "invented": pytest.approx(1 / 7),  # 東京 京都 東京 | 田中 大阪* 田中 奈良
        "truncated": pytest.approx(1 / 3),
    }


def test_a_well_formed_output_that_was_cut_off_is_no_correct_format() -> None:
    frame = score_documents(TRIP, [EMPTY], "joint", [a.cut() for a in answers(GOLD["3"])])
    assert frame["well_formed"].all()
    assert summarise(frame, seed=0)["format_accuracy"].value == 0


@pytest.mark.parametrize(("level", "missing"), [
    ("text", set(METRICS) - {"tl", "tl_balanced", "format_accuracy", "truncated"}),
    ("words", {"tl", "tl_balanced", "all", "all_set"}), ("joint", set())])
def test_metrics_that_do_not_apply_are_none(level: Level, missing: set[str]) -> None:
    frame = score_documents(TRIP, RECORDS, level, gold_answers(RECORDS, level))
    summary = summarise(frame, seed=0)
    assert {m for m, s in summary.items() if s is None} == missing
    assert list(summary) == list(METRICS)


def test_undefined_shares_are_none_inside_an_interval() -> None:
    frame = score_documents(TRIP, [PERSON], "words", answers("抽出:無い;関係:無い;", level="words"))
    summary = summarise(frame, seed=0)
    assert summary["precision"].value is None and summary["invented"].value is None
    assert summary["recall"].value == summary["f1"].value == 0


def test_no_documents_and_mixed_levels() -> None:
    empty = score_documents(TRIP, [], "joint", [])
    assert list(empty.columns) == list(COLUMNS)
    assert set(summarise(empty, seed=0).values()) == {None}
    mixed = pd.DataFrame([score(TWICE, "<旅行>", "text"), score(PERSON, GOLD["2"])])
    with pytest.raises(ValueError, match="score one level per frame"):
        summarise(mixed, seed=0)


def test_balanced_accuracy_has_an_interval_over_documents() -> None:
    # 90 documents of one label, all right; 10 of the other, 5 right: balanced (1 + 0.5) / 2.
    frame = pd.DataFrame([score(EMPTY, GOLD["3"])] * 90 + [score(PERSON, GOLD["2"])] * 5
                         + [score(PERSON, "<旅行>")] * 5)
    found = summarise(frame, seed=0)
    assert found["tl"].value == 0.95
    assert found["tl_balanced"].value == 0.75
    # The recall of 10 documents has a standard error of 0.16, half of it counts: about +- 0.155.
    assert 0.55 < found["tl_balanced"].low < 0.64 and 0.86 < found["tl_balanced"].high < 0.95


@pytest.mark.parametrize("level", LEVELS)
def test_a_frame_survives_csv(level: Level) -> None:
    given = [*gold_answers(RECORDS[:2], level), *answers("雨", level=level)]
    frame = score_documents(TRIP, RECORDS, level, given)
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert list(back.columns) == list(COLUMNS)
    assert summarise(back, seed=1) == summarise(frame, seed=1)
    if level != "words":
        assert confusion(back, TRIP.text_labels) == confusion(frame, TRIP.text_labels)


# -- properties ----------------------------------------------------------------------------------------

APPLIES = {"joint": {"tl", "wl_exact", "wl_set", "wl_words", "all", "all_set"}, "text": {"tl"},
           "words": {"wl_exact", "wl_set", "wl_words"}}


@settings(max_examples=200, deadline=None)
@given(trip_records(), st.sampled_from(LEVELS))
def test_gold_outputs_score_one_wherever_the_level_has_a_score(r: Record, level: Level) -> None:
    row = score(r, FORMAT.target(r, level), level)
    found = {c: row[c] for c in APPLIES["joint"] if not math.isnan(row[c])}
    assert found == dict.fromkeys(APPLIES[level], 1.0)
    assert row["well_formed"]
    if level != "text":
        assert pick(row, "tp fp fn n_invented") == [len(r.words), 0, 0, 0]
        assert row["offset_tp"] + row["offset_fn"] == row["offset_tp"] + row["offset_fp"] == len(r.words)


@settings(max_examples=200, deadline=None)
@given(trip_records(), st.randoms(use_true_random=False))
def test_a_permutation_keeps_the_set_and_only_the_same_string_is_exact(r: Record, rng: random.Random) -> None:
    items = list(r.items())
    rng.shuffle(items)
    output = FORMAT.words(items)
    row = score(r, output, "words")
    assert pick(row, "wl_set wl_words fp fn") == [1, 1, 0, 0]
    assert row["wl_exact"] == (output == FORMAT.words(r.items()))


@settings(max_examples=200, deadline=None)
@given(trip_records(), trip_records())
def test_counts_agree_with_a_naive_second_count(r: Record, other: Record) -> None:
    """Striking items off a list one by one, with no Counter."""
    row = score(r, FORMAT.words(other.items()), "words")
    left, tp, fp = list(r.items()), 0, 0
    for item in other.items():
        if item in left:
            left.remove(item)
            tp += 1
        else:
            fp += 1
    assert pick(row, "tp fp fn") == [tp, fp, len(left)]
    assert row["wl_set"] == (fp == 0 and not left)
    share = tp / len(r.words) if r.words else float(not other.words)
    assert row["wl_words"] == pytest.approx(share)
    surfaces = [s for item in other.items() for s in item.surfaces]
    assert pick(row, "n_spans n_invented") == [len(surfaces), len([s for s in surfaces if s not in r.text])]


@settings(max_examples=200, deadline=None)
@given(trip_records(), st.text(alphabet="ab:;\\<>抽出関係無い旅行仕事地人居", max_size=30),
       st.sampled_from(LEVELS))
def test_any_string_gets_a_consistent_row(r: Record, output: str, level: Level) -> None:
    row = score(r, output, level)
    if level != "text":
        assert row["tp"] + row["fn"] == row["offset_tp"] + row["offset_fn"] == len(r.words)
        assert row["tp"] + row["fp"] == row["offset_tp"] + row["offset_fp"]
        assert not row["wl_exact"] or row["wl_set"]
        assert row["offset_tp"] <= row["tp"] and row["n_invented"] <= row["n_spans"]


# -- the exact match ----------------------------------------------------------------------------------


def words_part(output: str, level: Level) -> str:
    """The words part of a raw output as it was cut before Answers: after the label, or from the first
    Instruction Word where no label can be read."""
    if level == "words":
        return output
    end = output.find(">", 1)
    if output.startswith("<") and end >= 0:
        return output[end + 1:]
    starts = [i for part in TRIP.parts if (i := output.find(part.instruction)) >= 0]
    return output[min(starts, default=0):]


@st.composite
def near_outputs(draw: st.DrawFn, level: Level, r: Record) -> str:
    """The record's target, also with other labels, items in another order, and changed at a few places."""
    items = list(r.items())
    if draw(st.booleans()):
        draw(st.randoms(use_true_random=False)).shuffle(items)
    heads = ["<旅行>", "<仕事>", "<料理>", "", "旅行", "<旅行"]
    output = ("" if level == "words" else draw(st.sampled_from(heads))) + FORMAT.words(items)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(output)))
        put = draw(st.sampled_from([*"ab:;\\<>", "抽出", "関係", ":無い;", "\\抽出", "\\a", "抽", ":地;a"]))
        output = output[:at] + put + output[at + draw(st.integers(0, 2)):]
    return output


@settings(max_examples=2000, deadline=None)
@given(st.data(), trip_records(), st.sampled_from(["joint", "words"]), st.booleans())
def test_exact_is_the_comparison_of_strings(data, r: Record, level: Level, truncated: bool) -> None:
    output = data.draw(near_outputs(level, r))
    same = words_part(output, level) == FORMAT.words(r.items())
    assert score(r, output, level, truncated)["wl_exact"] == float(same), output


@pytest.mark.parametrize(("output", "same"), [
    (GOLD["2"], 1), (GOLD["2"].replace("仕事", "料理"), 1), (GOLD["2"][4:], 1), ("はい" + GOLD["2"][4:], 1),
    (GOLD["2"].replace("田中", "\\田中"), 0), (GOLD["2"] + ":", 0), (GOLD["2"] + "関係:無い;", 0),
    ("<仕事>関係:田中;居;奈良抽出:人;田中:地;奈良", 0), ("<仕事>抽出:地;奈良:人;田中関係:田中;居;奈良", 0)])
def test_the_exact_match_by_hand(output: str, same: int) -> None:
    assert score(PERSON, output)["wl_exact"] == same
    assert (words_part(output, "joint") == GOLD["2"][4:]) == bool(same)
