"""Calibration of confidences: reliability in bins, expected calibration error, one temperature.

Of things said (a text label, a word) each with a confidence and whether it is right. Intervals resample whole
documents. The expected calibration error is a mean of distances, so chance alone keeps it above zero, the
more the fewer things a bin holds, and a resample adds to that: read it beside `gap`, which can be zero.
Sources: Naeini et al., AAAI 2015 (equal-width bins); Guo et al., ICML 2017 (temperature).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from giellm_utils.core.calibration_report import (
    at_temperature,
    Bin,
    COLDEST,
    HOTTEST,
    Reliability,
    Temperature,
)
from giellm_utils.data.splits import text_sha1
from giellm_utils.evaluation.bootstrap import ratio, sums_intervals

BINS = 10


class Said(NamedTuple):
    """One text label or word: number of its document, confidence (0 to 1), whether it is right."""

    document: int
    confidence: float
    right: bool


def reliability(said: Sequence[Said], texts: Sequence[str], *, resamples: int, seed: int,
                fit: bool = True, at: float | None = None) -> Reliability | None:
    """Reliability of what was said of `texts`, which Said.document counts; None where nothing was.

    `at`: take confidences at this temperature, and say what it changes; else, with `fit`, one is fitted on
    one half of the texts, by their hash.
    """
    if not said:
        return None
    how = {"resamples": resamples, "seed": seed}
    if at:
        temperature = _measured(said, len(texts), at, fitted=0, **how)
        said = _taken_at(said, at)
    else:
        temperature = _temperature(said, texts, **how) if fit else None
    sums = bin_sums(said, len(texts))
    right, confidence, gap, error = sums_intervals(sums, _statistics, **how)
    n, sure, good = sums.sum(axis=0).reshape(3, BINS)
    bins = [Bin(low=k / BINS, high=(k + 1) / BINS, n=int(n[k]), confidence=sure[k] / n[k] if n[k] else None,
                right=good[k] / n[k] if n[k] else None) for k in range(BINS)]
    return Reliability(n=len(said), documents=len(texts), right=right, confidence=confidence, gap=gap,
                       error=error, bins=bins, temperature=temperature)


def bin_sums(said: Sequence[Said], documents: int) -> np.ndarray:
    """[documents, 3 * BINS]: how many, the sum of confidences and how many right, of each bin."""
    sums = np.zeros((documents, 3, BINS))
    for document, confidence, right in said:
        sums[document, :, min(int(confidence * BINS), BINS - 1)] += (1, confidence, right)
    return sums.reshape(documents, 3 * BINS)


def _statistics(sums: np.ndarray) -> np.ndarray:
    """[..., 3 * BINS] -> [..., 4]: share right, mean confidence, their gap, expected calibration error."""
    n, sure, good = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, BINS), -2, 0)
    total = n.sum(-1)
    parts = (good.sum(-1), sure.sum(-1), (sure - good).sum(-1), np.abs(sure - good).sum(-1))
    return np.stack([ratio(part, total) for part in parts], axis=-1)


# -- temperature -----------------------------------------------------------------------------------


def loss(said: Sequence[Said], temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of right and wrong, in nats."""
    sure = np.array([at_temperature(s.confidence, temperature) for s in said])
    return float(-np.mean(np.log(np.where([s.right for s in said], sure, 1 - sure))))


def fitted(said: Sequence[Said]) -> float:
    """The temperature of least loss, between COLDEST and HOTTEST."""
    found = minimize_scalar(lambda log: loss(said, float(np.exp(log))), method="bounded",
                            bounds=(np.log(COLDEST), np.log(HOTTEST)))
    return float(np.exp(found.x))


def _temperature(said: Sequence[Said], texts: Sequence[str], *, resamples: int, seed: int
                 ) -> Temperature | None:
    # From its end: a split may have been cut by the beginning of the same hash.
    order = sorted(range(len(texts)), key=lambda i: (text_sha1(texts[i])[::-1], i))
    learned, kept = set(order[:len(order) // 2]), order[len(order) // 2:]
    place = {document: k for k, document in enumerate(kept)}
    half = [s for s in said if s.document in learned]
    other = [s._replace(document=place[s.document]) for s in said if s.document in place]
    if not half or not other:
        return None
    return _measured(other, len(kept), fitted(half), fitted=len(learned), whole=fitted(said),
                     resamples=resamples, seed=seed)


def _taken_at(said: Sequence[Said], temperature: float) -> list[Said]:
    return [s._replace(confidence=at_temperature(s.confidence, temperature)) for s in said]


def _measured(said: Sequence[Said], documents: int, value: float, *, fitted: int,
              whole: float | None = None, resamples: int, seed: int) -> Temperature:
    """What the temperature `value` does to what was said of so many documents."""
    before, after = (sums_intervals(bin_sums(rows, documents), _statistics, resamples=resamples,
                                    seed=seed)[-1] for rows in (said, _taken_at(said, value)))
    return Temperature(value=value, fitted=fitted, measured=documents, before=before, after=after,
                       loss_before=loss(said), loss_after=loss(said, value), whole=whole)
