"""Probes to their summary: how a joint model does on one level by what it was told of the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np

from giellm_utils.core.mre_report import ProbeDifference, ProbeReport, ProbeScore
from giellm_utils.core.probe import Probe
from giellm_utils.evaluation.bootstrap import DECIMALS
from giellm_utils.evaluation.crossed import crossed
from giellm_utils.evaluation.pairs import cluster_values, Pairs
from giellm_utils.evaluation.score import ratio_columns
from giellm_utils.evaluation.trial_table import counts_frame, TrialError

#: From the most to the least that is told.
TOLD = ("gold", "predicted", "wrong")
#: What is summed of each document to score a level: accuracy of the label, strict micro-F1 of the words.
METRICS = {"text": "tl", "words": "f1"}


def summarise(probes: Iterable[Probe]) -> ProbeReport:
    """Scores of every dataset and condition by what was told, over seeds, and what telling more gives.

    Differences with two seeds or more, documents and seeds as crossed random effects as in the experiment;
    all of it is secondary. Raises TrialError for probes of one dataset and condition on different documents.
    """
    groups: dict[tuple[str, str], dict[int, Probe]] = defaultdict(dict)
    for probe in sorted(probes, key=lambda p: p.seed):
        seeds = groups[probe.task, probe.condition]
        first = next(iter(seeds.values()), probe)
        if probe.ids != first.ids:
            raise TrialError(f"the probes of {probe.task}/{probe.condition}, seeds {first.seed} and "
                             f"{probe.seed}, hold different documents: probe both with the same --documents")
        seeds[probe.seed] = probe
    scores, differences = [], []
    for (task, condition), seeds in sorted(groups.items()):
        mine = list(seeds.values())
        columns = {name: _columns(mine, name) for name in _names(mine[0])}
        about = {"task": task, "condition": condition, "seeds": list(seeds), "n": len(mine[0].ids)}
        for name, (above, below) in columns.items():
            scores.append(ProbeScore(**about, metric=_metric(mine[0], name), told=name,
                                     values=[_rounded(v) for v in above.sum(0) / below.sum(0)]))
        differences += [_difference(about, mine[0], columns, a, b) for a, b in _compared(mine[0])
                        if len(mine) > 1]
    return ProbeReport(scores=scores, differences=differences)


def _names(probe: Probe) -> list[str]:
    found = [name for name in TOLD if name in probe.answers]
    return found if probe.label_alone is None else [*found, "label and gold words", "label alone"]


def _compared(probe: Probe) -> Iterator[tuple[str, str]]:
    """What is compared: more told minus less."""
    yield from combinations((name for name in TOLD if name in probe.answers), 2)
    if probe.label_alone is not None:
        yield "label and gold words", "label alone"


def _metric(probe: Probe, name: str) -> str:
    return METRICS[probe.asked] if name in TOLD else "tl"


def _columns(probes: Sequence[Probe], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of a score, each [documents, seeds]."""
    pairs = []
    for p in probes:
        if name in TOLD:
            pairs.append(ratio_columns(counts_frame(p.answers[name], p.ids, p.gold), _metric(p, name)))
        else:
            right = p.label_alone if name == "label alone" else p.label_with_words
            pairs.append((right, np.ones(len(p.ids))))
    return tuple(np.column_stack(column).astype(float) for column in zip(*pairs, strict=True))


def _difference(about: dict, probe: Probe, columns: dict, a: str, b: str) -> ProbeDifference:
    pairs = Pairs(tuple(probe.clusters), *columns[a], *columns[b])
    table = crossed(cluster_values([pairs]))
    found = table.interval()
    return ProbeDifference(
        **about, metric=_metric(probe, a), a=a, b=b, differences=[_rounded(d) for d in pairs.per_seed],
        value=_rounded(table.value), low=_rounded(found.low), high=_rounded(found.high))


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS) + 0.0
