"""Where a difference comes from, by how many gold words a text has."""

from __future__ import annotations

import pytest

from giellm_utils.evaluation import strata
from giellm_utils.evaluation.trials import analyse
from giellm_utils.reporting.mre_tables import strata as table
from support.cells import cell, synthetic


def by_gold(condition: str, seed: int, right: dict[int, int], start: int = 0, **more):
    """40 documents without gold words and 40 with two; of the label, `right` of each are right."""
    tl = [int(start <= i < start + right[n]) for n in (0, 2) for i in range(40)]
    return cell(condition, seed, tl, gold=[0] * 40 + [2] * 40, **more)


def test_differences_stand_with_the_documents_they_come_from():
    joint = [by_gold("joint", s, {0: 20, 2: 30}, matched=[0] * 40 + [2] * 40, predicted=[1] * 40 + [2] * 40)
             for s in (1, 2)]
    text = [by_gold("text", s, {0: 20, 2: 20}) for s in (1, 2)]
    words = [cell("words", s, None, [0] * 40 + [1] * 40, [0] * 40 + [2] * 40, [0] * 40 + [2] * 40)
             for s in (1, 2)]
    report = analyse([*joint, *text, *words], resamples=20)
    found = {(s.metric, s.words): s for s in report.strata}
    # No F1 where there is nothing to find; no stratum without documents.
    assert set(found) == {("tl", "0"), ("tl", "2"), ("f1", "2")}
    assert (found["tl", "0"].value, found["tl", "2"].value, found["f1", "2"].value) == (0, 0.25, 0.5)
    two = found["tl", "2"]
    assert (two.a_mean, two.b_mean, two.n, two.seeds) == (0.75, 0.5, 40, [1, 2])
    assert two.low < 0.25 < two.high
    assert "| 2 | 40 | 75.0 | 50.0 | +25.00 |" in table(report)


def test_small_strata_are_left_out_and_large_numbers_stand_together(monkeypatch):
    cells = synthetic(n=200)
    report = analyse(cells, resamples=20)
    words = [min(number, 4) for number in cells[0].gold]
    large = {n for n in range(5) if words.count(n) >= strata.FEWEST}
    names = {**{n: str(n) for n in range(4)}, 4: "4 or more"}
    assert 4 in large and large != set(words), "the sample has small and large strata"
    assert {s.words for s in report.strata if s.metric == "tl"} == {names[n] for n in large}
    monkeypatch.setattr(strata, "FEWEST", 1)
    every = [s for s in analyse(cells, resamples=20).strata if s.metric == "tl"]
    assert sum(s.n for s in every) == 200
    whole = next(e for e in report.effects if e.metric == "tl" and e.role == "primary")
    assert sum(s.n * s.value for s in every) / 200 == pytest.approx(whole.value)
