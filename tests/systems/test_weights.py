"""Anyone's weights as they are: a folder or Hub id, asked in a format, scored like every system."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.schema import Record
from giellm_utils.core.system_result import result_path, SystemResult
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.formats.base import FormatError
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.models.bundle import BundleError
from giellm_utils.models.load import model_path
from giellm_utils.models.spec import ModelConfig
from giellm_utils.reporting import beside_paper
from giellm_utils.systems.weights import PublishedWeights


@pytest.fixture
def folder(scratch_cache, tmp_path) -> Path:
    """A tiny Llama as somebody else's folder of weights, by the name of one of the paper's."""
    path = tmp_path / "GIELLM-7B"
    path.symlink_to(model_path(ModelConfig(id="scratch")), target_is_directory=True)
    return path


def records(n: int = 10) -> list[Record]:
    return list(load_dataset("scnm", "embedded").split("test")[:n])


def test_ten_items(folder: Path) -> None:
    made = PublishedWeights(TASKS["scnm"], str(folder), "giellm-card", GenerationConfig(batch_size=4))
    made.fit(records(3))
    assert 5 < made.budget < 256, "the longest target of what it was fitted on, and a quarter"
    answers = made.predict(records())
    assert len(answers) == 10 and all(a.raw is not None for a in answers)
    # Nothing of a record but its text is read.
    blind = [Record(r.id, r.task, r.text, "自然") for r in records()]
    assert made.predict(blind) == answers
    assert made.settings["model"] == "GIELLM-7B" and str(folder) not in str(made.settings)


def test_what_cannot_be_asked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="format usa is defined for tasks with one part of spans"):
        PublishedWeights(TASKS["tcree"], str(folder), "usa", GenerationConfig())
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="holds no model"):
        PublishedWeights(TASKS["scnm"], str(tmp_path / "empty"), "giellm", GenerationConfig()).fit(records(1))


def test_the_command_fills_the_papers_cell(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """`giellm evaluate --model FOLDER --format giellm-card` leaves a row that the paper's table finds."""
    argv = ["evaluate", "--model", str(folder), "--format", "giellm-card", "--profile", "smoke", "--task",
            "scnm", "--limit", "10", "--out", str(tmp_path / "results"), "--set", "evaluation.resamples=20"]
    monkeypatch.setattr("sys.argv", ["giellm", *argv])
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0, done.output
    path = result_path(tmp_path / "results", "giellm-7b", "embedded", "scnm")
    result = artifacts.read(path, SystemResult)
    assert (result.entry, result.n_test, result.settings["format"]) == ("weights", 10, "giellm-card")
    assert "--model GIELLM-7B" in result.command and str(tmp_path) not in path.read_text("utf-8").replace(
        f"--out {tmp_path / 'results'}", "")
    line = next(x for x in beside_paper.lines(beside_paper.measured(tmp_path / "results"))
                if (x.task, x.system) == ("scnm", "GIELLM-7B"))
    assert line.ours.title == "GIELLM-7B (its weights as published)" and line.status == "stand-in data"
    assert line.cell("TL").startswith("85.70\n")


@pytest.mark.parametrize("options", [[], ["--system", "majority", "--model", "x"],
                                     ["--system", "majority", "--format", "usa"]])
def test_a_system_or_a_model(options: list[str]) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--profile", "smoke", "--task", "scnm", *options])
    assert "give either --system NAME, or --model FOLDER_OR_ID" in str(done.exception)
