"""Two conditions on the same documents and seeds, as one number a document and seed.

An accuracy is a mean over documents, micro-F1 is not: it is a ratio of sums, A / B. Linearised (the delta
method), document i adds  p_i = R + n (a_i - R b_i) / B  with R = A / B: the p_i have the mean R exactly,
their variance is that of the delta method, and for an accuracy (b_i = 1) p_i is a_i itself. So every
outcome is a mean of such pseudo-values (Efron and Tibshirani 1993, chapter 11, calls them by the jackknife;
Binder 1983 linearises ratios so for samples of clusters), and a model of means fits them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def pseudo_values(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """p_i of sum(above) / sum(below), for each column apart: [n] or [n, seeds] -> the same.

    Raises ValueError where a denominator sums to zero.
    """
    above, below = np.asarray(above, float), np.asarray(below, float)
    total = below.sum(axis=0)
    if np.any(total == 0):
        raise ValueError("the metric is undefined for one of the seeds: its denominator is zero over all "
                         "documents (nothing predicted and nothing to find?)")
    value = above.sum(axis=0) / total
    return value + len(above) * (above - value * below) / total


@dataclass(frozen=True)
class Pairs:
    """One metric of condition a and condition b on one dataset; numerators and denominators [n, seeds].

    `clusters`: the documents' clusters, [n].
    """

    clusters: tuple[str, ...]
    above_a: np.ndarray
    below_a: np.ndarray
    above_b: np.ndarray
    below_b: np.ndarray

    @property
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """The metric of a and of b at each seed, both [seeds]."""
        return self.above_a.sum(0) / self.below_a.sum(0), self.above_b.sum(0) / self.below_b.sum(0)

    @property
    def per_seed(self) -> np.ndarray:
        """The difference at each seed, [seeds]."""
        a, b = self.values
        return a - b

    def documents(self) -> np.ndarray:
        """The difference of pseudo-values, [n, seeds]; its mean over documents is `per_seed`."""
        return pseudo_values(self.above_a, self.below_a) - pseudo_values(self.above_b, self.below_b)

    def columns(self) -> np.ndarray:
        """[n, 4 seeds]: above_a, below_a, above_b, below_b of each seed."""
        columns = np.stack([self.above_a, self.below_a, self.above_b, self.below_b], axis=-1)
        return columns.reshape(len(self.clusters), -1)


def cluster_values(pairs: Sequence[Pairs]) -> np.ndarray:
    """The mean difference over `pairs` (one a dataset, weighted alike) as one value a cluster and seed.

    [clusters, seeds]; the mean over clusters is the mean over datasets of `per_seed`. A cluster adds up its
    documents, so that texts that stand in several datasets count as one draw.
    """
    names = _names(pairs)
    return sum(_by_cluster(p.documents() * len(names) / len(p.clusters), p.clusters, names)
               for p in pairs) / len(pairs)


def cluster_sums(pairs: Sequence[Pairs]) -> np.ndarray:
    """The columns of all pairs, added up over each cluster: [clusters, 4 seeds pairs]."""
    names = _names(pairs)
    return np.hstack([_by_cluster(p.columns(), p.clusters, names) for p in pairs])


def _names(pairs: Sequence[Pairs]) -> list[str]:
    return sorted({c for p in pairs for c in p.clusters})


def _by_cluster(columns: np.ndarray, clusters: Sequence[str], names: Sequence[str]) -> np.ndarray:
    place = {name: i for i, name in enumerate(names)}
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, [place[c] for c in clusters], columns)
    return sums
