"""How often the primary tests are wrong at the levels that Holm asks for, simulated on data of SCNM's and of
TCREE's shape (scores, documents, texts without words), as evaluation.coverage simulates them.

The true difference is zero. The interval does not care where it lies, so the share of experiments in which
its end leaves zero out on one side is also how often one of the two one-sided tests of equivalence is
passed when the truth lies right at the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from giellm_utils.core.mre_report import TailCase, TailReport
from giellm_utils.evaluation.coverage import experiment, latent, Shape
from giellm_utils.evaluation.crossed import crossed
from giellm_utils.evaluation.multiple import ALPHA
from giellm_utils.evaluation.trials import PLANNED

#: Of a one-sided test: alone, and at the first step of Holm; of a difference half of that is on each side.
LEVELS = (ALPHA, ALPHA / PLANNED, ALPHA / PLANNED / 2)
#: Dataset -> documents, and for each metric what a Shape has beside: near the scores and gold of each.
DATASETS = {"scnm": (4343, {"tl": {"score": 0.86}, "f1": {"score": 0.68}}),
            "tcree": (1000, {"tl": {"score": 0.77}, "f1": {"score": 0.38, "items": 1.95, "empty": 0.1}})}


def shapes(seeds: tuple[int, ...] = (3, 5),
           seed_sds: tuple[float, ...] = (0.0, 0.005, 0.01)) -> Iterator[tuple[str, Shape]]:
    for (name, (documents, metrics)), s, sd in product(DATASETS.items(), seeds, seed_sds):
        for metric, more in metrics.items():
            yield name, Shape(metric, documents, s, sd, **more)


def report(cases: Iterator[tuple[str, Shape]], *, repetitions: int, seed: int,
           show: Callable[[str], None] = lambda _: None) -> TailReport:
    """Simulate every shape, each from a random stream of its own."""
    found = []
    for i, (task, shape) in enumerate(cases):
        found.append(simulate(task, shape, repetitions=repetitions, seed=seed + i))
        show(f"{task} {shape.metric}, {shape.seeds} seeds, sd {100 * shape.seed_sd:g}: "
             + ", ".join(f"{100 * error:.2f} % at {100 * level:.2f} %"
                         for level, error in zip(LEVELS, found[-1].errors, strict=True)))
    return TailReport(repetitions=repetitions, seed=seed, levels=list(LEVELS), cases=found)


def simulate(task: str, shape: Shape, *, repetitions: int, seed: int) -> TailCase:
    """The share of one-sided tests at each of LEVELS that are passed, over both sides."""
    rng = np.random.default_rng(seed)
    mean, luck = latent(shape)
    outside = np.zeros(len(LEVELS))
    for _ in range(repetitions):
        table = crossed(experiment(shape, mean, luck, rng).documents())
        outside += [abs(table.value) > table.half_width(1 - 2 * level) for level in LEVELS]
    return TailCase(task=task, metric=shape.metric, documents=shape.documents, seeds=shape.seeds,
                    seed_sd=shape.seed_sd, errors=[round(float(n), 6) for n in outside / (2 * repetitions)])
