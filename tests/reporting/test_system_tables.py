"""What every system took, and answers read in two ways: from results alone, every row of them."""

from __future__ import annotations

from pathlib import Path

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import TrainingsFile
from giellm_utils.core.files import write_json
from giellm_utils.core.paths import ROOT
from giellm_utils.core.system_result import Machine
from giellm_utils.data.registry import TASKS
from giellm_utils.reporting import system_tables
from giellm_utils.reporting.documents import render
from giellm_utils.reporting.results import system_rows
from support.results import share, system, system_row, training, write_run


def cells(table: str) -> list[list[str]]:
    """The body of a Markdown table."""
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return rows[2:]


def test_times_of_rows_and_runs(tmp_path: Path) -> None:
    gpu = Machine(system="Linux", processor="EPYC", processors=2, accelerators=["H200"], load=1.5)
    system_row(tmp_path, "crf", "open", "tcree", fit_seconds=12.34, predict_seconds=400, machine=gpu)
    system_row(tmp_path, "crf", "open", "scnm", predict_seconds=None)
    system_row(tmp_path, "majority", "open", "scnm", fit_seconds=0, predict_seconds=0)
    write_run(tmp_path / "made", "scnm")
    artifacts.write(tmp_path / "made" / "trainings.json",
                    TrainingsFile([training("joint", seconds=90.0), training("text", seconds=1.0)]))
    write_json(tmp_path / "made" / "manifests.json", {artifacts.TRAIN: {"processors": 2}})
    run, majority, crf_scnm, crf_tcree = cells(system_tables.times(tmp_path))
    speed = artifacts.read(tmp_path / "made" / "decodings.json", artifacts.DecodingsFile)
    speed = speed.tasks["scnm"]["joint"].constrained
    n = max(s.n for s in speed.scores.values())
    assert run[1:5] == ["run made", "SCNM", "90.0", f"{n}"] and run[7] == "CPU, float32, 2 processors"
    assert run[5] == f"{n / speed.items_per_second:,.1f}"
    assert majority[:7] == ["Majority", "open", "SCNM", "0.0", "50", "0.0", "–"]
    assert crf_scnm[5:7] == ["–", "–"], "answers that were not made in one go have no time"
    assert crf_tcree[2:] == ["TCREE", "12.3", "50", "400.0", "0.12", "2 × EPYC, H200", "1.5"]


def test_lenient_stands_beside_strict(tmp_path: Path) -> None:
    write_run(tmp_path / "made", "scnm")
    assert cells(system_tables.lenient(tmp_path)) == [["–"] * 9]
    system_row(tmp_path, "crf", "open")
    system_row(tmp_path, "in-context", "open", lenient=system({"tl": share(.75)}, n=50))
    strict, lenient = cells(system_tables.lenient(tmp_path))
    assert strict[2] == "strict" and strict[3].startswith("50.0 ") and lenient[3].startswith("75.0 ")


def test_scores_of_every_system_side_by_side(tmp_path: Path) -> None:
    """Runs first, then systems; each floor once; the embedded corpus has its tables elsewhere."""
    system_row(tmp_path, "crf", "open", n=900)
    system_row(tmp_path, "crf", "embedded")
    system_row(tmp_path, "majority", "open", n=9)
    system_row(tmp_path, "majority", "authors-scnm", n=90)
    found = cells(system_tables.scores(tmp_path))
    assert [(r[1], r[-1]) for r in found] == [("Majority", "90"), ("Crf", "900")]
    committed = cells(system_tables.scores(ROOT / "results"))
    assert {r[0] for r in committed} == {t.title for t in TASKS.values()}
    assert {"run open-six", "run weights", "run scnm-slg-gemma"} <= {r[2] for r in committed}


def test_every_committed_row_has_its_times() -> None:
    found = cells(system_tables.times(ROOT / "results"))
    rows = system_rows(ROOT / "results")
    assert len(rows) == len(list((ROOT / "results").glob("systems/*/*/*.json")))
    assert {(r[0], r[1]) for r in found} >= {(r.title, r.source) for r in rows}
    runs = {p.parent.name for p in (ROOT / "results").glob("*/decodings.json")}
    assert {r[1].removeprefix("run ") for r in found if r[1].startswith("run ")} == runs


def test_documents_can_ask_for_both(tmp_path: Path) -> None:
    write_run(tmp_path / "made", "scnm")
    for name in system_tables.TABLES:
        assert "| --- |" in render(f"<!-- table:systems/{name} -->\n<!-- /table -->\n", tmp_path)
