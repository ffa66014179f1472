"""Cells to comparisons: by hand, whatever the order of cells, and what is refused."""

from __future__ import annotations

import random

import pytest

from giellm_utils.core.cells import Cell
from giellm_utils.evaluation.multiple import holm, verdict
from giellm_utils.evaluation.trial_table import TrialError
from giellm_utils.evaluation.trials import analyse, PLANNED
from support.cells import cell, synthetic

FAST = {"resamples": 50}


def by_hand() -> list[Cell]:
    """Four documents, two seeds: joint 3 and 4 right, text 2 and 3; words find 4 of 8, joint 6 and 8."""
    return [cell("joint", 1, [1, 1, 1, 0], [2, 2, 2, 0], [2, 2, 2, 2]),
            cell("joint", 2, [1, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]),
            cell("text", 1, [1, 1, 0, 0]), cell("text", 2, [1, 1, 1, 0]),
            cell("words", 1, None, [2, 2, 0, 0], [2, 2, 0, 0]),
            cell("words", 2, None, [2, 2, 0, 0], [2, 2, 2, 2])]


def effect(report, metric: str, a: str = "joint", **where):
    found = [e for e in report.effects if (e.metric, e.a) == (metric, a)
             and all(getattr(e, k) == v for k, v in where.items())]
    assert len(found) == 1, found
    return found[0]


def test_differences_by_hand() -> None:
    report = analyse(by_hand(), **FAST)
    tl, f1, both = (effect(report, m) for m in ("tl", "f1", "all"))
    assert (tl.b, tl.role, tl.seeds, tl.n, tl.clusters) == ("text", "primary", [1, 2], 4, 4)
    assert tl.differences == [0.25, 0.25] and tl.value == 0.25 and (tl.seed_low, tl.seed_high) == (.25, .25)
    # Joint: 2 * 6 / (8 + 8) and 1; words: 2 * 4 / (8 + 4) and 2 * 4 / 16.
    assert f1.differences == pytest.approx([0.75 - 8 / 12, 0.5]) and f1.b == "words"
    # Both levels right: joint 3 and 4 documents; text and words side by side 2 and 2.
    assert both.differences == [0.25, 0.5] and (both.b, both.role) == ("text+words", "secondary")
    scores = {(s.condition, s.metric): s for s in report.scores}
    assert scores["joint", "tl"].values == [0.75, 1.0] and scores["joint", "tl"].mean == 0.875
    assert scores["joint", "tl"].sd == pytest.approx(0.125 * 2 ** 0.5)
    assert scores["words", "recall"].values == [0.5, 0.5] and ("text", "f1") not in scores
    assert [r.seconds for r in report.runs] == [300.0] * 6


def test_all_is_not_defined_for_single_levels_but_for_the_two_side_by_side() -> None:
    cells = [c for c in by_hand() if c.condition != "words"]
    assert {e.metric for e in analyse(cells, **FAST).effects} == {"tl"}


def test_the_order_of_cells_and_of_documents_is_nothing() -> None:
    cells = synthetic(conditions=("joint", "text", "words", "two-task"), n=60)
    straight = analyse(cells, **FAST)
    assert {e.b for e in straight.effects} == {"text", "words", "text+words", "two-task"}
    random.Random(0).shuffle(cells)
    turned = [_reversed(c) if i % 2 else c for i, c in enumerate(cells)]
    assert analyse(turned, **FAST) == straight


def _reversed(c: Cell) -> Cell:
    def back(column):
        return None if column is None else column[::-1]

    counts = c.decoded["constrained"]
    return c.model_copy(update={
        "ids": back(c.ids), "clusters": back(c.clusters), "gold": back(c.gold),
        "decoded": {"constrained": counts.model_copy(update={k: back(v) for k, v in counts})}})


def test_a_clear_effect_and_a_clear_absence_are_told() -> None:
    shifted = analyse(synthetic(n=1500, seeds=5, shift=1.0), **FAST)
    tl = effect(shifted, "tl")
    both = holm([tl.p_value, effect(shifted, "f1").p_value], PLANNED)
    assert tl.verdict == "higher" and both[0] > 5 * tl.p_value
    assert tl.holm_p == pytest.approx(both[0], rel=1e-5)
    assert tl.low > 0 and tl.tost_holm_p == 1 and not tl.within_margin
    same = [c.model_copy(update={"condition": name})
            for c in synthetic(conditions=("joint",), n=300) for name in ("joint", "two-task")]
    nothing = effect(analyse(same, **FAST), "tl")
    assert nothing.value == 0 and nothing.verdict == "equivalent" and nothing.p_value == 1


def test_the_margin_that_decided_is_among_those_that_are_shown() -> None:
    report = analyse(synthetic(n=300, seeds=5), margin=0.025, **FAST)
    by = {(m.metric, m.margin): m for m in report.margins}
    assert {margin for _, margin in by} == {0.01, 0.015, 0.02, 0.025} and {m for m, _ in by} == {"tl", "f1"}
    for metric in ("tl", "f1"):
        made, found = effect(report, metric), [by[metric, m].p_value for m in (0.01, 0.015, 0.02, 0.025)]
        assert (found[-1], by[metric, 0.025].holm_p) == (made.tost_p, made.tost_holm_p)
        assert found == sorted(found, reverse=True) and found[0] > found[-1], "the wider, the surer"


def test_placebos_have_the_levels_that_they_have() -> None:
    cells = synthetic(conditions=("joint", "text", "words", "placebo-words", "placebo-label"), n=60)
    pairs = {(e.metric, e.a, e.b) for e in analyse(cells, **FAST).effects}
    assert {("tl", "placebo-words", "text"), ("tl", "joint", "placebo-words"),
            ("f1", "placebo-label", "words"), ("f1", "joint", "placebo-label")} <= pairs
    assert not {("f1", "placebo-words", "words"), ("tl", "placebo-label", "text")} & pairs


