"""Names of runs and stages, what a stage writes, and notebooks that cannot run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment import notebooks
from giellm_utils.experiment.manifest import read_manifest, StageError
from giellm_utils.experiment.pipeline import run_stage
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import default_run_name, open_stage, select, Stage


def test_overrides_get_a_folder_of_their_own():
    assert default_run_name("mini", {}) == "mini"
    assert default_run_name("mini", {"seed": 1}) != default_run_name("mini", {"seed": 2})


def test_a_profile_file_runs_under_the_name_it_gives_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    stage = open_stage("01_inspect_data", "examples/intents/profile.yaml")
    assert stage.folder == tmp_path.resolve() / "intents" / "01_inspect_data"
    assert stage.command(until="03") == "giellm run --profile examples/intents/profile.yaml --until 03"
    assert stage.banner().startswith(stage.profile.description.strip())


def test_stages_are_found_by_number_or_name():
    assert select("3", "04") == ["03_train", "04_evaluate"] and select(None, "01")[-1] == "01_inspect_data"
    assert select("figures", None) == ["06_figures"]


def test_a_stage_that_only_draws_has_no_code_without_its_notebook():
    with pytest.raises(ConfigError, match="06_figures is no stage that computes"):
        run_stage("06_figures", "smoke")


def test_the_figures_of_a_run_without_results_may_be_opened(tmp_path, monkeypatch):
    """Notebook 06 then draws the committed results."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    stage = open_stage("06_figures", "smoke")
    with pytest.raises(StageError, match="scores.json is missing: run 04_evaluate first"):
        stage.read("scores.json")


def test_the_manifest_names_what_the_stage_wrote_and_nothing_else(tmp_path):
    stage = Stage("06_figures", load_profile("smoke"), tmp_path)
    stage.write("a.json", {"a": 1})
    stage.write("sub/b.txt", "b")
    (stage.folder / "the user's.txt").write_text("mine")
    stage.finish()
    assert set(read_manifest(stage.folder).outputs) == {"06_figures/a.json", "06_figures/sub/b.txt"}
    again = Stage("06_figures", load_profile("smoke"), tmp_path)
    again.write("a.json", {"a": 1})
    again.finish()
    assert not (stage.folder / "sub" / "b.txt").exists() and (stage.folder / "the user's.txt").exists()


def test_unknown_notebook_parameters_fail_before_anything_starts():
    with pytest.raises(ConfigError, match="has no parameter nonesuch"):
        notebooks.check_parameters("01_inspect_data", {"profile": "smoke", "nonesuch": 1})


def test_a_notebook_that_ends_without_a_new_manifest_did_not_finish(tmp_path, monkeypatch):
    """papermill marks every cell of a dead kernel completed; an older manifest is no proof either."""
    stage = Stage("06_figures", load_profile("smoke"), tmp_path)
    stage.write("a.json", {"a": 1})
    stage.finish()
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: None)
    with pytest.raises(StageError, match="ended without a manifest"):
        notebooks.execute("06_figures", tmp_path, {}, io.StringIO())
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: stage.finish())
    notebooks.execute("06_figures", tmp_path, {}, io.StringIO())
    assert Path(tmp_path / "notebooks").is_dir()
