"""Joint against single-level: differences by hand, matching by id, independence of errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from giellm_utils.core.schema import Level, LEVELS, Part, Record, Span, Task, Word
from giellm_utils.evaluation import mre
from giellm_utils.evaluation.score import COLUMNS, score_documents
from giellm_utils.formats.giellm import GiellmFormat

TASK = Task("trip", "a text label and places", ("旅行", "仕事"), (Part("entity", "抽出", ("地",)),))
FORMAT = GiellmFormat(TASK)
GOLD = {"joint": "<旅行>抽出:地;奈良", "text": "<旅行>", "words": "抽出:地;奈良"}
WRONG = {"joint": "<仕事>抽出:無い;", "text": "<仕事>", "words": "抽出:無い;"}


def scores(level: Level, right: list[int]) -> pd.DataFrame:
    """Real scores of len(right) documents that are wholly right (1) or wholly wrong (0)."""
    records = [Record(f"d{i}", "trip", "奈良だ", "旅行", (Word("entity", "地", Span(0, 2)),))
               for i in range(len(right))]
    answers = [FORMAT.parse((GOLD if r else WRONG)[level], level) for r in right]
    return score_documents(TASK, records, level, answers)


def joint_frame(tl: np.ndarray, wl: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"id": [f"d{i}" for i in range(len(tl))], "tl": tl.astype(float),
                          "wl_exact": wl.astype(float), "all": (tl * wl).astype(float)})
    return frame.reindex(columns=list(COLUMNS))


# -- effects -------------------------------------------------------------------------------------------


def test_effects_by_hand() -> None:
    # Joint is right on 6 of 8; text only on 2 of those 6 and no other; words only on the same 6.
    joint = [1, 1, 1, 1, 1, 1, 0, 0]
    found = mre.effects({"joint": scores("joint", joint), "text": scores("text", [1, 1, 0, 0, 0, 0, 0, 0]),
                         "words": scores("words", joint)}, task="trip", seed=0)
    assert [(e.metric, e.single_level) for e in found] == [
        ("tl", "text"), ("wl_exact", "words"), ("wl_set", "words"), ("wl_words", "words"), ("f1", "words")]
    text, exact, f1 = found[0], found[1], found[4]
    assert (text.joint, text.single, text.difference) == (0.75, 0.25, 0.5)
    assert text.verdict == "higher" and 0 < text.low < 0.5 < text.high < 1
    assert text.mcnemar_p == pytest.approx(2 / 2 ** 4)  # 4 documents against 0
    assert (exact.difference, exact.p_value, exact.verdict) == (0, 1, "undecided")
    assert f1.joint == pytest.approx(2 * 6 / (2 * 6 + 2))  # 6 found, 2 missed, none spurious
    assert f1.mcnemar_p is None and text.n == 8
    assert json.dumps([e.model_dump() for e in found], allow_nan=False)


def test_a_worse_joint_model_is_lower_and_a_close_one_undecided() -> None:
    joint = [1] * 10 + [0] * 30
    better, close = scores("text", [1] * 30 + [0] * 10), scores("text", [0] * 29 + [1] * 11)
    lower = mre.effects({"joint": scores("joint", joint), "text": better}, task="trip", seed=0)
    assert [(e.metric, e.difference, e.verdict) for e in lower] == [("tl", -0.5, "lower")]
    found = mre.effects({"joint": scores("joint", joint), "text": close}, task="trip", seed=0)[0]
    assert found.verdict == "undecided" and found.low < 0 < found.high


def test_who_is_right_where_adds_up_and_matches_by_id() -> None:
    text = scores("text", [1, 0, 1, 0, 1]).iloc[::-1]
    found = mre.disagreements({"joint": scores("joint", [1, 1, 0, 0, 0]), "text": text})
    assert found == [{"metric": "tl", "single_level": "text", "n": 5, "both": 1, "only_joint": 1,
                      "only_single": 2, "neither": 1}]
    both = mre.disagreements({"joint": scores("joint", [1, 0]), "text": scores("text", [1, 0]),
                              "words": scores("words", [0, 1])})
    assert [(r["metric"], r["only_joint"], r["only_single"]) for r in both] == [
        ("tl", 0, 0), ("wl_exact", 1, 1)]


def test_documents_are_matched_by_id_and_not_by_place() -> None:
    joint, words = scores("joint", [1, 0, 1, 0]), scores("words", [1, 0, 0, 0])
    straight = mre.effects({"joint": joint, "words": words}, task="trip", seed=0)
    backwards = words.iloc[::-1].reset_index(drop=True)
    turned = mre.effects({"joint": joint, "words": backwards}, task="trip", seed=0)
    assert straight == turned
    assert straight[0].mcnemar_p == 1.0  # one document against none; four by place: 2 against 1


def test_the_p_value_needs_the_pairing() -> None:
    # The same shares, but once the errors fall on the same documents and once on others.
    joint, nested, crossed = [1] * 60 + [0] * 40, [1] * 50 + [0] * 50, [0] * 40 + [1] * 50 + [0] * 10
    paired, spread = (
        mre.effects({"joint": scores("joint", joint), "text": scores("text", text)}, task="trip", seed=0)[0]
        for text in (nested, crossed))
    assert paired.difference == spread.difference == pytest.approx(0.1)
    assert (paired.verdict, spread.verdict) == ("higher", "undecided")


@pytest.mark.parametrize(("frames", "sentence"), [
    ({"joint": scores("joint", [1, 0]), "text": scores("text", [1, 0, 1])},
     "'joint' and 'text' were scored on different documents: 0 only in 'joint', 1 only in 'text' .*d2"),
    ({"joint": scores("joint", [1, 0, 1]), "words": scores("words", [1])},
     "2 only in 'joint', 0 only in 'words' .*d1"),
    ({"joint": scores("joint", [1]), "text": pd.concat([scores("text", [1])] * 2)},
     "document d0 stands more than once in the scores of level 'text'"),
    ({"joint": scores("joint", [1])}, "but got 'joint'"),
    ({"text": scores("text", [1]), "words": scores("words", [1])}, "needs scores of 'joint'"),
    ({"joint": scores("words", [1]), "text": scores("text", [1])},
     "frame given for level 'joint' has no values of tl"),
    ({"joint": scores("joint", [1]), "words": scores("text", [1])},
     "frame given for level 'words' has no values of wl_exact"),
], ids=["more", "fewer", "twice", "joint only", "no joint", "wrong joint", "wrong words"])
def test_frames_that_do_not_fit_are_one_sentence(frames: dict[Level, pd.DataFrame], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mre.effects(frames, task="trip", seed=0)


def test_undefined_shares_are_none() -> None:
    nothing = Record("e", "trip", "雨だ", "旅行")
    read = {level: FORMAT.parse(FORMAT.target(nothing, level), level) for level in LEVELS}
    frames = {level: score_documents(TASK, [nothing], level, [read[level]]) for level in LEVELS}
    f1 = mre.effects(frames, task="trip", seed=0)[-1]
    assert (f1.joint, f1.single, f1.difference, f1.verdict) == (None, None, None, "undecided")


# -- independence of errors ----------------------------------------------------------------------------


def test_phi_by_hand() -> None:
    # Both right 40, text only 20, words only 5, neither 35: phi = (40x35 - 20x5) / sqrt(60 40 45 55).
    tl, wl = np.repeat([1, 1, 0, 0], [40, 20, 5, 35]), np.repeat([1, 0, 1, 0], [40, 20, 5, 35])
    found = mre.error_independence(joint_frame(tl, wl), seed=0)
    assert found.observed.value == pytest.approx(0.4)
    assert found.expected.value == pytest.approx(0.6 * 0.45)
    assert found.excess.value == pytest.approx(0.13)
    assert found.phi.value == pytest.approx(1300 / math.sqrt(60 * 40 * 45 * 55))
    assert found.phi.value == pytest.approx(np.corrcoef(tl, wl)[0, 1])
    assert found.verdict == "higher" and found.n == 100
    assert json.dumps(found.model_dump(), allow_nan=False)


def test_the_extremes_of_phi() -> None:
    half = np.repeat([1, 0], 20)
    assert mre.error_independence(joint_frame(half, half), seed=0).phi.value == pytest.approx(1)
    apart = mre.error_independence(joint_frame(half, 1 - half), seed=0)
    assert apart.phi.value == pytest.approx(-1) and apart.verdict == "lower"
    always = mre.error_independence(joint_frame(np.ones(40, int), half), seed=0)
    assert always.phi.value is None and always.verdict == "undecided"
    assert always.observed.value == always.expected.value == 0.5


def test_independent_errors_are_mostly_undecided() -> None:
    rng, undecided, datasets = np.random.default_rng(0), 0, 200
    for seed in range(datasets):
        frame = joint_frame(rng.binomial(1, 0.85, 200), rng.binomial(1, 0.6, 200))
        undecided += mre.error_independence(frame, resamples=300, seed=seed).verdict == "undecided"
    assert 0.88 <= undecided / datasets <= 0.99


def test_independence_wants_joint_scores() -> None:
    with pytest.raises(ValueError, match="has no values of tl"):
        mre.error_independence(scores("words", [1, 0]), seed=0)
