"""`giellm plan`: its table, page, file and exit code."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core.files import StorageError


def run(*arguments: str):
    return CliRunner().invoke(app, ["plan", "-p", "smoke", *arguments])


def test_a_plan_is_shown_written_and_answered_by_the_exit_code(scratch_cache, tmp_path):
    page, file = tmp_path / "plan.html", tmp_path / "plan.json"
    done = run("--devices", "1x24GB", "--html", str(page), "--out", str(file))
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert any("one device" in line and line.split()[0] in ("full", "LoRA") for line in lines)
    assert not any("…" in line for line in lines), "a column is cut"
    assert " fits: " in done.output and "1 × 24 GB is the smallest machine" in done.output
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert json.loads(file.read_text("utf-8"))["plans"][0]["profile"] == "smoke"
    # Too large for the device: the same table, another exit code.
    found = run("--devices", "1x1GB", "--set", "training.batch_size=4000", "--longest", "1000")
    assert found.exit_code == 1 and "does not fit" in found.output


def test_a_file_that_is_no_plan_is_not_written_over(scratch_cache, tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text("[1]\n", "utf-8")
    done = run("--devices", "1x24GB", "--out", str(mine))
    assert isinstance(done.exception, StorageError) and mine.read_text("utf-8") == "[1]\n"


def test_data_that_are_not_here_are_not_asked_for(scratch_cache, monkeypatch):
    """With --sequences nothing is counted, so that a profile of the Hub's data can be planned for offline."""
    monkeypatch.setattr("giellm_utils.experiment.plan.load_corpus", None)
    done = run("--devices", "1x24GB", "--sequences", "1234", "--longest", "200")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "1,234 sequences, " in done.output
