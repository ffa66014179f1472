"""Scores worked out by hand, properties of gold and permuted outputs, and a second, naive count."""

from __future__ import annotations

import io
import json
import math
import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.evaluation import score as metrics
from giellm_utils.systems import floors
from giellm_utils.evaluation import per_label
from giellm_utils.formats.giellm import Converter
from giellm_utils.core.schema import LEVELS, Level, Part, Record, SchemaError, Span, Task, Word

TASK = Task("trip", "a text label, places and people, and who is where", ("旅行", "仕事"),
            (Part("entity", "抽出", ("地", "人")), Part("place", "関係", ("居", "行"), "relation")))
CONVERTER = Converter(TASK)


def record(id: str, text: str, label: str, *words: tuple) -> Record:
    """Words as (label, start, end) for entities and (label, start, end, start, end) for relations."""
    return Record(id, "trip", text, label, tuple(
        Word("entity" if len(w) == 3 else "place", w[0], *(Span(*w[i:i + 2]) for i in range(1, len(w), 2)))
        for w in words)).validate(TASK)


#            0 1 2 3 4 5 6 7
TWICE = record("1", "東京と京都と東京", "旅行", ("地", 0, 2), ("地", 3, 5), ("地", 6, 8))
PERSON = record("2", "田中は奈良にいる", "仕事", ("人", 0, 2), ("地", 3, 5), ("居", 0, 2, 3, 5))
EMPTY = record("3", "雨が降る", "旅行")
RECORDS = [TWICE, PERSON, EMPTY]
GOLD = {"1": "<旅行>抽出:地;東京:地;京都:地;東京関係:無い;",
        "2": "<仕事>抽出:人;田中:地;奈良関係:田中;居;奈良", "3": "<旅行>抽出:無い;関係:無い;"}


def score(r: Record, output: str, level: Level = "joint", truncated: bool = False) -> dict[str, Any]:
    return metrics.score_document(CONVERTER, r, level, output, truncated)


def as_predictions(*outputs: str) -> list[dict[str, Any]]:
    return [{"output": o, "truncated": False} for o in outputs]


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
    row = score(second, CONVERTER.target(second, "joint"))
    assert pick(row, "wl_exact tp offset_tp offset_fp offset_fn") == [1, 1, 0, 1, 1]


def test_columns_that_do_not_apply_are_nan() -> None:
    text, words = score(PERSON, "<仕事>", "text"), score(PERSON, GOLD["2"][4:], "words")
    word_columns = "wl_exact wl_set wl_words tp fp fn offset_tp offset_fp offset_fn n_spans n_invented"
    assert all(map(math.isnan, pick(text, word_columns + " all all_set")))
    assert pick(text, "tl well_formed predicted_label") == [1, True, "仕事"]
    assert all(map(math.isnan, pick(words, "tl all all_set")))
    assert pick(words, "wl_exact wl_set wl_words tp predicted_label") == [1, 1, 1, 3, None]
    assert list(text) == list(words) == list(metrics.COLUMNS)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="level is 'word'"):
        score(PERSON, "", "word")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="record x: task is 'other'"):
        score(Record("x", "other", "雨", "旅行"), "")
    with pytest.raises(ValueError, match="3 records but 1 predictions"):
        metrics.score_documents(CONVERTER, RECORDS, "joint", as_predictions(""))
    with pytest.raises(ValueError, match="record 1 has no text in its field 'output'"):
        metrics.score_documents(CONVERTER, [TWICE], "joint", [{"text": ""}])
    with pytest.raises(ValueError, match="record id 1 stands more than once"):
        metrics.score_documents(CONVERTER, [TWICE, TWICE], "joint", as_predictions("", ""))


# -- summaries, by hand --------------------------------------------------------------------------------


def three_outputs() -> pd.DataFrame:
    """One right, one with a missing and an invented item, one unreadable and cut off."""
    outputs = as_predictions(GOLD["1"], "<旅行>抽出:人;田中:地;大阪関係:田中;居;奈良", "雨雨")
    outputs[2]["truncated"] = True
    return metrics.score_documents(CONVERTER, RECORDS, "joint", outputs)