def test_datasets_of_a_group_are_averaged_and_share_their_clusters() -> None:
    names = ("scpos-rw", "scpos-n", "scpos-adj", "scpos-n-adj")
    cells = [c for i, name in enumerate(names) for c in synthetic(name, n=40 + 10 * i, random=i)]
    report = analyse(cells, **FAST)
    group = effect(report, "tl", task="scpos")
    alone = [effect(report, "tl", task=name) for name in names]
    assert group.role == "primary" and {e.role for e in alone} == {"secondary"}
    assert group.differences == pytest.approx(
        [sum(e.differences[s] for e in alone) / 4 for s in range(3)])
    assert (group.n, group.clusters) == (40 + 50 + 60 + 70, 70)
    assert not [e for e in analyse(cells[:-9], **FAST).effects if e.task == "scpos"]


def test_arms_are_compared_within_themselves_and_with_the_main_one() -> None:
    cells = synthetic(n=60) + synthetic(n=60, arm="texts-100", texts=100) + synthetic(n=60, arm="tokens")
    # Without dev it learned from fewer; more is what a mixture is made for.
    cells += synthetic(n=60, arm="no-dev", texts=90) + synthetic(n=60, arm="mixture", texts=4500)
    report = analyse(cells, **FAST)
    assert {e.arm for e in report.effects if e.role == "primary"} == {"main"}
    assert {(e.arm, e.a, e.b) for e in report.effects if "@" in e.b and e.metric == "tl"} == {
        (arm, c, f"{c}@main") for arm in ("tokens", "mixture") for c in ("joint", "text")}
    assert {s.texts for s in report.scores if s.arm == "texts-100"} == {100}


# -- refusals ----------------------------------------------------------------------------------------------


def test_missing_seeds_of_a_primary_comparison_are_named() -> None:
    cells = [c for c in synthetic(n=30) if (c.condition, c.seed) != ("text", 2)]
    with pytest.raises(TrialError, match=r"scnm, .*tl of joint minus text: .*scnm/text lacks 2.*--partial"):
        analyse(cells, **FAST)
    report = analyse(cells, partial=True, **FAST)
    assert effect(report, "tl").seeds == [1, 3] and effect(report, "f1").seeds == [1, 2, 3]
    assert report.partial and [line.rsplit(": ", 1)[1] for line in report.left_out] == [
        "seeds are missing (scnm/text lacks 2)"]


def test_a_primary_cell_without_constrained_decoding_is_named() -> None:
    cells = synthetic(n=30)
    cells[0] = cells[0].model_copy(update={"decoded": {"free": cells[0].decoded["constrained"]}})
    with pytest.raises(TrialError, match="tl of joint minus text: not all of its cells were decoded under"):
        analyse(cells, **FAST)
    report = analyse(cells, partial=True, **FAST)
    assert not report.effects and len(report.left_out) == 2


def test_other_comparisons_take_the_seeds_that_both_have() -> None:
    cells = synthetic(n=30, seeds=5) + synthetic(conditions=("two-task",), n=30, seeds=3)
    cells += synthetic(conditions=("words-first",), n=30, seeds=1)
    report = analyse(cells, **FAST)
    assert effect(report, "tl", b="two-task").seeds == [1, 2, 3]
    assert effect(report, "tl", b="text").seeds == [1, 2, 3, 4, 5]
    assert any("minus words-first: two seeds in common are needed, there are 1" in m for m in report.missing)


def test_a_seed_of_two_precisions_is_left_out_of_what_compares_them() -> None:
    cells = [c.model_copy(update={"dtype": "float32"}) if (c.condition, c.seed) == ("text", 3) else c
             for c in synthetic(seeds=4)]
    report = analyse(cells, resamples=20)
    assert effect(report, "tl").seeds == [1, 2, 4] and effect(report, "f1").seeds == [1, 2, 3, 4]
    (line,) = report.left_out
    assert line.endswith("tl of joint minus text: seeds 3 were computed in two precisions")
    assert {r.dtype for r in report.runs} == {"bfloat16", "float32"}


def test_other_documents_are_refused() -> None:
    cells = by_hand()
    other = cells[2].model_copy(update={"ids": ["d0", "d1", "d2", "d9"]})
    with pytest.raises(TrialError, match="scnm/joint/seed-1 and scnm/text/seed-1 hold different documents"):
        analyse([*cells[:2], other, *cells[3:]], **FAST)
    other = cells[2].model_copy(update={"gold": [2, 2, 2, 3]})
    with pytest.raises(TrialError, match="differ in the cluster or the gold items of d3"):
        analyse([*cells[:2], other, *cells[3:]], **FAST)
    with pytest.raises(TrialError, match="cell scnm/joint/seed-1 is given twice"):
        analyse([*cells, cells[0]], **FAST)


# -- Holm and verdicts -------------------------------------------------------------------------------------


def test_holm_counts_what_was_planned() -> None:
    assert holm([0.01, 0.04, 0.03], 3) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.04, 0.03], 8) == pytest.approx([0.08, 0.24, 0.21])
    assert holm([], 8) == []
    with pytest.raises(ValueError, match="3 primary tests were made but 2 planned"):
        holm([0.1, 0.1, 0.1], 2)


@pytest.mark.parametrize("value, p, tost, expected", [
    (.02, .01, .9, "higher"), (-.02, .01, .9, "lower"), (.001, .5, .01, "equivalent"),
    (.001, .01, .01, "higher"), (.02, .2, .2, "undecided")])
def test_verdicts(value: float, p: float, tost: float, expected: str) -> None:
    assert verdict(value, p, tost) == expected
