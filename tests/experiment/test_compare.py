"""Two runs and one run's levels: differences by hand, and what cannot be compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import MreFile, TrainingsFile
from giellm_utils.core.files import StorageError, write_text
from giellm_utils.evaluation.score import COLUMNS
from giellm_utils.experiment.compare import compare_runs
from giellm_utils.experiment.manifest import Manifest, StageError
from giellm_utils.experiment.pipeline import run_stage
from support.experiments import run_stages, write_profile
from support.results import training


def made_run(folder: Path, right: list[int], epochs: float, first: int = 0) -> Path:
    """A run of which only the text labels differ."""
    rows = [{**dict.fromkeys(COLUMNS, 0.0), "id": f"d{first + i}", "gold_label": "x",
             "predicted_label": "x" if r else None, "tl": float(r), "well_formed": True, "truncated": False,
             "empty_gold": True} for i, r in enumerate(right)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    write_text(folder / "04_evaluate" / "documents" / "joint.t.csv", frame.to_csv(index=False))
    for stage in ("03_train", "04_evaluate"):
        artifacts.write(folder / stage / "manifest.json", Manifest(
            stage=stage, run=folder.name, profile="p", seed=1, notebook="", inputs={}, outputs={}, data={},
            parameters={"seed": 1, "training.epochs": epochs}, git="", seconds=1, finished="", python="",
            system="", processors=1, packages={}))
    artifacts.write(folder / "03_train" / "trainings.json", TrainingsFile([training("joint", task="t")]))
    return folder


def test_the_difference_is_paired_and_names_what_differs(tmp_path, monkeypatch):
    a = made_run(tmp_path / "a", [1, 0, 0, 0] * 10, 3)
    b = made_run(tmp_path / "b", [1, 1, 0, 0] * 10, 5)
    # Another order of the same documents changes nothing.
    path = b / "04_evaluate" / "documents" / "joint.t.csv"
    write_text(path, pd.read_csv(path).iloc[::-1].to_csv(index=False))
    found = compare_runs(a, b, resamples=200)
    pair = found.tasks["t"]["tl"]
    assert (pair.a.value, pair.b.value, pair.difference.value) == (0.25, 0.5, 0.25)
    # Paired: only the ten documents that changed vary, so the interval is narrower than of two samples
    # (0.2 a side).
    assert pair.difference.low > 0.1 and pair.difference.high < 0.42
    assert pair.difference.verdict == "higher" and found.settings == {"training.epochs": (3, 5)}
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["compare", "a", "b", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0 and "+25.0" in done.output and "training.epochs: 3" in done.output
    assert json.loads((tmp_path / "out" / "a-b.joint.json").read_text())["condition"] == "joint"


def test_what_cannot_be_compared_is_said(tmp_path):
    a = made_run(tmp_path / "a", [1, 0], 3)
    with pytest.raises(StageError, match="different documents"):
        compare_runs(a, made_run(tmp_path / "b", [1, 0], 3, first=1))
    with pytest.raises(StageError, match="no scores of condition joint"):
        compare_runs(a, tmp_path)
    artifacts.write(a / "03_train" / "trainings.json", TrainingsFile([training("text", task="t")]))
    with pytest.raises(StageError, match="has no training of condition joint, only of text: run its profile"):
        compare_runs(a, made_run(tmp_path / "b", [1, 0], 3))
    (a / "03_train" / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match="manifest.json, line 1: not JSON"):
        compare_runs(a, made_run(tmp_path / "b", [1, 0], 3))


def test_stage_05_compares_the_levels_of_one_run(runs, profile):
    compared = run_stage("05_mutual_reinforcement", profile)
    assert compared.conditions == ["joint", "text"] and list(compared.mre.error_independence) == ["scnm"]
    assert {(e.metric, e.single_level) for e in compared.mre.effects} == {("tl", "text")}
    assert all(line.startswith("scnm tl: joint") for line in compared.sentences())
    assert artifacts.read(runs / "tiny" / "05_mutual_reinforcement" / "mre.json", MreFile) == compared.mre
    joint, text = compared.trainings
    cut = dataclasses.replace(compared, trainings=[
        joint, text.model_copy(update={"stopped_by_minutes": True, "planned_steps": text.steps + 1})])
    assert cut.sentences()[0] == (
        f"training of text stopped by training.minutes after {text.steps} of {text.steps + 1} steps: the "
        "differences below are not of equal trainings; raise it and run again")
    assert cut.sentences()[1:] == compared.sentences()


def test_a_run_of_one_level_has_nothing_to_compare(in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    profile = write_profile(tmp_path, {"training": {"conditions": ["text"]}})
    compared = run_stages(profile)
    assert compared.mre.effects == [] and compared.mre.error_independence == {}
    assert compared.sentences() == []
