"""Differences on the same documents: pairing, p-values, verdicts and McNemar's test."""

from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest

from giellm_utils.evaluation.bootstrap import ratio_interval
from giellm_utils.evaluation.paired import mcnemar_exact, paired_difference

# -- differences -------------------------------------------------------------------------------------


def test_a_system_against_itself_is_undecided_with_p_one() -> None:
    rng = np.random.default_rng(0)
    shares = rng.random(97)  # fractions: their sums must not differ in the last bits
    found = paired_difference(shares, np.ones(97), shares.copy(), np.ones(97), seed=0)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert found.verdict == "undecided"


def test_equal_sums_of_fractions_in_another_order_differ_by_nothing() -> None:
    a, ones = np.array([0.1, 0.2, 0.3]), np.ones(3)
    assert sum(a) != sum(a[::-1])
    assert paired_difference(a, ones, a[::-1], ones, seed=0).value == 0


def test_pairing_decides_what_two_separate_intervals_cannot() -> None:
    # b is right on 50 of 100, a on those and on 8 more: every resample that holds one of the 8 favours a.
    b = np.repeat([1.0, 0.0], 50)
    a = b.copy()
    a[50:58] = 1
    ones = np.ones(100)
    found = paired_difference(a, ones, b, ones, seed=0)
    assert found.value == pytest.approx(0.08)
    assert found.verdict == "higher"
    assert 0 < found.low < 0.08 < found.high
    assert ratio_interval(a, ones, seed=0).low < ratio_interval(b, ones, seed=0).high
    back = paired_difference(b, ones, a, ones, seed=0)
    assert (back.value, back.low, back.high, back.verdict) == (-found.value, -found.high, -found.low, "lower")
    assert back.p_value == found.p_value < 0.01


def test_the_p_value_of_two_documents_by_hand() -> None:
    # Differences +1 and 0: resamples give 0 (1/4), 1/2 (1/2), 1 (1/4), so p is 2 x 1/4.
    found = paired_difference(np.array([1, 1]), np.ones(2), np.array([0, 1]), np.ones(2),
                              resamples=20_000, seed=0)
    assert found.p_value == pytest.approx(0.5, abs=0.02)
    assert found.verdict == "undecided"


def test_a_true_null_is_rejected_about_5_times_in_100() -> None:
    rng, datasets, rejected = np.random.default_rng(5), 300, 0
    for seed in range(datasets):
        a, b = rng.random((2, 80)) < 0.6
        found = paired_difference(a, np.ones(80), b, np.ones(80), resamples=400, seed=seed)
        rejected += found.verdict != "undecided"
    assert 0.01 <= rejected / datasets <= 0.10


def test_an_undefined_difference_is_undecided() -> None:
    found = paired_difference(np.zeros(3), np.zeros(3), np.ones(3), np.ones(3), seed=0)
    assert (found.value, found.p_value, found.verdict) == (None, None, "undecided")
    assert json.dumps(found.model_dump(), allow_nan=False)


def test_unequal_lengths_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="same documents in the same order"):
        paired_difference(np.ones(3), np.ones(3), np.ones(2), np.ones(2), seed=0)


@pytest.mark.parametrize(("better", "wanted"), [(4, "higher"), (3, "undecided"), (0, "undecided"),
                                                (-3, "undecided"), (-4, "lower")])
def test_the_verdict_is_that_of_the_resamples(better: int, wanted: str) -> None:
    # Of 20 documents a is right on k more. A resample misses all k with a chance of (1 - k / 20)^20:
    # 1.2 % for 4, less than the interval's tail of 2.5 %, and 3.9 % for 3, more than it.
    a, b = np.repeat([1.0, 0.0], 10), np.repeat([1.0, 0.0], 10)
    (a if better > 0 else b)[10:10 + abs(better)] = 1
    found = paired_difference(a, np.ones(20), b, np.ones(20), resamples=20_000, seed=0)
    assert found.value == pytest.approx(better / 20)
    assert found.verdict == wanted
    assert (found.p_value < 0.05) == (wanted != "undecided")


# -- McNemar -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("only_a", "only_b"), [(8, 1), (1, 8), (5, 5), (3, 0), (0, 12)])
def test_mcnemar_is_the_two_sided_binomial_tail(only_a: int, only_b: int) -> None:
    a = np.array([1] * only_a + [0] * only_b + [1] * 7 + [0] * 4)
    b = np.array([0] * only_a + [1] * only_b + [1] * 7 + [0] * 4)
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(n, i) for i in range(k + 1)) / 2 ** n
    assert mcnemar_exact(a, b) == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_without_a_disagreement_is_one() -> None:
    assert mcnemar_exact(np.array([True, False]), np.array([True, False])) == 1.0


@pytest.mark.parametrize(("a", "b", "sentence"), [
    ([1, 0], [1], "compares the same documents"), ([0.5, 1], [1, 0], "wants 0 or 1"),
    ([np.nan, 1], [1, 0], "wants 0 or 1")])
def test_mcnemar_bad_input(a: list[float], b: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mcnemar_exact(np.array(a), np.array(b))