def test_a_summary_by_hand() -> None:
    values = {m: s["value"] for m, s in metrics.summarise(three_outputs(), seed=0).items()}
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
    frame = metrics.score_documents(CONVERTER, [EMPTY], "joint", [{"output": GOLD["3"], "truncated": True}])
    assert frame["well_formed"].all()
    assert metrics.summarise(frame, seed=0)["format_accuracy"]["value"] == 0


@pytest.mark.parametrize(("level", "missing"), [
    ("text", set(metrics.METRICS) - {"tl", "tl_balanced", "format_accuracy", "truncated"}),
    ("words", {"tl", "tl_balanced", "all", "all_set"}), ("joint", set())])
def test_metrics_that_do_not_apply_are_none(level: Level, missing: set[str]) -> None:
    gold = as_predictions(*(CONVERTER.target(r, level) for r in RECORDS))
    summary = metrics.summarise(metrics.score_documents(CONVERTER, RECORDS, level, gold), seed=0)
    assert {m for m, s in summary.items() if s is None} == missing
    assert list(summary) == list(metrics.METRICS)


def test_undefined_shares_are_none_inside_an_interval() -> None:
    frame = metrics.score_documents(CONVERTER, [PERSON], "words", as_predictions("抽出:無い;関係:無い;"))
    summary = metrics.summarise(frame, seed=0)
    assert summary["precision"]["value"] is None and summary["invented"]["value"] is None
    assert summary["recall"]["value"] == summary["f1"]["value"] == 0


def test_no_documents_and_mixed_levels() -> None:
    empty = metrics.score_documents(CONVERTER, [], "joint", [])
    assert list(empty.columns) == list(metrics.COLUMNS)
    assert set(metrics.summarise(empty, seed=0).values()) == {None}
    mixed = pd.DataFrame([score(TWICE, "<旅行>", "text"), score(PERSON, GOLD["2"])])
    with pytest.raises(ValueError, match="score one level per frame"):
        metrics.summarise(mixed, seed=0)


def test_balanced_accuracy_has_an_interval_over_documents() -> None:
    # 90 documents of one label, all right; 10 of the other, 5 right: balanced (1 + 0.5) / 2.
    frame = pd.DataFrame([score(EMPTY, GOLD["3"])] * 90 + [score(PERSON, GOLD["2"])] * 5
                         + [score(PERSON, "<旅行>")] * 5)
    found = metrics.summarise(frame, seed=0)
    assert found["tl"]["value"] == 0.95
    assert found["tl_balanced"]["value"] == 0.75
    # The recall of 10 documents has a standard error of 0.16, half of it counts: about +- 0.155.
    assert 0.55 < found["tl_balanced"]["low"] < 0.64 and 0.86 < found["tl_balanced"]["high"] < 0.95


@pytest.mark.parametrize("level", LEVELS)
def test_a_frame_survives_csv(level: Level) -> None:
    frame = metrics.score_documents(CONVERTER, RECORDS, level, as_predictions(
        *(CONVERTER.target(r, level) for r in RECORDS[:2]), "雨"))
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert list(back.columns) == list(metrics.COLUMNS)
    assert metrics.summarise(back, seed=1) == metrics.summarise(frame, seed=1)
    assert per_label.confusion(back, TASK.text_labels) == per_label.confusion(frame, TASK.text_labels)


# -- per label -----------------------------------------------------------------------------------------


