"""The paper's numbers: the tables have the shape and the inner consistency that the notes claim."""

from __future__ import annotations

from collections import defaultdict

import pytest

from giellm_utils.reporting import published
from giellm_utils.reporting.published import (
    ACCURACIES,
    accuracy_cells,
    accuracy_table,
    GIELLM_SYSTEMS,
    SYSTEMS,
)


def cell(system: str, task: str, level: str) -> float | None:
    return next(c.value for c in ACCURACIES if (c.system, c.task, c.inferred) == (system, task, level))


def test_every_system_has_sixteen_printed_cells() -> None:
    columns = defaultdict(list)
    for c in ACCURACIES:
        columns[c.system].append((c.task, c.printed))
    assert tuple(columns) == SYSTEMS and all(c == columns["USA-7B"] for c in columns.values())
    assert len(columns["USA-7B"]) == len(set(columns["USA-7B"])) == 16
    dashes = {(c.system, c.task) for c in ACCURACIES if c.value is None}
    assert dashes == {("USA-7B", "scnm"), ("USA-7B", "tcree")}


def test_values_against_the_paper() -> None:
    assert cell("SLG Framework", "scnm", "ALL") == 72.41
    assert cell("USA-7B", "scpos-adj", "WL") == 64.94
    assert cell("GPT-3.5-Turbo", "scpos-n", "ALL") == 0.23
    assert cell("GIELLM-13B", "scpos-n-adj", "TL") == 90.43
    assert cell("GIELLM-13B-JP", "scpos-rw", "ALL") == 26.15
    # A slip of a digit shows here: the sum of every printed value.
    assert sum(c.value for c in ACCURACIES if c.value) == pytest.approx(5353.97)


def test_inferred_differs_from_printed_only_where_it_says_so() -> None:
    for c in ACCURACIES:
        shifted = c.task in ("tcree", "scpos-n-adj")
        assert bool(c.note) == shifted and (shifted or c.printed == c.inferred)
        assert not shifted or c.note.startswith("inferred")


def test_tables() -> None:
    printed, inferred = accuracy_table("printed"), accuracy_table("inferred")
    assert printed.shape == (6, 16) and inferred.shape == (6, 17) and tuple(printed.index) == SYSTEMS
    assert printed["TCREE", "WL"].equals(inferred["TCREE", "TL"].rename(("TCREE", "WL")))
    assert inferred["SCPOS:N&Adj", "ALL"].notna().tolist() == [True] * 3 + [False] * 3
    assert int(printed.notna().to_numpy().sum()) == int(inferred.notna().to_numpy().sum()) == 91
    assert set(accuracy_cells()["note"]) > {""} and accuracy_cells()["value"].dtype == float
    assert published.size_table()["train"].sum() == 4500
    assert published.mre_table()[["TL", "WL", "ALL"]].notna().sum().tolist() == [2, 2, 1]


# -- what INFERRED says ----------------------------------------------------------------------------------


def test_twelve_of_sixteen() -> None:
    best = accuracy_table("printed").idxmax().isin(GIELLM_SYSTEMS)
    assert best.sum() == 12 and not best["SCNM"].any()


def test_all_is_tl_times_wl_on_scnm_and_far_below_on_rw_and_n() -> None:
    for system in GIELLM_SYSTEMS:
        ratio = {task: cell(system, task, "ALL") / (cell(system, task, "TL") * cell(system, task, "WL") / 100)
                 for task in ("scnm", "scpos-rw", "scpos-n", "scpos-adj")}
        assert 0.97 < ratio["scnm"] < 1.03 and ratio["scpos-rw"] < 0.5 and ratio["scpos-n"] < 0.5
        assert 0.80 < ratio["scpos-adj"] < 0.87
    joint = published.MRE[0]
    assert joint.all == pytest.approx(joint.tl * joint.wl / 100, abs=1.5)


def test_the_cells_of_n_and_adj_are_multiples_of_a_3000th() -> None:
    cells = [c.value for c in ACCURACIES
             if c.task in ("scpos-n", "scpos-adj", "scpos-n-adj") and c.inferred != "WL"]
    assert len(cells) == 33
    assert [v for v in cells if round(round(v * 30) / 30, 2) != v] == [6.86]
    assert int(100 * 206 / 30) / 100 == 6.86


def test_the_mre_row_is_slgs() -> None:
    joint = published.MRE[0]
    assert (joint.tl, joint.wl) == tuple(cell("SLG Framework", "tcree", level) for level in ("TL", "WL"))
    assert all(row.note.startswith("inferred") for row in published.MRE)
