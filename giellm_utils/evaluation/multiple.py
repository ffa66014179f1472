"""Many tests at once, and a verdict: an effect, none larger than the margin, or undecided."""

from __future__ import annotations

from collections.abc import Sequence

from giellm_utils.core.mre_report import TrialVerdict

ALPHA = 0.05


def holm(p_values: Sequence[float], planned: int) -> list[float]:
    """Holm's adjusted p-values (1979) among `planned` tests; those not made yet count as p = 1.

    So a result that was reported while the experiment ran never gets better by what is left out. Raises
    ValueError when more tests were made than planned.
    """
    if len(p_values) > planned:
        raise ValueError(f"{len(p_values)} primary tests were made but {planned} planned: "
                         "Holm needs the number of all of them")
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    padded = [*p_values, *[1.0] * (planned - len(p_values))]
    return [float(p) for p in multipletests(padded, method="holm")[1][:len(p_values)]]


def verdict(value: float, p_value: float, p_equivalent: float, alpha: float = ALPHA) -> TrialVerdict:
    """From the p-values of no effect and of non-equivalence, adjusted where the test is one of many."""
    if p_value < alpha:
        return "higher" if value > 0 else "lower"
    return "equivalent" if p_equivalent < alpha else "undecided"