def test_word_labels_by_hand() -> None:
    outputs = as_predictions("<旅行>抽出:地;東京:人;京都関係:無い;", GOLD["2"], "<旅行>抽出:物;雨関係:無い;")
    found = per_label.per_word_label(CONVERTER, RECORDS, "joint", outputs, seed=0)
    assert list(found) == ["地", "人", "居", "行"]
    assert [found["地"][k]["value"] for k in ("precision", "recall", "f1")] == [1, 0.5, pytest.approx(4 / 6)]
    assert [found["人"][k]["value"] for k in ("precision", "recall", "f1")] == [0.5, 1, pytest.approx(2 / 3)]
    assert [found[label]["support"] for label in found] == [4, 1, 1, 0]
    assert found["行"]["f1"] == {"value": None, "low": None, "high": None, "n": 3}
    assert per_label.per_word_label(CONVERTER, RECORDS, "text", outputs, seed=0) == {}


def test_a_label_of_two_parts_is_named_with_its_part() -> None:
    task = Task("two", "", ("旅行",), (Part("person", "人名", ("主", "副")), Part("place", "地名", ("主",))))
    both = Record("1", "two", "田中", "旅行", (Word("person", "主", Span(0, 2)), Word("place", "主", Span(0, 1))))
    outputs = as_predictions("人名:主;田中地名:無い;")
    found = per_label.per_word_label(Converter(task), [both], "words", outputs, seed=0)
    assert {k: v["f1"]["value"] for k, v in found.items()} == {"person/主": 1, "副": None, "place/主": 0}


def test_text_labels_and_confusion_by_hand() -> None:
    frame = three_outputs()  # gold 旅行 仕事 旅行, predicted 旅行 旅行 none
    assert per_label.confusion(frame, TASK.text_labels) == {
        "labels": ["旅行", "仕事"], "matrix": [[1, 0, 1], [1, 0, 0]]}
    found = per_label.per_text_label(frame, TASK.text_labels, seed=0)
    assert [found["旅行"][k]["value"] for k in ("precision", "recall", "f1")] == [0.5, 0.5, 0.5]
    assert found["仕事"]["precision"]["value"] is None and found["仕事"]["recall"]["value"] == 0
    assert (found["旅行"]["support"], found["仕事"]["support"]) == (2, 1)
    with pytest.raises(ValueError, match="gold label '仕事' is not one of 旅行"):
        per_label.confusion(frame, ["旅行"])


# -- baselines, evaluation, ceiling --------------------------------------------------------------------


def test_baselines_are_outputs_of_their_level() -> None:
    def outputs(level: Level, train: list[Record] = RECORDS) -> dict[str, list[str]]:
        found = floors.baseline_outputs(CONVERTER, train, [PERSON, EMPTY], level)
        return {name: [p["output"] for p in predictions] for name, predictions in found.items()}

    assert outputs("joint") == {"majority": ["<旅行>抽出:無い;関係:無い;"] * 2}
    assert outputs("text") == {"majority": ["<旅行>"] * 2}
    assert outputs("words", []) == {"always_empty": ["抽出:無い;関係:無い;"] * 2}
    assert outputs("text", [PERSON, EMPTY]) == {"majority": ["<旅行>"] * 2}  # a tie: the task's order
    with pytest.raises(ValueError, match="majority baseline needs train records"):
        outputs("joint", [])


def test_baseline_scores_by_hand() -> None:
    outputs = floors.baseline_outputs(CONVERTER, RECORDS, RECORDS, "joint")["majority"]
    found = metrics.summaries(metrics.score_documents(CONVERTER, RECORDS, "joint", outputs), seed=0)
    majority = {m: s and s["value"] for m, s in found["all"].items()}
    assert majority["tl"] == pytest.approx(2 / 3) and majority["tl_balanced"] == 0.5
    assert majority["wl_exact"] == majority["all"] == pytest.approx(1 / 3)
    assert majority["f1"] == 0 and majority["format_accuracy"] == 1


@pytest.mark.parametrize("level", LEVELS)
def test_an_evaluation_is_json_and_its_groups_add_up(level: Level) -> None:
    gold = as_predictions(*(CONVERTER.target(r, level) for r in RECORDS))
    found = per_label.evaluate(CONVERTER, RECORDS, level, gold, resamples=50, seed=0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["n"], found["n_empty_gold"]) == (3, 1)
    key = "tl" if level == "text" else "wl_exact"
    assert [found[g][key]["n"] for g in ("all", "with_words", "empty_gold")] == [3, 2, 1]
    assert (found["per_word_label"] is None) == (level == "text")
    assert (found["per_text_label"] is None) == (found["confusion"] is None) == (level == "words")


