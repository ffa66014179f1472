"""`giellm mre` from cells on disk to reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.mre_report import CoverageReport, MreReport, PowerReport
from giellm_utils.core.settings import ConfigError
from giellm_utils.evaluation.trial_table import TrialError
from giellm_utils.evaluation.trials import analyse
from giellm_utils.experiment.cells import write_cell
from giellm_utils.experiment.trial_data import trial_dataset
from support.cells import synthetic


def cells_in(folder: Path, **left_out: int):
    """Cells of three conditions and seeds on disk, without condition=seed of `left_out`."""
    cells = [c for c in synthetic(n=50) if left_out.get(c.condition) != c.seed]
    for c in cells:
        write_cell(folder, c)
    return cells


def called(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["mre", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_analyse_writes_what_analyse_finds(tmp_path) -> None:
    cells, out = cells_in(tmp_path / "mre"), tmp_path / "mre" / "analysis.json"
    said = called("analyse", "--cells", tmp_path / "mre", "--resamples", 50, "--margin", 2, "--out", out)
    assert artifacts.read(out, MreReport) == analyse(cells, resamples=50, margin=0.02)
    first = out.read_bytes()
    assert "scnm         tl  joint - text:" in said and "Holm p" in said
    called("analyse", "--cells", tmp_path / "mre", "--resamples", 50, "--margin", 2, "--out", out)
    assert out.read_bytes() == first


def test_missing_seeds_are_refused_unless_a_look_is_wanted(tmp_path) -> None:
    cells_in(tmp_path, text=2)
    with pytest.raises(TrialError, match="scnm/text lacks 2"):
        called("analyse", "--cells", tmp_path, "--out", tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()
    called("analyse", "--cells", tmp_path, "--partial", "--resamples", 20, "--out", tmp_path / "a.json")


def test_power_and_coverage_write_their_reports(tmp_path) -> None:
    cells_in(tmp_path / "pilot")
    said = called("power", "--pilot", tmp_path / "pilot", "--documents", 400, "--seeds", 3, "--seeds", 5,
                  "--out", tmp_path / "power.json")
    report = artifacts.read(tmp_path / "power.json", PowerReport)
    assert [(d.documents, d.seeds) for d in report.outcomes[0].as_measured] == [(400, 3), (400, 5)]
    assert "400 documents, 3 seeds:" in said
    said = called("coverage", "--repetitions", 10, "--resamples", 10, "--out", tmp_path / "coverage.json")
    report = artifacts.read(tmp_path / "coverage.json", CoverageReport)
    assert len(report.cases) == 24 == said.count("crossed")


def test_an_unknown_dataset_is_said() -> None:
    with pytest.raises(ConfigError, match="no dataset 'nothing' in the experiment; it has scnm, .*tcree-bl"):
        trial_dataset("nothing")
