"""How far a score on few test documents may lie from that on all: samples of one run's documents.

For scores that are reported on a few hundred sentences of a larger test split, our own among them:
without retraining, how much of a difference is the draw of the sentences?
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from giellm_utils.core.artifacts import Artifact, Score, Scores
from giellm_utils.evaluation.bootstrap import ratio
from giellm_utils.evaluation.score import ratio_columns, summarise

SIZES = (100, 200, 500, 1000)
MEASURED = ("tl", "wl_exact", "all", "f1")
#: Metric -> (low, high).
Ranges = dict[str, tuple[float, float]]


class First(Artifact):
    """Scores of the first `n` documents by id; a metric that does not apply to the level is None."""

    n: int
    tl: Score | None
    wl_exact: Score | None
    all: Score | None
    f1: Score | None


class Subsample(Artifact):
    """Scores of all `n` documents and of the first by id, and how those of samples spread.

    `samples`: size -> Ranges over `draws` samples; sizes that are not smaller than `n` are left out.
    """

    n: int
    all: Scores
    first: First
    draws: int
    seed: int
    samples: dict[str, Ranges]


def ranges(frame: pd.DataFrame, n: int, *, draws: int, seed: int) -> Ranges:
    """The middle 95 % of each metric of MEASURED over `draws` samples of `n` documents, each without
    replacement. `frame` as score.score_documents gives it."""
    generator = np.random.default_rng(seed)
    columns = {m: found for m in MEASURED if (found := ratio_columns(frame, m)) is not None}
    stacked = np.column_stack([part for pair in columns.values() for part in pair])
    sums = np.array([stacked[generator.choice(len(stacked), n, replace=False)].sum(0) for _ in range(draws)])
    found = {}
    for i, metric in enumerate(columns):
        low, high = np.percentile(ratio(sums[:, 2 * i], sums[:, 2 * i + 1]), [2.5, 97.5]).round(6)
        found[metric] = (float(low), float(high))
    return found


def subsample(frame: pd.DataFrame, first: int, *, draws: int, seed: int) -> Subsample:
    """Raises ValueError where there are fewer than `first` documents."""
    if not 1 <= first <= len(frame):
        raise ValueError(f"first is {first}; give 1 to {len(frame)}, the documents there are")
    frame = frame.sort_values("id")

    def scores(part: pd.DataFrame) -> Scores:
        found = summarise(part, seed=seed)
        return {m: found[m] for m in MEASURED}

    samples = {str(n): ranges(frame, n, draws=draws, seed=seed) for n in SIZES if n < len(frame)}
    return Subsample(n=len(frame), all=scores(frame), first=First(n=first, **scores(frame.head(first))),
                     draws=draws, seed=seed, samples=samples)
