"""Does a 95 % interval hold the truth 95 times of 100? Simulated on data of the experiment's shape.

Two conditions answer the same documents at S seeds. Whether an answer is right is a latent normal number
above a threshold: difficulty of the document + that of the document for the condition + luck of the
training + noise (sd 1). TL is right or wrong once a document; for F1 a document has items, each found with
the probability of its latent number, and each item not found may be answered by a wrong one. The truth is
the difference for ever more documents and seeds; it is zero here, so 1 - coverage is also how often a test
finds an effect that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import ndtr

from giellm_utils.core.mre_report import CoverageCase, CoverageReport, MethodCoverage
from giellm_utils.evaluation.bootstrap import resample_counts
from giellm_utils.evaluation.crossed import crossed
from giellm_utils.evaluation.pairs import Pairs
from giellm_utils.evaluation.seeds import document_bootstrap, Interval, percentile_over_seeds, t_interval

#: Of the latent number. With these, text labels of two conditions are right on the same documents with
#: phi = 0.33, between the 0.19 and 0.52 of the mini run's joint and text-only models.
DOCUMENT_SD, CONDITION_SD = 1.3, 0.5
#: Mean score to aim at, near what the default model has.
LEVELS = {"tl": 0.86, "f1": 0.70}
#: Gold items a document have this mean; share of missed items answered by a wrong one.
ITEMS, WRONG = 2.5, 0.7
METHODS = ("seed_percentile", "seed_t", "documents", "mixed_wald", "satterthwaite", "crossed")
Metric = Literal["tl", "f1"]


@dataclass(frozen=True)
class Shape:
    """`seed_sd`: standard deviation between seeds of the difference, as a share. `score`: mean score to aim
    at; `items`: gold items a document have this mean, and none in a share `empty` of documents beside."""

    metric: Metric
    documents: int
    seeds: int
    seed_sd: float
    score: float
    items: float = ITEMS
    empty: float = 0.0


def shapes(documents: tuple[int, ...] = (1000, 4343), seeds: tuple[int, ...] = (3, 5),
           seed_sds: tuple[float, ...] = (0.005, 0.01, 0.015)) -> Iterator[Shape]:
    for metric, n, sd, s in product(LEVELS, documents, seed_sds, seeds):
        yield Shape(metric, n, s, sd, LEVELS[metric])


def report(cases: Iterator[Shape], *, repetitions: int, resamples: int, seed: int,
           show: Callable[[str], None] = lambda _: None) -> CoverageReport:
    """Simulate every shape, each from a random stream of its own."""
    found = []
    for i, shape in enumerate(cases):
        found.append(simulate(shape, repetitions=repetitions, resamples=resamples, seed=seed + i))
        show(f"{shape.metric} {shape.documents} documents {shape.seeds} seeds, sd {100 * shape.seed_sd:g}: "
             + ", ".join(f"{name} {100 * m.coverage:.1f}" for name, m in found[-1].methods.items()))
    return CoverageReport(repetitions=repetitions, resamples=resamples, seed=seed, document_sd=DOCUMENT_SD,
                          condition_sd=CONDITION_SD, cases=found)


def simulate(shape: Shape, *, repetitions: int, resamples: int, seed: int) -> CoverageCase:
    """Coverage and mean width of each of METHODS over `repetitions` experiments of one shape."""
    rng = np.random.default_rng(seed)
    threshold, luck = latent(shape)
    # The same resamples for every repetition: they do not depend on the data, and drawing is what costs.
    counts = resample_counts(shape.documents, resamples=resamples, seed=seed)
    draws = rng.integers(shape.seeds, size=(resamples, shape.seeds))
    held, widths = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0)
    scores = []
    for _ in range(repetitions):
        pairs = experiment(shape, threshold, luck, rng)
        scores.append(float((pairs.above_b.sum(0) / pairs.below_b.sum(0)).mean()))
        for name, (low, high) in _intervals(pairs, counts, draws).items():
            held[name] += low <= 0 <= high
            widths[name] += high - low
    return CoverageCase(
        metric=shape.metric, documents=shape.documents, seeds=shape.seeds, seed_sd=shape.seed_sd,
        score=round(float(np.mean(scores)), 6), difference=0.0,
        methods={m: MethodCoverage(coverage=held[m] / repetitions, width=round(widths[m] / repetitions, 6))
                 for m in METHODS})


def _intervals(pairs: Pairs, counts: np.ndarray, draws: np.ndarray) -> dict[str, Interval]:
    table, per_seed = crossed(pairs.documents()), pairs.per_seed
    # Every document is a cluster of its own here: no sums over clusters are needed.
    return {"seed_percentile": percentile_over_seeds(per_seed, draws), "seed_t": t_interval(per_seed),
            "documents": document_bootstrap(pairs.columns(), counts), "mixed_wald": table.wald(),
            "satterthwaite": table.satterthwaite(), "crossed": table.interval()}


def latent(shape: Shape) -> tuple[float, float]:
    """The threshold that gives the mean score, and the sd of a training's luck, both latent.

    A difference of two trainings has sd 2 ** 0.5 * luck * slope, the slope being the change of the score
    with the latent mean.
    """
    spread = np.sqrt(1 + DOCUMENT_SD ** 2 + CONDITION_SD ** 2)
    found = shape.score
    if shape.metric == "tl":
        share, steep = found, 1.0
    else:
        # F1 = 2 p / (1 + p + WRONG (1 - p)) for the share p of items found; and its derivative.
        share = found * (1 + WRONG) / (2 - found * (1 - WRONG))
        steep = 2 * (1 + WRONG) / (1 + WRONG + share * (1 - WRONG)) ** 2
    mean = float(stats.norm.ppf(share)) * spread
    slope = steep * stats.norm.pdf(mean / spread) / spread
    return mean, float(shape.seed_sd / (np.sqrt(2) * slope))


def experiment(shape: Shape, mean: float, luck: float, rng: np.random.Generator) -> Pairs:
    """One simulated experiment; `mean` and `luck` as `latent` gives them."""
    n, s = shape.documents, shape.seeds
    document = rng.normal(mean, DOCUMENT_SD, (n, 1))
    sides = [document + rng.normal(0, CONDITION_SD, (n, 1)) + rng.normal(0, luck, (1, s)) for _ in "ab"]
    clusters = tuple(map(str, range(n)))
    if shape.metric == "tl":
        ones = np.ones((n, s))
        a, b = ((ndtr(side) > rng.random((n, s))).astype(float) for side in sides)
        return Pairs(clusters, a, ones, b, ones)
    # The same texts, the same items: drawn once for both.
    items = rng.poisson(shape.items, (n, 1)) + np.zeros((1, s), int)
    if shape.empty:
        items = items * (rng.random((n, 1)) >= shape.empty)
    columns = []
    for side in sides:
        matched = rng.binomial(items, ndtr(side))
        columns += [2.0 * matched, (items + matched + rng.binomial(items - matched, WRONG)).astype(float)]
    return Pairs(clusters, *columns)
