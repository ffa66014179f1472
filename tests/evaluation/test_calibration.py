"""Calibration: bins and errors by hand, a temperature that is known, and documents kept together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from giellm_utils.core.calibration_report import at_temperature, TaskCalibration, temperatures_line
from giellm_utils.evaluation import calibration
from giellm_utils.evaluation.calibration import bin_sums, fitted, loss, reliability, Said

HOW = {"resamples": 200, "seed": 1}


def drawn(n: int, temperature: float, seed: int = 0, texts: int = 0) -> list[Said]:
    """Things said whose chance to be right is their confidence at `temperature`."""
    rng = np.random.default_rng(seed)
    sure = expit(rng.normal(2, 2, n))
    right = rng.random(n) < expit(logit(sure) / temperature)
    return [Said(i % (texts or n), float(sure[i]), bool(right[i])) for i in range(n)]


def names(n: int) -> list[str]:
    return [f"文{i}" for i in range(n)]


def test_bins_and_errors_by_hand():
    said = [Said(0, 0.95, True), Said(0, 0.91, False), Said(1, 1.0, True), Said(1, 0.05, True),
            Said(3, 0.3, False)]
    found = reliability(said, names(4), **HOW, fit=False)
    assert (found.n, found.documents, found.temperature) == (5, 4, None)
    assert [b.n for b in found.bins] == [1, 0, 0, 1, 0, 0, 0, 0, 0, 3]
    last, empty = found.bins[-1], found.bins[1]
    assert (last.low, last.high) == (0.9, 1.0) and last.confidence == pytest.approx(2.86 / 3)
    assert last.right == pytest.approx(2 / 3) and (empty.confidence, empty.right) == (None, None)
    assert found.right.value == pytest.approx(3 / 5) and found.confidence.value == pytest.approx(3.21 / 5)
    assert found.gap.value == pytest.approx(0.21 / 5)
    assert found.error.value == pytest.approx((0.95 + 0.3 + 0.86) / 5)
    assert reliability([], names(4), **HOW) is None


def test_an_interval_is_over_documents_not_over_what_they_say():
    """A hundred words of ten documents that are all right or all wrong are ten, not a hundred."""
    alone = [Said(i, 0.5, i % 2 == 0) for i in range(100)]
    together = [Said(i // 10, 0.5, i // 10 % 2 == 0) for i in range(100)]
    one, ten = reliability(alone, names(100), **HOW), reliability(together, names(10), **HOW)
    assert one.right.value == ten.right.value == 0.5
    assert ten.right.high - ten.right.low > 2 * (one.right.high - one.right.low)
    assert ten.error.n == 10


def test_the_temperature_that_was_drawn_with_is_found():
    for temperature in (0.5, 1.0, 3.0):
        assert fitted(drawn(20_000, temperature)) == pytest.approx(temperature, rel=0.08)
    for sure in (0.0, 0.2, 0.5, 1.0):
        assert at_temperature(sure, 1.0) == pytest.approx(sure, abs=1e-5)
        assert at_temperature(sure, 2.5) == pytest.approx(expit(logit(np.clip(sure, 1e-6, 1 - 1e-6)) / 2.5))
    assert loss([Said(0, 0.8, True), Said(0, 0.8, False)]) == pytest.approx(-np.log([0.8, 0.2]).mean())


def test_a_temperature_is_measured_on_documents_that_it_was_not_fitted_on():
    said, texts = drawn(6_000, 3.0, texts=600), names(600)
    found = reliability(said, texts, **HOW).temperature
    assert (found.fitted, found.measured) == (300, 300) and found.value == pytest.approx(3.0, rel=0.15)
    assert found.after.value < 0.5 * found.before.value and found.loss_after < found.loss_before
    # What the measured half says does not move the temperature, what the other says does.
    order = sorted(range(600), key=lambda i: calibration.text_sha1(texts[i])[::-1])
    for half, same in ((order[300:], True), (order[:300], False)):
        turned = [s._replace(right=not s.right) if s.document in half else s for s in said]
        assert (reliability(turned, texts, **HOW).temperature.value == found.value) == same
    assert reliability(said[:1], names(2), **HOW).temperature is None, "one half holds nothing"


def test_a_temperature_is_worth_it_where_it_helps_the_other_half():
    better, texts = drawn(6_000, 3.0, texts=600), names(600)
    good = reliability(better, texts, **HOW)
    assert good.temperature.whole == pytest.approx(fitted(better))
    order = sorted(range(600), key=lambda i: calibration.text_sha1(texts[i])[::-1])
    worse = [s._replace(right=s.confidence > 0.5) if s.document in order[300:] else s for s in better]
    bad = reliability(worse, texts, **HOW)
    assert bad.temperature.loss_after > bad.temperature.loss_before
    found = TaskCalibration(documents=600, label=bad, words=good)
    assert found.helpful == {"words": good.temperature.whole}
    assert TaskCalibration(documents=600, label=None, words=None).helpful == {}
    for value, whole in ((0.0501, 3.0), (3.0, 19.99)):
        ended = good.temperature.model_copy(update={"value": value, "whole": whole})
        assert not TaskCalibration(documents=600, label=good.model_copy(update={"temperature": ended}),
                                   words=None).helpful, "it ran into an end of the range"
    old = good.model_copy(update={"temperature": good.temperature.model_copy(update={"whole": None})})
    assert TaskCalibration(documents=600, label=old, words=None).helpful == {}, "made before it was"
    assert temperatures_line({"scnm": {"words": 2.168}, "tcree": {"label": 1.2, "words": 3}, "x": {}}) == (
        "scnm words 2.17; tcree label 1.20, words 3.00")


def test_sums_of_bins():
    sums = bin_sums([Said(1, 0.25, True), Said(1, 0.29, False)], 2).reshape(2, 3, 10)
    assert not sums[0].any() and sums[1, :, 2] == pytest.approx([2, 0.54, 1]) and sums[1].sum() == 3.54
