"""Documents and seeds as crossed random effects: by hand, against MixedLM, and what the interval becomes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from giellm_utils.evaluation.crossed import Crossed, crossed
from giellm_utils.evaluation.seeds import t_interval


def table(n: int, seeds: int, document: float, seed: float, residual: float, random: int) -> np.ndarray:
    rng = np.random.default_rng(random)
    return (0.5 + rng.normal(0, document, (n, 1)) + rng.normal(0, seed, (1, seeds))
            + rng.normal(0, residual, (n, seeds)))


def mixedlm(d: np.ndarray) -> tuple[float, float, float, float]:
    """statsmodels' estimate, its standard error and variances of document and seed."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    n, seeds = d.shape
    frame = pd.DataFrame({"d": d.ravel(), "document": np.repeat(np.arange(n), seeds),
                          "seed": np.tile(np.arange(seeds), n), "all": 1})
    vc = {"document": "0 + C(document)", "seed": "0 + C(seed)"}
    with warnings.catch_warnings():
        # A variance at its border of zero, where its own choice of gradient methods does not converge.
        warnings.simplefilter("ignore")
        fit = MixedLM.from_formula("d ~ 1", groups="all", data=frame, re_formula="0",
                                   vc_formula=vc).fit(method="nm")
    return float(fit.fe_params.iloc[0]), float(fit.bse_fe.iloc[0]), *map(float, fit.vcomp)


def test_mean_squares_by_hand() -> None:
    # Rows 1 and 3 on average, columns 1.5 and 2.5; what is left is +-0.5.
    found = crossed(np.array([[1.0, 1.0], [2.0, 4.0]]))
    assert found.value == 2
    assert found.ms_document == pytest.approx(2 * (1 + 1) / 1)
    assert found.ms_seed == pytest.approx(2 * (0.25 + 0.25) / 1)
    assert found.ms_rest == pytest.approx(4 * 0.25 / 1)
    assert found.variances.document == pytest.approx((4 - 1) / 2) and found.variances.seed == 0


@pytest.mark.parametrize("document, seed", [(0.8, 0.5), (0.8, 0.0), (0.0, 0.6)])
def test_reml_is_what_mixedlm_finds(document: float, seed: float) -> None:
    d = table(24, 4, document, seed, 0.7, random=3)
    found, (value, error, var_document, var_seed) = crossed(d), mixedlm(d)
    reml = found.reml()
    assert value == pytest.approx(found.value, abs=1e-9)
    assert var_document == pytest.approx(reml.document, abs=2e-3)
    assert var_seed == pytest.approx(reml.seed, abs=2e-3)
    low, high = found.wald()
    assert (high - low) / 2 == pytest.approx(stats.norm.ppf(0.975) * error, rel=5e-3)


def test_reml_and_anova_are_one_where_no_variance_is_at_its_border() -> None:
    found = crossed(table(24, 4, 0.8, 0.5, 0.7, random=3))
    reml, anova = found.reml(), found.variances
    assert min(anova.document, anova.seed) > 0
    assert (reml.document, reml.seed, reml.residual) == pytest.approx(
        (anova.document, anova.seed, anova.residual))


def test_without_document_variance_it_is_the_t_interval_over_seeds() -> None:
    d = np.tile([0.1, 0.3, 0.8], (50, 1)) + np.tile([0.1, -0.1], 25)[:, None] * [1, 0, -1]
    found = crossed(d)
    assert found.ms_document == pytest.approx(0)
    assert found.interval() == pytest.approx(t_interval(d.mean(axis=0)))
    assert found.p_value() == pytest.approx(stats.ttest_1samp(d.mean(axis=0), 0).pvalue)


def test_without_seed_variance_it_is_the_t_interval_over_documents() -> None:
    documents = np.random.default_rng(0).normal(0.2, 1, 400)
    found = crossed(np.repeat(documents[:, None], 3, axis=1))
    assert found.interval() == pytest.approx(t_interval(documents))
    assert found.p_value() == pytest.approx(stats.ttest_1samp(documents, 0).pvalue)


def test_p_values_agree_with_intervals() -> None:
    found = crossed(table(60, 3, 0.5, 0.2, 0.5, random=1))
    for confidence in (0.5, 0.9, 0.999):
        for end in found.interval(confidence):
            assert found.p_value(end) == pytest.approx(1 - confidence, rel=1e-6)
    assert found.p_value(found.value) == 1
    assert found.p_above(found.value - 1) + found.p_above(found.value + 1) == pytest.approx(1)


def test_equivalence_is_the_90_percent_interval_within_the_margin() -> None:
    found = crossed(table(200, 5, 0.5, 0.05, 0.5, random=1) - 0.5)
    low, high = found.interval(0.9)
    edge = max(-low, high)
    assert found.p_equivalent(edge) == pytest.approx(0.05, rel=1e-6)
    assert found.p_equivalent(edge * 1.01) < 0.05 < found.p_equivalent(edge * 0.99)


def test_a_difference_that_never_varies_is_certain() -> None:
    found = Crossed(value=0.1, ms_document=0, ms_seed=0, ms_rest=0, n=10, seeds=3)
    assert found.p_value() == 0 and found.interval() == (0.1, 0.1)
    assert Crossed(value=0, ms_document=0, ms_seed=0, ms_rest=0, n=10, seeds=3).p_value() == 1


def test_one_seed_has_no_interval_over_seeds() -> None:
    with pytest.raises(ValueError, match="10 documents and 1 seeds.*train another seed"):
        crossed(np.zeros((10, 1)))
