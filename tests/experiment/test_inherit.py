"""A changed run takes over the earlier stages that the change does not touch, and harms no other run."""

from __future__ import annotations

import json
import os
import shlex
import shutil

import pytest

from giellm_utils.core.settings import parse_override
from giellm_utils.experiment import inherit
from giellm_utils.experiment.current import is_current
from giellm_utils.experiment.manifest import StageError
from giellm_utils.experiment.pipeline import run_stage
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import command, default_run_name, open_stage
from support.experiments import hashes, run_stages, write_profile

ONLY = {"generation.constrained": "only"}


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    """The scratch model's files are small: link them all the same, but for notebooks and figures."""
    monkeypatch.setattr(inherit, "LARGE", 20_000)


def test_a_notebook_opened_with_overrides_finds_what_it_needs(runs, profile, in_process, capsys):
    """As a reader would: open 04, set one override, run all cells."""
    before = hashes(runs / "tiny")
    evaluated = run_stage("04_evaluate", profile, overrides=ONLY)
    new = runs / default_run_name("tiny", ONLY)
    out = capsys.readouterr().out
    for stage in ("01_inspect_data", "02_convert_format", "03_train"):
        assert f"{stage}: taken over from" in out and is_current(stage, load_profile(profile, ONLY), new)
    assert evaluated.first == "constrained" and evaluated.decodings.tasks["scnm"]["joint"].free is None
    assert in_process.trained == [] and hashes(runs / "tiny") == before
    # Constrained decoding was part of the first run, so nothing was decoded either.
    assert "2 files of predictions taken over from" in out and "text/s" not in out
    weights = "joint/scnm/seed-42/model/model.safetensors"
    assert (new / weights).stat().st_ino == (runs / "tiny" / weights).stat().st_ino


def test_one_of_its_own_stages_is_never_replaced(runs, profile):
    run_stage("04_evaluate", profile, overrides=ONLY)
    new = runs / default_run_name("tiny", ONLY)
    (new / "02_convert_format" / "tokens.json").write_text("{}")
    with pytest.raises(StageError, match="02_convert_format has another output"):
        open_stage("04_evaluate", profile, overrides=ONLY)


def test_training_anew_in_the_heir_leaves_the_other_run_as_it_was(runs, profile, in_process):
    before, name = hashes(runs / "tiny"), "heir"
    open_stage("04_evaluate", profile, name)
    run_stages(profile, {"training.max_steps": 5}, name=name, from_="03", until="04")
    assert in_process.trained == ["joint", "text"] and hashes(runs / "tiny") == before
    assert json.loads((runs / name / "joint" / "scnm" / "seed-42" / "summary.json").read_text())["steps"] == 5


def test_trainings_are_taken_over_one_by_one(runs, profile, in_process, capsys):
    """Stage 03 must run, for it has another list, but what is on it was trained before."""
    trained = run_stages(profile, {"training.conditions": ["text", "words"]}, from_="03", until="03")
    assert in_process.trained == ["words"] and [t.condition for t in trained.trainings] == ["text", "words"]
    assert "text: taken over from" in capsys.readouterr().out


def test_a_stopped_training_goes_on_in_the_heir(in_process, tmp_path, monkeypatch):
    runs = tmp_path.resolve() / "runs"
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(runs))
    profile = write_profile(tmp_path, {"training": {"conditions": ["joint"], "minutes": 1e-9}})
    run_stages(profile, until="03")
    before = hashes(runs / "tiny")
    resumed = run_stages(profile, {"training.minutes": 5}, from_="03", until="03").trainings[0]
    assert (resumed.resumed_from_step, resumed.steps) == (1, 4) and hashes(runs / "tiny") == before


def test_what_the_heir_has_begun_is_not_given_up_for_a_training_that_the_clock_stopped(in_process, tmp_path,
                                                                                      monkeypatch):
    runs = tmp_path.resolve() / "runs"
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(runs))
    profile = write_profile(tmp_path, {"training": {"conditions": ["joint"], "minutes": 1e-9, "save_steps": 1,
                                                    "keep_checkpoints": True}})
    run_stages(profile, until="03")
    run_stages(profile, {"training.minutes": 5}, from_="03", until="03")
    [summary] = set(runs.rglob("summary.json")) - set((runs / "tiny").rglob("summary.json"))
    summary.unlink()  # as a kill would have left it, two steps further than the run it went on from
    shutil.rmtree(summary.parent / "model")
    resumed = run_stages(profile, {"training.minutes": 5}, from_="03", until="03").trainings[0]
    assert resumed.resumed_from_step > 1 and resumed.steps == 4


def test_what_the_change_touches_is_asked_for_with_a_command_that_makes_it(runs, profile, in_process):
    changed = {"training.max_steps": 5, "data.task_limit": {"scnm": {"test": 5}}}
    with pytest.raises(StageError) as caught:
        open_stage("04_evaluate", profile, overrides=changed)
    said = str(caught.value)
    assert "is not finished: run 01_inspect_data first (giellm run" in said
    words = shlex.split(said[said.index("(giellm") + 1:-1])
    assert words[:4] == ["giellm", "run", "--profile", profile] and words[-2:] == ["--until", "03"]
    given = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert dict(map(parse_override, given)) == changed and "--name" not in words
    # It fills the very run that was opened.
    run_stages(profile, dict(map(parse_override, given)), until="03")
    open_stage("04_evaluate", profile, overrides=changed)
    with pytest.raises(StageError, match="--set seed=3 --name mine --until 03"):
        open_stage("04_evaluate", profile, "mine", {"seed": 3})


@pytest.mark.parametrize("value", ["only", True, None, 3, 1e-9, "3", "true", "a b", ["x", "y"], {"scnm": 1}])
def test_every_value_comes_back_from_the_command(value):
    words = shlex.split(command("p", {"a.b": value}))
    assert parse_override(words[-1]) == ("a.b", value)


def test_the_profiles_own_run_comes_first_and_stale_ones_never(runs, profile, capsys):
    shutil.copytree(runs / "tiny", runs / "another")
    os.utime(runs / "another")
    open_stage("02_convert_format", profile, "heir")
    assert "runs/tiny" in capsys.readouterr().out
    shutil.rmtree(runs / "heir")
    (runs / "tiny" / "01_inspect_data" / "records.jsonl").write_text("")
    open_stage("02_convert_format", profile, "heir")
    assert "runs/another" in capsys.readouterr().out
    shutil.rmtree(runs / "heir")
    (runs / "another" / "01_inspect_data" / "leakage.json").unlink()
    with pytest.raises(StageError, match="01_inspect_data is not finished"):
        open_stage("02_convert_format", profile, "heir")


def test_a_stage_made_from_other_inputs_is_not_taken_over(runs, profile):
    run = runs / "other"
    run_stages(profile, {"data.limit": {"train": 9, "dev": 4, "test": 6}}, name="other", until="01")
    # Its own records differ, so nothing of tiny's fits behind them, though the keys of 02 are the same.
    with pytest.raises(StageError, match="02_convert_format is not finished"):
        open_stage("03_train", profile, "other", {"data.limit": {"train": 9, "dev": 4, "test": 6}})
    assert not (run / "02_convert_format").exists()


def test_files_are_copied_where_they_cannot_be_linked(runs, profile, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    run_stage("04_evaluate", profile, overrides=ONLY)
    weights = "joint/scnm/seed-42/model/model.safetensors"
    new = runs / default_run_name("tiny", ONLY)
    assert (new / weights).read_bytes() == (runs / "tiny" / weights).read_bytes()
    assert (new / weights).stat().st_ino != (runs / "tiny" / weights).stat().st_ino