def test_the_ceiling_of_gold_by_hand() -> None:
    second = record("s", "東京と東京", "旅行", ("地", 3, 5))
    found = metrics.gold_ceiling(CONVERTER, [*RECORDS, second])
    # TWICE and second repeat a surface; of 7 gold words only second's is located elsewhere.
    assert found == {"n": 4, "round_trip": 1.0, "offset_f1": pytest.approx(6 / 7),
                     "n_repeated": 2, "n_moved": 1}
    assert metrics.gold_ceiling(CONVERTER, []) == {
        "n": 0, "round_trip": None, "offset_f1": None, "n_repeated": 0, "n_moved": 0}


# -- properties ----------------------------------------------------------------------------------------


@st.composite
def some_record(draw: st.DrawFn) -> Record:
    """A record over a small alphabet full of marks, so that surfaces repeat and need escapes."""
    text = draw(st.text(alphabet="ab:;\\<>抽出関係無い", min_size=1, max_size=10))

    def span() -> tuple[int, int]:
        start = draw(st.integers(0, len(text) - 1))
        return start, draw(st.integers(start + 1, len(text)))

    words = {(draw(st.sampled_from("地人")), *span()) for _ in range(draw(st.integers(0, 4)))}
    words |= {(draw(st.sampled_from("居行")), *span(), *span()) for _ in range(draw(st.integers(0, 3)))}
    return record("h", text, draw(st.sampled_from(TASK.text_labels)), *words)


@settings(max_examples=200, deadline=None)
@given(some_record(), st.sampled_from(LEVELS))
def test_gold_outputs_score_one_everywhere(r: Record, level: Level) -> None:
    row = score(r, CONVERTER.target(r, level), level)
    assert all(row[c] in (1.0, None) or math.isnan(row[c])
               for c in ("tl", "wl_exact", "wl_set", "wl_words", "all", "all_set"))
    assert row["well_formed"]
    if level != "text":
        assert pick(row, "tp fp fn n_invented") == [len(r.words), 0, 0, 0]
        assert row["offset_tp"] + row["offset_fn"] == row["offset_tp"] + row["offset_fp"] == len(r.words)


@settings(max_examples=200, deadline=None)
@given(some_record(), st.randoms(use_true_random=False))
def test_a_permutation_keeps_the_set_and_only_the_same_string_is_exact(r: Record, rng: random.Random) -> None:
    items = list(r.items())
    rng.shuffle(items)
    output = CONVERTER.words(items)
    row = score(r, output, "words")
    assert pick(row, "wl_set wl_words fp fn") == [1, 1, 0, 0]
    assert row["wl_exact"] == (output == CONVERTER.words(r.items()))


@settings(max_examples=200, deadline=None)
@given(some_record(), some_record())
def test_counts_agree_with_a_naive_second_count(r: Record, other: Record) -> None:
    """Striking items off a list one by one, with no Counter."""
    row = score(r, CONVERTER.words(other.items()), "words")
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
@given(some_record(), st.text(alphabet="ab:;\\<>抽出関係無い旅行仕事地人居", max_size=30), st.sampled_from(LEVELS))
def test_any_string_gets_a_consistent_row(r: Record, output: str, level: Level) -> None:
    row = score(r, output, level)
    if level != "text":
        assert row["tp"] + row["fn"] == row["offset_tp"] + row["offset_fn"] == len(r.words)
        assert row["tp"] + row["fp"] == row["offset_tp"] + row["offset_fp"]
        assert not row["wl_exact"] or row["wl_set"]
        assert row["offset_tp"] <= row["tp"] and row["n_invented"] <= row["n_spans"]
