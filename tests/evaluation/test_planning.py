"""Coverage, power and the bound from gold: against simulation and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from giellm_utils.core.schema import Part, Record, Span, Task, Word
from giellm_utils.evaluation import bound, coverage, power, tails
from giellm_utils.evaluation.crossed import crossed, Variances
from giellm_utils.reporting import mre_tables
from support.cells import synthetic


def test_coverage_tells_the_intervals_apart() -> None:
    shape = coverage.Shape("tl", 300, 3, 0.03, 0.86)
    found = coverage.simulate(shape, repetitions=300, resamples=100, seed=0)
    held = {name: m.coverage for name, m in found.methods.items()}
    assert 0.93 <= held["crossed"] <= 1 and 0.92 <= held["seed_t"] <= 1
    assert 0.6 <= held["seed_percentile"] <= 0.85 and held["documents"] < 0.85
    assert held["mixed_wald"] < held["crossed"]
    assert found.score == pytest.approx(coverage.LEVELS["tl"], abs=0.01)


def test_coverage_of_f1_aims_at_its_score_and_is_the_same_again() -> None:
    shape = coverage.Shape("f1", 200, 3, 0.01, 0.7)
    once, again = (coverage.simulate(shape, repetitions=20, resamples=50, seed=1) for _ in range(2))
    assert once == again and once.score == pytest.approx(coverage.LEVELS["f1"], abs=0.015)


def test_the_seeds_spread_is_what_was_asked_for() -> None:
    shape = coverage.Shape("f1", 20_000, 40, 0.02, 0.7)
    pairs = coverage.experiment(shape, *coverage.latent(shape), np.random.default_rng(0))
    assert crossed(pairs.documents()).variances.seed ** 0.5 == pytest.approx(0.02, rel=0.2)


def test_a_test_at_a_level_is_wrong_about_as_often_as_the_level_says() -> None:
    shape = coverage.Shape("f1", 150, 4, 0.01, 0.38, items=1.95, empty=0.1)
    found, again = (tails.simulate("tcree", shape, repetitions=400, seed=3) for _ in range(2))
    assert found == again and found.errors == sorted(found.errors, reverse=True)
    assert 0 < found.errors[0] < 0.08 and found.errors[-1] < 0.02
    pairs = coverage.experiment(coverage.Shape("f1", 5000, 2, 0.0, 0.38, items=1.95, empty=0.1),
                                *coverage.latent(shape), np.random.default_rng(0))
    without = (pairs.below_b[:, 0] == 0).mean()
    assert without == pytest.approx(0.1 + 0.9 * np.exp(-1.95), abs=0.02)
    assert (pairs.above_b.sum() / pairs.below_b.sum()) == pytest.approx(0.38, abs=0.02)


def test_every_primary_shape_is_simulated() -> None:
    report = tails.report(tails.shapes((3,), (0.01,)), repetitions=3, seed=1)
    assert [(c.task, c.metric, c.documents) for c in report.cases] == [
        ("scnm", "tl", 4343), ("scnm", "f1", 4343), ("tcree", "tl", 1000), ("tcree", "f1", 1000)]
    assert mre_tables.tails(report).count("\n") == 2 + 2 + 4


def test_power_is_how_often_the_interval_leaves_zero_out() -> None:
    variances, n, seeds, rng = Variances(0.02, 0.0002, 0.1), 200, 4, np.random.default_rng(0)
    design, found, equivalent = power.Design(variances, n, seeds), 0, 0
    for _ in range(400):
        d = (rng.normal(0, variances.document ** .5, (n, 1)) + rng.normal(0, variances.seed ** .5, (1, seeds))
             + rng.normal(0, variances.residual ** .5, (n, seeds)))
        table = crossed(d)
        found += crossed(d + 0.05).p_value() < 0.05
        equivalent += table.p_equivalent(0.05) < 0.05
    assert design.power(0.05) == pytest.approx(found / 400, abs=0.05)
    assert design.equivalence_power(0.05) == pytest.approx(equivalent / 400, abs=0.05)
    assert design.power(0) < 0.05


def test_more_seeds_and_documents_see_more() -> None:
    found = {(n, s): power.Design(Variances(0.02, 0.0001, 0.1), n, s).detectable()
             for n in (1000, 4000) for s in (3, 5)}
    assert found[4000, 5].single < found[4000, 3].single < found[1000, 3].single
    assert all(d.single < d.first and d.margin < d.margin_first for d in found.values())
    design = power.Design(Variances(0.02, 0.0001, 0.1), 1000, 3)
    assert design.power(found[1000, 3].single) == pytest.approx(power.POWER, abs=1e-4)


def test_a_pilots_report_says_what_a_larger_design_sees() -> None:
    report = power.report(synthetic(n=100), [4343], [3, 5])
    assert [(o.task, o.metric, o.documents, o.seeds) for o in report.outcomes] == [
        ("scnm", "tl", 100, [1, 2, 3]), ("scnm", "f1", 100, [1, 2, 3])]
    for o in report.outcomes:
        assert o.seed_sd_high >= o.seed_sd
        assert all(d.single <= high.single for d, high in zip(o.as_measured, o.at_upper_limit, strict=True))
        assert [d.seeds for d in o.as_measured] == [3, 5]


# -- bound -------------------------------------------------------------------------------------------------

TASK = Task("trip", "", ("旅行", "仕事"), (Part("entity", "抽出", ("地", "人")),))


def records(n: int, *, told: bool) -> list[Record]:
    """Half of each class; its word's label tells the class, or is always the same."""
    found = []
    for i in range(n):
        label = TASK.text_labels[i % 2]
        word = Word("entity", ("地", "人")[i % 2] if told else "地", Span(0, 2))
        found.append(Record(f"r{i}", "trip", f"奈良{i // 2}号", label, (word,)).validate(TASK))
    return found


def test_words_that_tell_the_class_are_found() -> None:
    found = bound.bound("trip", records(40, told=True), records(20, told=True))
    accuracy = {p.source: p.accuracy for p in found.text_label}
    assert accuracy["word labels"] == accuracy["words"] == 1 and accuracy["majority"] == 0.5
    assert accuracy["text"] <= 0.6 and accuracy["text and words"] == 1
    assert found.gain.value == pytest.approx(1 - accuracy["text"]) and found.gain.verdict == "higher"
    words = found.word_labels
    # 20 of 40 train words have each label: one bit; given the class (20 + 0.5) / (20 + 1) of it.
    assert words.bits == 1 and words.bits_given_class == pytest.approx(-np.log2(20.5 / 21), abs=1e-6)
    assert (words.accuracy, words.accuracy_given_class, words.words) == (0.5, 1, 20)


def test_words_that_tell_nothing_are_worth_nothing() -> None:
    found = bound.bound("trip", records(40, told=False), records(20, told=False))
    assert {p.source: p.accuracy for p in found.text_label}["word labels"] == 0.5
    assert (found.word_labels.bits, found.word_labels.bits_given_class) == (0, 0)
    bare = [Record(r.id, r.task, r.text, r.label) for r in records(20, told=False)]
    assert bound.bound("trip", records(40, told=True), bare).word_labels is None
