"""Intervals of a paired difference that look at one source of chance: the seeds, or the documents.

Neither is enough: over the seeds the documents are held fixed, over the documents the seeds are.
evaluation.crossed has both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from giellm_utils.evaluation.bootstrap import DECIMALS, ratio

CONFIDENCE = 0.95


class Interval(NamedTuple):
    low: float
    high: float


def t_interval(differences: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Student's t over the seeds' differences ([seeds]), for the documents at hand.

    Raises ValueError for fewer than two seeds.
    """
    differences = np.asarray(differences, float)
    if len(differences) < 2:
        raise ValueError(f"{len(differences)} seed has no spread: an interval over seeds needs two or more")
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half = stats.t.ppf((1 + confidence) / 2, len(differences) - 1) * error
    return Interval(float(differences.mean() - half), float(differences.mean() + half))


def percentile_over_seeds(differences: np.ndarray, draws: np.ndarray,
                          confidence: float = CONFIDENCE) -> Interval:
    """Percentile bootstrap over seeds ([seeds]); `draws` are [resamples, seeds] of their places.

    Here to be shown wrong: with three seeds its ends are the smallest and the largest of them, and it
    covers about 75 %.
    """
    means = np.asarray(differences, float)[draws].mean(axis=1)
    tail = 50 * (1 - confidence)
    return Interval(*np.percentile(means, [tail, 100 - tail]))


def document_bootstrap(sums: np.ndarray, counts: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Percentile bootstrap over clusters of documents within the seeds at hand.

    `sums`: pairs.cluster_sums, [clusters, 4 k]; `counts`: bootstrap.resample_counts, [resamples, clusters].
    The statistic is the mean over seeds and datasets of the difference of the two ratios themselves, not of
    their linearisation; a resample in which it is undefined is left out.
    """
    drawn = (counts @ sums.astype(np.float32)).astype(float)
    above_a, below_a, above_b, below_b = (drawn[:, i::4] for i in range(4))
    means = (ratio(above_a, below_a) - ratio(above_b, below_b)).mean(axis=1)
    tail = 50 * (1 - confidence)
    low, high = np.round(np.nanpercentile(means, [tail, 100 - tail]), DECIMALS)
    return Interval(float(low), float(high))
