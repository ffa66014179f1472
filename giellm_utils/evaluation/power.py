"""What a design can see: the smallest difference found with a wanted power, from a pilot's components.

The power is that of the primary interval (evaluation.crossed) for normal data: the estimate has the variance
sd_u^2 / n + sd_v^2 / S + sd_e^2 / (n S), and the interval's half-width varies with the mean square of the
seeds, a chi-square of S - 1 degrees of freedom, over which it is averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import optimize, stats

from giellm_utils.core.cells import Cell, MAIN
from giellm_utils.core.mre_report import Detectable, PilotOutcome, PowerReport
from giellm_utils.evaluation.crossed import Crossed, crossed, Variances
from giellm_utils.evaluation.multiple import ALPHA
from giellm_utils.evaluation.pairs import cluster_values
from giellm_utils.evaluation.trial_table import TrialError, Trials
from giellm_utils.evaluation.trials import comparisons, MARGIN, PLANNED, PRIMARY_METRICS, WAYS

POWER = 0.8
#: Of the upper confidence limit of the seeds' variance.
LIMIT = 0.8
#: Points of the chi-square that the power is averaged over.
_POINTS = 400


class Design:
    """`documents` x `seeds` with known variances of one document's difference."""

    def __init__(self, variances: Variances, documents: int, seeds: int) -> None:
        self.documents, self.seeds = documents, seeds
        self.over_documents = variances.document / documents
        self.over_seeds = variances.seed / seeds + variances.residual / (documents * seeds)
        chi2 = stats.chi2.ppf((np.arange(_POINTS) + 0.5) / _POINTS, seeds - 1)
        self.seen = self.over_seeds * chi2 / (seeds - 1)

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return float(np.sqrt(self.over_documents + self.over_seeds))

    def half_widths(self, tail: float) -> np.ndarray:
        """Half the widths that the interval may have, each as likely as the next."""
        documents = stats.t.isf(tail, self.documents - 1) ** 2 * self.over_documents
        return np.sqrt(documents + stats.t.isf(tail, self.seeds - 1) ** 2 * self.seen)

    def power(self, difference: float, alpha: float = ALPHA) -> float:
        """How often a true `difference` is found, on either side."""
        half = self.half_widths(alpha / 2)
        return float(np.mean(stats.norm.cdf((difference - half) / self.error)
                             + stats.norm.cdf((-difference - half) / self.error)))

    def equivalence_power(self, margin: float, alpha: float = ALPHA) -> float:
        """How often a true difference of zero is shown to lie within +-`margin`."""
        room = np.maximum(0, margin - self.half_widths(alpha))
        return float(np.mean(2 * stats.norm.cdf(room / self.error) - 1))

    def detectable(self, power: float = POWER, planned: int = PLANNED, margin: float = MARGIN) -> Detectable:
        found = {}
        for name, alpha in (("", ALPHA), ("_first", ALPHA / planned)):
            found[name or "single"] = _least(lambda d, a=alpha: self.power(d, a) - power)
            found[f"no_effect{name}"] = self.equivalence_power(margin, alpha)
            found[f"margin{name}"] = _least(lambda d, a=alpha: self.equivalence_power(d, a) - power)
        found["first"] = found.pop("_first")
        return Detectable(documents=self.documents, seeds=self.seeds,
                          **{name: round(value, 6) for name, value in found.items()})


def report(pilot: Iterable[Cell], documents: Sequence[int], seeds: Sequence[int], *,
           power: float = POWER, margin: float = MARGIN, whole: bool = True) -> PowerReport:
    """What each primary outcome of the pilot's cells would show at every number of documents and seeds.

    A pilot of few seeds knows little of their variance: everything is also computed at its upper limit.
    Raises TrialError as Trials does and for an outcome of one seed, which is left out unless `whole`.
    """
    trials = Trials(pilot)
    outcomes = []
    for c in comparisons(trials):
        if (c.arm, c.way, c.a) != (MAIN, WAYS[0], "joint") or c.b not in ("text", "words"):
            continue
        if c.metric not in PRIMARY_METRICS:
            continue
        common = sorted(set.intersection(*(trials.seeds(t, c.arm, x) for t in c.tasks for x in (c.a, c.b))))
        if len(common) < 2 and not whole:
            continue
        if len(common) < 2:
            raise TrialError(f"{c}: the pilot has {len(common)} seeds of both sides; train two or more")
        values = cluster_values([trials.pairs(t, c.arm, c.a, c.b, c.way, c.metric, common) for t in c.tasks])
        table = crossed(values)
        low, high = table.variances, upper_limit(table)
        found = {name: [Design(v, n, s).detectable(power, margin=margin) for n in documents for s in seeds]
                 for name, v in (("as_measured", low), ("at_upper_limit", high))}
        outcomes.append(PilotOutcome(
            task=c.task, metric=c.metric, a=c.a, b=c.b, documents=table.n, seeds=common,
            value=round(table.value, 6), document_sd=_sd(low.document), seed_sd=_sd(low.seed),
            seed_sd_high=_sd(high.seed), residual_sd=_sd(low.residual), **found))
    return PowerReport(power=power, planned=PLANNED, margin=margin, outcomes=outcomes)


def upper_limit(table: Crossed, confidence: float = LIMIT) -> Variances:
    """The components with the seeds' at its upper one-sided confidence limit."""
    chi2 = stats.chi2.ppf(1 - confidence, table.seeds - 1)
    ms_seed = table.ms_seed * (table.seeds - 1) / chi2
    found = table.variances
    return Variances(found.document, max(0.0, float(ms_seed - table.ms_rest) / table.n), found.residual)


def _least(excess) -> float:
    """Where `excess`, which grows, becomes zero; differences of shares do not leave 0 to 1, but what a
    design would need may."""
    high = 1e-6
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0, high, xtol=1e-9))


def _sd(variance: float) -> float:
    return round(variance ** 0.5, 6)
