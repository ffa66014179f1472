"""The primary interval: documents and seeds as crossed random effects.

A difference of document i at seed s is  d_is = D + u_i + v_s + e_is  with three variances (pairs.py makes
the d_is). The design is balanced, every document is answered at every seed, so that nothing needs to be
searched for: the mean is the estimate of D, and the three mean squares of the two-way table hold all that
the data say of the variances (Searle, Casella and McCulloch 1992, chapter 4). `reml` gives from them what
statsmodels' MixedLM finds by iteration (a test compares them); that one inverts matrices as large as the
number of documents, which is out of reach for 4,343, and by default does not converge where a variance is
estimated as zero.

MixedLM prints D +- 1.96 standard errors, as if three seeds told the seeds' variance. The interval here,
    half^2 = t(n - 1)^2 (MS_documents - MS_rest)+ / (n S)  +  t(S - 1)^2 MS_seeds / (n S),
gives each source its own t quantile and adds the squares (Howe 1974, JASA 69, 789, for a sum of two means;
the t-interval over seeds where documents do not matter, the usual one over documents where seeds do not).
Satterthwaite's single t with estimated degrees of freedom is here too; what each covers is simulated in
coverage.py and committed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from giellm_utils.evaluation.seeds import CONFIDENCE, Interval


@dataclass(frozen=True)
class Variances:
    """Of the document, of the seed, and of what is left; none is negative."""

    document: float
    seed: float
    residual: float


@dataclass(frozen=True)
class Crossed:
    """The two-way table of differences: its mean and its mean squares, for n documents and S seeds."""

    value: float
    ms_document: float
    ms_seed: float
    ms_rest: float
    n: int
    seeds: int

    @property
    def variances(self) -> Variances:
        """ANOVA estimates, negative ones set to zero."""
        return Variances(max(0.0, (self.ms_document - self.ms_rest) / self.seeds),
                         max(0.0, (self.ms_seed - self.ms_rest) / self.n), self.ms_rest)

    def half_width(self, confidence: float = CONFIDENCE) -> float:
        """Half the width of the primary interval."""
        return self._half((1 - confidence) / 2)

    def _half(self, tail: float) -> float:
        documents = max(0.0, self.ms_document - self.ms_rest) * stats.t.isf(tail, self.n - 1) ** 2
        seeds = self.ms_seed * stats.t.isf(tail, self.seeds - 1) ** 2
        return float(np.sqrt((documents + seeds) / (self.n * self.seeds)))

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        half = self.half_width(confidence)
        return Interval(self.value - half, self.value + half)

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided, that the difference is `null`: where the interval's end just touches it."""
        distance = abs(self.value - null)
        if self._half(0.5 * 10 ** _LEAST) <= distance:
            return 0.0 if distance else 1.0
        # At a tail of 0.5 every quantile is zero, and so is the width.
        log = optimize.brentq(lambda x: self._half(0.5 * 10 ** x) - distance, _LEAST, 0.0, xtol=1e-12)
        return float(10 ** log)

    def p_above(self, null: float) -> float:
        """One-sided, that the difference is not larger than `null`."""
        p = self.p_value(null) / 2
        return p if self.value > null else 1 - p

    def p_equivalent(self, margin: float) -> float:
        """Two one-sided tests (Schuirmann 1987) that the difference does not lie within +-`margin`."""
        return max(self.p_above(-margin), 1 - self.p_above(margin))

    # -- not used for a claim: what others would report, for the simulation -------------------------

    def satterthwaite(self, confidence: float = CONFIDENCE) -> Interval:
        """One t quantile at the estimated degrees of freedom of MS_documents + MS_seeds - MS_rest."""
        parts = ((self.ms_document, self.n - 1), (self.ms_seed, self.seeds - 1),
                 (-self.ms_rest, (self.n - 1) * (self.seeds - 1)))
        total = max(sum(ms for ms, _ in parts), self.ms_rest)
        freedom = total ** 2 / sum(ms ** 2 / df for ms, df in parts) if total else 1.0
        half = stats.t.isf((1 - confidence) / 2, max(freedom, 1.0)) * np.sqrt(total / (self.n * self.seeds))
        return Interval(self.value - float(half), self.value + float(half))

    def reml(self) -> Variances:
        """Restricted maximum likelihood, with no variance below zero; in closed form, for balanced data."""
        squares = {"document": (self.n - 1) * self.ms_document, "seed": (self.seeds - 1) * self.ms_seed}
        freedom = {"document": self.n - 1, "seed": self.seeds - 1}
        df = (self.n - 1) * (self.seeds - 1)
        rest, pooled = self.ms_rest * df, set()
        # An effect whose mean square lies below the rest's has variance zero and joins the rest.
        for name in sorted(squares, key=lambda k: squares[k] / freedom[k]):
            if squares[name] / freedom[name] < rest / df:
                pooled.add(name)
                rest, df = rest + squares[name], df + freedom[name]
        left = {name: 0.0 if name in pooled else squares[name] / freedom[name] - rest / df
                for name in squares}
        return Variances(left["document"] / self.seeds, left["seed"] / self.n, rest / df)

    def wald(self, confidence: float = CONFIDENCE) -> Interval:
        """What MixedLM prints: REML and the normal quantile."""
        v = self.reml()
        error = np.sqrt(v.document / self.n + v.seed / self.seeds + v.residual / (self.n * self.seeds))
        half = float(stats.norm.isf((1 - confidence) / 2) * error)
        return Interval(self.value - half, self.value + half)


#: log10 of the smallest p-value looked for: beyond, the square of a t quantile of one degree is no number.
_LEAST = -140.0


def crossed(differences: np.ndarray) -> Crossed:
    """The two-way table of `differences`, [n, seeds]; raises ValueError for less than 2 x 2 of them."""
    d = np.asarray(differences, float)
    n, seeds = d.shape
    if n < 2 or seeds < 2:
        raise ValueError(f"{n} documents and {seeds} seeds: the interval over both needs two of each, train "
                         "another seed")
    mean, rows, columns = d.mean(), d.mean(axis=1), d.mean(axis=0)
    rest = d - rows[:, None] - columns[None, :] + mean
    return Crossed(value=float(mean), ms_document=float(seeds * ((rows - mean) ** 2).sum() / (n - 1)),
                   ms_seed=float(n * ((columns - mean) ** 2).sum() / (seeds - 1)),
                   ms_rest=float((rest ** 2).sum() / ((n - 1) * (seeds - 1))), n=n, seeds=seeds)
