"""The MRE experiment's cells to its results: which conditions are compared, and what comes out.

Primary outcomes are fixed here: joint minus text-only on the text label and joint minus words-only on word
F1, on each of PRIMARY, main arm, constrained decoding. All else is secondary and carries no adjusted p.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from functools import partial as partial_of

import numpy as np

from giellm_utils.core.artifacts import Decoding
from giellm_utils.core.cells import Cell, MAIN
from giellm_utils.core.conditions import MIXTURE
from giellm_utils.core.mre_report import (
    MreReport,
    Role,
    TrialEffect,
    TrialMargin,
    TrialRun,
    TrialScore,
    TrialStratum,
)
from giellm_utils.evaluation.bootstrap import DECIMALS, resample_counts, RESAMPLES
from giellm_utils.evaluation.crossed import Crossed, crossed
from giellm_utils.evaluation.multiple import ALPHA, holm, verdict
from giellm_utils.evaluation.pairs import cluster_sums, cluster_values
from giellm_utils.evaluation.seeds import CONFIDENCE, document_bootstrap, t_interval
from giellm_utils.evaluation.strata import by_words
from giellm_utils.evaluation.trial_table import SINGLES, TrialError, Trials

MARGIN = 0.015
#: At which equivalence is shown beside the experiment's own.
MARGINS = (0.01, 0.015, 0.02, 0.025)
#: Group of datasets -> its datasets, compared as the mean of their differences.
GROUPS = {"scpos": ("scpos-rw", "scpos-n", "scpos-adj", "scpos-n-adj")}
#: Where the two primary outcomes are tested.
PRIMARY = ("scnm", "tcree", "tcree-blind", "scpos")
#: Metric -> the single-level condition that every other condition is held against.
BASES = {"tl": "text", "f1": "words", "wl_exact": "words", "wl_set": "words", "all": SINGLES,
         "all_set": SINGLES}
PRIMARY_METRICS = ("tl", "f1")
PLANNED = len(PRIMARY) * len(PRIMARY_METRICS)
SCORED = ("tl", "f1", "precision", "recall", "wl_exact", "wl_set", "all", "all_set", "format_accuracy")
WAYS: tuple[Decoding, ...] = ("constrained", "free")


@dataclass(frozen=True)
class Comparison:
    """Condition `a` minus `b` on one metric, in one arm; the mean over `tasks`, one dataset or a group."""

    task: str
    tasks: tuple[str, ...]
    arm: str
    way: Decoding
    metric: str
    a: str
    b: str

    @property
    def role(self) -> Role:
        primary = (self.task in PRIMARY and self.arm == MAIN and self.way == WAYS[0]
                   and self.metric in PRIMARY_METRICS and (self.a, self.b) == ("joint", BASES[self.metric]))
        return "primary" if primary else "secondary"

    def __str__(self) -> str:
        return f"{self.task}, arm {self.arm}, {self.way}: {self.metric} of {self.a} minus {self.b}"


def analyse(cells: Iterable[Cell], *, margin: float = MARGIN, resamples: int = RESAMPLES, seed: int = 42,
            partial: bool = False) -> MreReport:
    """Scores of every condition and every comparison that the cells allow; the order of cells is nothing.

    A primary comparison wants the same seeds of both sides and all datasets of its group, all decoded under
    the grammar; another takes the seeds that all have. A seed whose two sides were computed in two precisions
    is left out. `partial`, for a look while cells are missing, lets primary ones take what all have too; what
    they leave out is named. What has fewer than two seeds in common is named in `missing`. Raises TrialError
    for missing seeds and ways of decoding, and as Trials does.
    """
    trials = Trials(cells)
    left_out = list(_lacking(trials))
    if left_out and not partial:
        raise TrialError(f"{left_out[0]}; train and decode these cells, or take what stands with --partial")
    effects, missing, strata, tables = [], [], [], {}
    draws = lru_cache(partial_of(resample_counts, resamples=resamples, seed=seed))
    for comparison in comparisons(trials):
        seeds, unlike = _seeds(trials, comparison)
        if unlike and comparison.role == "primary":
            left_out.append(f"{comparison}: seeds {', '.join(map(str, unlike))} were computed in two "
                            "precisions")
        if len(seeds) < 2:
            missing.append(f"{comparison}: two seeds in common are needed, there are {len(seeds)}")
        else:
            table, effect = _effect(trials, comparison, seeds, margin, draws)
            effects.append(effect)
            strata += _strata(trials, comparison, seeds)
            if comparison.role == "primary":
                tables[comparison] = table
    return MreReport(margin=margin, confidence=CONFIDENCE, planned=PLANNED, partial=partial, missing=missing,
                     left_out=left_out, scores=list(_scores(trials)), effects=_adjusted(effects),
                     runs=[_run(cell) for seeds in trials.cells.values() for cell in seeds.values()],
                     strata=strata, margins=list(_margins(tables)))


def comparisons(trials: Trials) -> list[Comparison]:
    """Those whose cells all have the metric and were decoded so."""
    return [c for c in _thinkable(trials) if _measured(trials, c)]


def _measured(trials: Trials, c: Comparison) -> bool:
    return all(trials.measures(task, c.arm, side, c.way, c.metric) for task in c.tasks for side in (c.a, c.b))


def _thinkable(trials: Trials) -> list[Comparison]:
    """Each condition against the single-level ones, joint against each of the others, and each condition of
    another arm against itself in the main one, as NAME@main, where both learned from as many texts or the
    arm is MIXTURE, whose point is that it has more."""
    groups = [(t, (t,)) for t in trials.tasks]
    groups += [(name, members) for name, members in GROUPS.items() if set(members) <= set(trials.tasks)]
    return [Comparison(name, tasks, arm, way, metric, a, b)
            for name, tasks in groups for arm in trials.arms(*tasks) for way in WAYS
            for metric, base in BASES.items() for a, b in _sides(trials, tasks, arm, base)]


def _sides(trials: Trials, tasks: Sequence[str], arm: str, base: str) -> list[tuple[str, str]]:
    there = trials.conditions(arm, *tasks)
    singles = SINGLES.split("+")
    sides = [(a, base) for a in there if a not in singles] if set(base.split("+")) <= set(there) else []
    if "joint" in there:
        sides += [("joint", b) for b in there if b != "joint" and b not in singles]
    if arm != MAIN:
        sides += [(c, f"{c}@{MAIN}") for c in there if c in trials.conditions(MAIN, *tasks)
                  and (arm == MIXTURE
                       or all(trials.texts(t, arm, c) == trials.texts(t, MAIN, c) for t in tasks))]
    return sides


def _seeds(trials: Trials, c: Comparison) -> tuple[list[int], list[int]]:
    """Those that all sides have, and which of these were computed in two precisions and so are not taken."""
    common = sorted(set.intersection(
        *(trials.seeds(task, c.arm, side) for task in c.tasks for side in (c.a, c.b))))
    unlike = [seed for seed in common if not _is_of_one_precision(trials, c, seed)]
    return [seed for seed in common if seed not in unlike], unlike


def _lacking(trials: Trials) -> Iterator[str]:
    """What primary comparisons lack: seeds of a side, or decoding under the grammar."""
    for c in _thinkable(trials):
        if c.role != "primary":
            continue
        if not _measured(trials, c):
            yield f"{c}: not all of its cells were decoded under the grammar"
        found = {f"{task}/{side}": trials.seeds(task, c.arm, side) for task in c.tasks for side in (c.a, c.b)}
        every = set.union(*found.values())
        sides = [f"{side} lacks {', '.join(map(str, sorted(every - seeds)))}"
                 for side, seeds in found.items() if seeds != every]
        if sides:
            yield f"{c}: seeds are missing ({'; '.join(sides)})"


def _is_of_one_precision(trials: Trials, c: Comparison, seed: int) -> bool:
    """Whether both sides of a seed were computed alike, dataset by dataset."""
    return all(len(trials.precisions(task, c.arm, c.a, seed) | trials.precisions(task, c.arm, c.b, seed)) == 1
               for task in c.tasks)


def _effect(trials: Trials, c: Comparison, seeds: list[int], margin: float,
            draws: Callable[[int], np.ndarray]) -> tuple[Crossed, TrialEffect]:
    pairs = [trials.pairs(task, c.arm, c.a, c.b, c.way, c.metric, seeds) for task in c.tasks]
    values = cluster_values(pairs)
    table, differences = crossed(values), np.mean([p.per_seed for p in pairs], axis=0)
    over_seeds = t_interval(differences)
    over_documents = document_bootstrap(cluster_sums(pairs), draws(len(values)))
    found, parts = table.interval(), table.variances
    numbers = {"value": table.value, "low": found.low, "high": found.high, "seed_low": over_seeds.low,
               "seed_high": over_seeds.high, "document_low": over_documents.low,
               "document_high": over_documents.high, "document_sd": parts.document ** 0.5,
               "seed_sd": parts.seed ** 0.5, "residual_sd": parts.residual ** 0.5}
    p_value, p_equivalent = table.p_value(), table.p_equivalent(margin)
    return table, TrialEffect(
        role=c.role, task=c.task, arm=c.arm, decoding=c.way, metric=c.metric, a=c.a, b=c.b, seeds=seeds,
        differences=[_rounded(d) for d in differences], **{k: _rounded(v) for k, v in numbers.items()},
        p_value=_digits(p_value), holm_p=None, tost_p=_digits(p_equivalent), tost_holm_p=None,
        n=sum(len(p.clusters) for p in pairs), clusters=len(values),
        verdict=verdict(table.value, p_value, p_equivalent), within_margin=p_equivalent < ALPHA)


def _margins(tables: Mapping[Comparison, Crossed]) -> Iterator[TrialMargin]:
    """Of primary comparisons, at each of MARGINS."""
    for margin in MARGINS:
        found = [table.p_equivalent(margin) for table in tables.values()]
        for c, p, adjusted in zip(tables, found, holm(found, PLANNED), strict=True):
            yield TrialMargin(task=c.task, metric=c.metric, b=c.b, margin=margin, p_value=_digits(p),
                              holm_p=_digits(adjusted))


def _strata(trials: Trials, c: Comparison, seeds: list[int]) -> Iterator[TrialStratum]:
    """Of a primary comparison, dataset by dataset."""
    for task in c.tasks if c.role == "primary" else ():
        pairs = trials.pairs(task, c.arm, c.a, c.b, c.way, c.metric, seeds)
        for words, part, found in by_words(pairs, trials.gold(task)):
            a, b = (_rounded(values.mean()) for values in part.values)
            yield TrialStratum(task=task, metric=c.metric, a=c.a, b=c.b, words=words, seeds=seeds,
                               n=len(part.clusters), a_mean=a, b_mean=b,
                               value=_rounded(part.per_seed.mean()), low=_rounded(found.low),
                               high=_rounded(found.high))


def _adjusted(effects: list[TrialEffect]) -> list[TrialEffect]:
    """Primary effects with p-values adjusted by Holm, of both tests, and the verdict by these."""
    primary = [e for e in effects if e.role == "primary"]
    p_values, tosts = (holm([getattr(e, name) for e in primary], PLANNED) for name in ("p_value", "tost_p"))
    both = zip(primary, p_values, tosts, strict=True)
    adjusted = {id(e): e.model_copy(update={
        "holm_p": _digits(p), "tost_holm_p": _digits(tost), "within_margin": tost < ALPHA,
        "verdict": verdict(e.value, p, tost)}) for e, p, tost in both}
    return [adjusted.get(id(e), e) for e in effects]


def _scores(trials: Trials) -> Iterator[TrialScore]:
    for (task, arm, condition), cells in trials.cells.items():
        seeds = sorted(cells)
        for way in WAYS:
            for metric in SCORED:
                if not trials.measures(task, arm, condition, way, metric):
                    continue
                above, below = trials.columns(task, arm, condition, way, metric, seeds)
                values = above.sum(0) / np.where(below.sum(0) == 0, np.nan, below.sum(0))
                if np.isnan(values).any():
                    continue
                yield TrialScore(
                    task=task, arm=arm, condition=condition, decoding=way, metric=metric,
                    texts=cells[seeds[0]].texts, seeds=seeds, values=[_rounded(v) for v in values],
                    mean=_rounded(values.mean()), n=len(above),
                    sd=_rounded(values.std(ddof=1)) if len(seeds) > 1 else None)


def _run(cell: Cell) -> TrialRun:
    fields = {name: getattr(cell, name) for name in TrialRun.model_fields}
    return TrialRun(**{**fields, "dtype": cell.precision})


def _rounded(value: float) -> float:
    """Sums of fractions differ in their last bits with the order of addition and the processor."""
    return round(float(value), DECIMALS) + 0.0


def _digits(p_value: float) -> float:
    """Six significant digits: what a p-value's search leaves behind those is not one machine's to say."""
    return float(f"{p_value:.6g}")
