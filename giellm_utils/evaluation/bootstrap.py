"""Bootstrap intervals and paired tests over documents.

Everything reported is a function of sums over documents: accuracy is sum(correct) / sum(1), micro-F1
is sum(2tp) / sum(2tp + fp + fn). A resample draws whole documents with replacement, so the items of
one document, which are not independent, stay together (Efron and Tibshirani 1993, chapters 13, 16;
for paired systems Koehn 2004, "Statistical significance tests for machine translation evaluation").
The same seed and number of documents always give the same resamples: the metrics of one table are
resampled together. An estimate of exactly 0 or 1 has an interval of width zero: the bootstrap cannot
see documents that are not in the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from giellm_utils.core.artifacts import Score

RESAMPLES = 2000
CONFIDENCE = 0.95
#: Draws counted at once; holds the memory of a bootstrap near 50 MB whatever the number of documents.
_DRAWS_AT_ONCE = 2_000_000
#: Sums of fractions differ in their last bits with the order of addition: 0.1 + 0.2 + 0.3 is not
#: 0.3 + 0.2 + 0.1. Without rounding a difference of zero would fall on one side of it.
DECIMALS = 12


def resampled_sums(columns: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Column sums of `resamples` bootstrap samples of documents: [n_docs, k] -> [resamples, k].

    Not scipy.stats.bootstrap, which gathers every column for every resample: counting how often each
    document was drawn turns all the columns of a table into one matrix product on the very same draws.
    """
    n, k = columns.shape
    sums = np.zeros((resamples, k))
    for start, counts in _counts(n, resamples, seed):
        sums[start:start + len(counts)] = counts.astype(float) @ columns
    return sums


def resample_counts(n: int, *, resamples: int, seed: int) -> np.ndarray:
    """How often each of `n` documents was drawn, [resamples, n] as float32: the draws of `resampled_sums`,
    for those who need them many times (35 MB for 4,343 documents)."""
    found = np.zeros((resamples, n), np.float32)
    for start, counts in _counts(n, resamples, seed):
        found[start:start + len(counts)] = counts
    return found


def _counts(n: int, resamples: int, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of rows with the number of the first one; none without documents."""
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // max(1, n))
    for start in range(0, resamples if n else 0, step):
        rows = min(step, resamples - start)
        draws = rng.integers(n, size=(rows, n), dtype=np.int64) + n * np.arange(rows)[:, None]
        yield start, np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise numerator / denominator; NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def sums_intervals(columns: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *,
                   resamples: int = RESAMPLES, seed: int) -> list[Score]:
    """Intervals of `statistic`, any function of column sums ([..., k] -> [..., m]); m of them.

    `columns` is [n_docs, k]. Resamples in which the statistic is undefined (NaN) are left out of the
    percentiles. Raises ValueError when a column holds NaN or infinity.
    """
    columns = checked_columns(columns, resamples)
    values = np.atleast_1d(statistic(columns.sum(axis=0)))
    draws = statistic(resampled_sums(columns, resamples=resamples, seed=seed))
    return [percentile_score(float(v), draws[:, j], len(columns)) for j, v in enumerate(values)]


def ratio_intervals(numerators: np.ndarray, denominators: np.ndarray, *,
                    resamples: int = RESAMPLES, seed: int) -> list[Score]:
    """m ratios of sums, resampled together; both arrays are [n_docs, m]."""
    numerators, denominators = np.asarray(numerators, float), np.asarray(denominators, float)
    if numerators.shape != denominators.shape:
        raise ValueError(f"numerator and denominator have the shapes {numerators.shape} and "
                         f"{denominators.shape}: give one value of each for every document")
    m = numerators.shape[1]
    return sums_intervals(np.hstack([numerators, denominators]),
                          lambda s: ratio(s[..., :m], s[..., m:]), resamples=resamples, seed=seed)


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray, *,
                   resamples: int = RESAMPLES, seed: int) -> Score:
    """sum(numerator) / sum(denominator) over documents, with its 95 % percentile interval.

    Both arrays are [n_docs]. The value is None when the denominator sums to zero. Raises ValueError
    when the lengths differ or a value is NaN.
    """
    return ratio_intervals(np.reshape(numerator, (-1, 1)), np.reshape(denominator, (-1, 1)),
                           resamples=resamples, seed=seed)[0]


def checked_columns(columns: np.ndarray, resamples: int) -> np.ndarray:
    """`columns` ([n_docs, k]) as floats; raises ValueError for NaN, infinity and fewer than 1 resample."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}: it must be at least 1")
    columns = np.asarray(columns, float)
    bad = np.argwhere(~np.isfinite(columns))
    if len(bad):
        raise ValueError(f"document number {bad[0][0]} has no finite value ({columns[tuple(bad[0])]}): "
                         "leave out metrics that do not apply to the level")
    return columns


def percentile_score(value: float, draws: np.ndarray, n: int) -> Score:
    """`value` with the percentile interval of its finite `draws` over `n` documents."""
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(draws):
        return Score(value=None, low=None, high=None, n=n)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.round(np.percentile(draws, [tail, 100 - tail]), DECIMALS)
    return Score(value=value, low=float(low), high=float(high), n=n)
