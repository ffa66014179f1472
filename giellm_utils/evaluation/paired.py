"""Two systems on the same documents: a paired bootstrap of their difference, and McNemar's exact test."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest

from giellm_utils.core.artifacts import Difference, Score, Verdict
from giellm_utils.evaluation.bootstrap import (
    checked_columns,
    DECIMALS,
    percentile_score,
    ratio,
    resampled_sums,
    RESAMPLES,
)


def paired_difference(num_a: np.ndarray, den_a: np.ndarray, num_b: np.ndarray, den_b: np.ndarray, *,
                      resamples: int = RESAMPLES, seed: int) -> Difference:
    """ratio a - ratio b on the same documents, resampled together; four arrays [n_docs].

    The p-value inverts the percentile interval: twice the smaller share of resamples on either side
    of zero, with the sample itself counted in so that it is never zero; None, and the verdict
    "undecided", where the difference is undefined. Raises ValueError when the lengths differ or a
    value is NaN.
    """
    arrays = [np.asarray(x, float) for x in (num_a, den_a, num_b, den_b)]
    if len({x.shape for x in arrays}) > 1:
        raise ValueError(f"the four arrays of a paired difference have the shapes "
                         f"{[x.shape for x in arrays]}: give the same documents in the same order")
    columns = checked_columns(np.column_stack(arrays), resamples)

    def difference(sums: np.ndarray) -> np.ndarray:
        return np.round(ratio(sums[..., 0], sums[..., 1]) - ratio(sums[..., 2], sums[..., 3]), DECIMALS)

    value = float(difference(columns.sum(axis=0)))
    draws = difference(resampled_sums(columns, resamples=resamples, seed=seed))
    found = percentile_score(value, draws, len(columns))
    p_value = None
    if found.value is not None:
        draws = draws[np.isfinite(draws)]
        tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        p_value = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return Difference(**found.model_dump(), p_value=p_value, verdict=verdict(found))


def verdict(score: Score) -> Verdict:
    """On which side of zero the whole interval lies; "undecided" when it contains zero."""
    if score.low is not None and score.low > 0:
        return "higher"
    if score.high is not None and score.high < 0:
        return "lower"
    return "undecided"


def mcnemar_exact(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Two-sided exact McNemar p-value that two systems err equally often on the same documents.

    Both arrays are [n_docs] of 0/1 or bool. A binomial test on the documents where exactly one of
    them is right (McNemar 1947); 1.0 when there are none. Raises ValueError when the lengths differ
    or a value is neither 0 nor 1.
    """
    a, b = np.asarray(correct_a, float), np.asarray(correct_b, float)
    if a.shape != b.shape:
        raise ValueError(f"McNemar's test compares the same documents, but got {a.shape} and {b.shape}")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("McNemar's test wants 0 or 1 for every document: give a right-or-wrong metric "
                         "that applies to the level")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
