"""Pseudo-values, clusters, intervals over seeds and over documents: by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from giellm_utils.evaluation.bootstrap import resample_counts, resampled_sums
from giellm_utils.evaluation.pairs import cluster_sums, cluster_values, Pairs, pseudo_values
from giellm_utils.evaluation.seeds import document_bootstrap, percentile_over_seeds, t_interval


def pairs(a: list[list[float]], b: list[list[float]], clusters: str = "") -> Pairs:
    """Right or wrong, [documents][seeds]."""
    a, b = np.array(a, float), np.array(b, float)
    return Pairs(tuple(clusters or map(str, range(len(a)))), a, np.ones(a.shape), b, np.ones(b.shape))


def test_of_an_accuracy_they_are_the_answers_themselves() -> None:
    right = np.array([1.0, 0, 1, 1])
    assert pseudo_values(right, np.ones(4)).tolist() == right.tolist()


def test_of_micro_f1_by_hand() -> None:
    # 2 tp = 2, 0, 4; 2 tp + fp + fn = 2, 2, 4: F1 is 6 / 8.
    found = pseudo_values(np.array([2.0, 0, 4]), np.array([2.0, 2, 4]))
    assert found.mean() == pytest.approx(0.75)
    assert found.tolist() == pytest.approx([0.75 + 3 * 0.5 / 8, 0.75 - 3 * 1.5 / 8, 0.75 + 3 * 1 / 8])


def test_their_spread_is_that_of_the_ratio() -> None:
    rng = np.random.default_rng(0)
    below = rng.poisson(5, 3000) + 1.0
    above = rng.binomial(below.astype(int), 0.7).astype(float)
    error = pseudo_values(above, below).std(ddof=1) / np.sqrt(3000)
    sums = resampled_sums(np.column_stack([above, below]), resamples=2000, seed=0)
    assert error == pytest.approx((sums[:, 0] / sums[:, 1]).std(), rel=0.06)


def test_an_undefined_ratio_is_said() -> None:
    with pytest.raises(ValueError, match="its denominator is zero"):
        pseudo_values(np.zeros((3, 2)), np.array([[1.0, 0], [1, 0], [0, 0]]))


def test_clusters_add_up_and_datasets_weigh_alike() -> None:
    # Dataset one: four documents, two of them one text; dataset two: that text again and one more.
    one = pairs([[1, 1], [1, 0], [0, 0], [1, 1]], [[0, 0], [0, 0], [0, 1], [1, 0]], "aabc")
    two = pairs([[1, 1], [1, 0]], [[1, 0], [0, 0]], "ad")
    values = cluster_values([one, two])
    assert values.shape == (4, 2)
    assert values.mean(axis=0) == pytest.approx((one.per_seed + two.per_seed) / 2)
    # Cluster a: (1 + 1) of 4 in one, 0 of 2 in two at the first seed; 4 clusters, 2 datasets.
    assert values[0, 0] == pytest.approx(4 / 2 * (2 / 4 + 0 / 2))
    assert cluster_sums([one, two])[0].tolist() == [2, 2, 0, 2, 1, 2, 0, 2, 1, 1, 1, 1, 1, 1, 0, 1]


def test_the_t_interval_over_seeds() -> None:
    found = t_interval(np.array([0.01, 0.02, 0.06]))
    assert found == pytest.approx(stats.t.interval(0.95, 2, 0.03, stats.sem([0.01, 0.02, 0.06])))
    with pytest.raises(ValueError, match="two or more"):
        t_interval(np.array([0.01]))


def test_a_percentile_bootstrap_over_three_seeds_ends_at_the_smallest_and_largest() -> None:
    every = np.array(list(itertools.product(range(3), repeat=3)))
    draws = np.tile(every, (100, 1))  # 1 of 27 is below 2.5 % only of many
    assert percentile_over_seeds(np.array([0.03, 0.01, 0.02]), draws) == pytest.approx((0.01, 0.03))


def test_the_bootstrap_over_documents_holds_the_seeds_fixed() -> None:
    # The same answers at every document: seeds differ widely, resampled documents never do.
    found = pairs([[1, 0]] * 10, [[0, 0]] * 10)
    counts = resample_counts(10, resamples=50, seed=0)
    assert document_bootstrap(cluster_sums([found]), counts) == (0.5, 0.5)


def test_the_bootstrap_over_documents_is_that_of_the_ratios() -> None:
    rng = np.random.default_rng(1)
    below = rng.poisson(4, (50, 2)) + 1.0
    above_a, above_b = (rng.binomial(below.astype(int), p).astype(float) for p in (0.7, 0.5))
    found = Pairs(tuple(f"{i:02}" for i in range(50)), above_a, below, above_b, below)
    counts = resample_counts(50, resamples=200, seed=3)
    by_hand = [np.mean([above_a[i, s].sum() / below[i, s].sum() - above_b[i, s].sum() / below[i, s].sum()
                        for s in (0, 1)]) for i in (np.repeat(np.arange(50), c.astype(int)) for c in counts)]
    assert document_bootstrap(cluster_sums([found]), counts) == pytest.approx(
        np.percentile(by_hand, [2.5, 97.5]), abs=1e-6)


def test_counts_are_the_draws_of_the_sums() -> None:
    columns = np.arange(12.0).reshape(6, 2)
    counts = resample_counts(6, resamples=7, seed=5)
    assert (counts.sum(axis=1) == 6).all()
    assert (counts @ columns).tolist() == resampled_sums(columns, resamples=7, seed=5).tolist()
