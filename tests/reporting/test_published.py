"""The paper's numbers: the tables have the shape and the inner consistency that the notes claim."""

from __future__ import annotations

from collections import defaultdict

import pytest

from giellm_utils.data.registry import TASKS
from giellm_utils.reporting import published
from giellm_utils.reporting.published import (
    ACCURACIES,
    accuracy_cells,
    accuracy_table,
    GIELLM_SYSTEMS,
    paper_beside,
    STAND_IN,
    SYSTEMS,
)
from support.results import provenance, scores


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


# -- beside ours -----------------------------------------------------------------------------------------


def fake_statistics() -> dict:
    def score(value: float) -> dict:
        return {"value": value, "low": value, "high": value, "n": 3}

    one = {"splits": {"train": 8, "dev": 2, "test": 3}, "with_words": {"all": 0.5, "test": 0.25},
           "words_per_item": {"all": 1.0, "test": 2.0}, "characters": {"mean": 9.0, "median": 9, "max": 9},
           "text_labels": {"組織": {"train": 1, "dev": 0, "test": 2}}, "word_labels": {"所属": 4},
           "baselines": {"majority": {m: score(0.1) for m in ("tl", "tl_balanced", "wl_exact", "f1")}}}
    ruled = {**one, "baselines": {**one["baselines"], "lexicon": one["baselines"]["majority"]}}
    return {"datasets": {name: dict.fromkeys(("open", "embedded"), ruled if "scpos" in name else one)
                         for name in TASKS}}


def test_composition_table() -> None:
    table = published.composition_table(fake_statistics())
    assert table["paper"].tolist() == [1000, 1000, 500, 500, 500, 1000, 4500]
    assert table["ours, open"].tolist() == [10] * 6 + [60]
    assert table["share of the paper's mix"].iloc[0] == pytest.approx(1000 / 4500)
    assert list(published.composition_table().columns) == ["dataset", "paper", "share of the paper's mix"]


def test_statistics_table() -> None:
    table = published.statistics_table(fake_statistics()).set_index("dataset")
    assert table.loc["SCPOS:N", "paper test"] == 187028 and table.loc["SCNM", "paper test"] == 4343
    assert table["with words"].eq(0.25).all() and table["words per item"].eq(2).all()
    assert table["lexicon TL"].isna().tolist() == [True] + [False] * 4 + [True]


def test_tcree_labels() -> None:
    plain, counted = published.tcree_labels(), published.tcree_labels(fake_statistics())
    assert plain.shape == (7 + 12 + 17, 3) and set(plain["paper's label"]) == {published.UNKNOWN}
    by_label = counted.set_index("our label")["in open"]
    assert (by_label["組織"], by_label["所属"], by_label["契約"]) == (3, 4, 0)


# -- beside ours -----------------------------------------------------------------------------------------


def test_the_paper_stands_beside_ours() -> None:
    table = paper_beside(scores("tcree", "own", "scnm"), provenance("scnm", "tcree"))
    # The paper's order; a dataset of one's own is left out.
    assert list(table["dataset"].unique()) == ["SCNM", "TCREE"]
    rows, levels = table.set_index(["dataset", "system"]), ["TL", "WL", "ALL"]
    assert rows.loc["SCNM", "SLG Framework (paper)"][levels].tolist() == ["88.89", "81.96", "72.41"]
    assert rows.loc["SCNM", "joint (ours)"][levels].tolist() == [
        "87.0 [79.0, 95.0]", "44.0 [36.0, 52.0]", "38.0 [30.0, 46.0]"]
    shifted = rows.loc["TCREE", "GIELLM-7B (paper)"]
    assert shifted["ALL"] == "–" and "inferred" in shifted["note"]
    assert rows.loc["TCREE", "USA-7B (paper)"]["TL"] == "–"
    ours = table[table["system"].str.endswith("(ours)")]
    assert len(ours) == 4 and ours["note"].str.endswith(STAND_IN).all()
    assert ours["note"].iloc[0].startswith("SCNM, embedded mini corpus (machine-written, stand-in); ")


def test_words_of_scpos_are_counted_as_the_paper_seems_to() -> None:
    table = paper_beside(scores("scpos-rw"), systems=("joint",)).set_index("system")
    assert table.loc["joint (ours)", "WL"] == "70.0 [62.0, 78.0]", "the share of words, not the exact match"
