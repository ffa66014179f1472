"""The whole smoke pipeline through papermill, as a user runs it, judged by its result files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment import notebooks, stages
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import is_current, select, StageError, STAGES
from giellm_utils.reporting.publish import publish, publish_notebooks
from giellm_utils.reporting.results import draw, Results


def giellm(environment, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "giellm_utils.cli.main", *arguments], env=environment, text=True,
                          capture_output=True, encoding="utf-8")


@pytest.fixture(scope="session")
def smoke(child_environment) -> Path:
    """The folder of a finished smoke run."""
    start = time.monotonic()
    done = giellm(child_environment, "run", "--profile", "smoke")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert time.monotonic() - start < 240  # 62 s alone on 2 cores; the promise is 2 minutes, CI is shared
    return Path(child_environment["GIELLM_RUNS_DIR"]) / "smoke"


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_scores_are_complete_and_bounded(smoke):
    scores = read(smoke / "04_evaluate" / "scores.json")
    tasks = load_profile("smoke").data.tasks
    assert list(scores["tasks"]) == tasks and scores["split"] == "test"
    for systems in scores["tasks"].values():
        assert {"joint", "text", "words", "majority"} <= set(systems)
        for metric in ("tl", "wl_exact", "wl_words", "f1", "all", "format_accuracy"):
            score = systems["joint"]["all"][metric]
            assert score is None or score["value"] is None or 0 <= score["low"] <= score["value"] <= score["high"] <= 1
        assert systems["text"]["all"]["f1"] is None and systems["words"]["all"]["tl"] is None
        assert systems["joint"]["n"] == 16
        # Even a tiny model learns to close its output: were training broken, every output would be cut.
        assert systems["text"]["all"]["truncated"]["value"] < 0.5


def test_training_learned_something(smoke):
    rows = [json.loads(line) for line in (smoke / "03_train" / "history.jsonl").read_text().splitlines()]
    for job in ("joint", "text", "words"):
        losses = [r["loss"] for r in rows if r["job"] == job and "loss" in r]
        assert losses[-1] < 0.8 * losses[0], (job, losses)


def test_manifests_say_what_made_the_result(smoke):
    for stage in STAGES:
        manifest = read(smoke / stage / "manifest.json")
        assert manifest["stage"] == stage and manifest["seed"] == 42 and manifest["seconds"] > 0
        assert manifest["packages"]["torch"] and manifest["notebook"] and manifest["outputs"]
        for provenance in manifest["data"].values():
            assert provenance["source"] == "embedded mini corpus" and provenance["files"][0]["sha256"]
    evaluated = read(smoke / "04_evaluate" / "manifest.json")
    assert (evaluated["dtype"], evaluated["device"], evaluated["batch_size"]) == ("float32", "cpu", 16)
    assert "03_train/trainings.json" in evaluated["inputs"]


def test_effects_cover_both_levels(smoke):
    mre = read(smoke / "05_mutual_reinforcement" / "mre.json")
    assert {(e["metric"], e["single_level"]) for e in mre["effects"]} >= {("tl", "text"), ("f1", "words")}
    for effect in mre["effects"]:
        if effect["low"] <= 0 <= effect["high"]:
            assert effect["verdict"] == "undecided"


def test_constrained_decoding_breaks_nothing(smoke):
    found = read(smoke / "04_evaluate" / "decodings.json")["tasks"]["scnm"]
    assert set(found) == {"joint", "text", "words"}
    for job, ways in found.items():
        ours, free = ways["constrained"], ways["free"]
        assert ours["items_per_second"] > 0 and free["items_per_second"] > 0
        assert ours["format_accuracy"]["value"] + ours["truncated"]["value"] == pytest.approx(1)
        assert ours["invented"] is None if job == "text" else ours["invented"]["value"] in (0, None)
        assert ways["difference"]["format_accuracy"]["value"] == pytest.approx(
            ours["format_accuracy"]["value"] - free["format_accuracy"]["value"])
    rows = (smoke / "04_evaluate" / "predictions" / "joint.scnm.constrained.jsonl").read_text(encoding="utf-8")
    assert not any(json.loads(row)["problems"] for row in rows.splitlines())


def test_a_trained_folder_reads_texts_by_itself(smoke, child_environment):
    done = giellm(child_environment, "extract", "東京で学会があった。", "--model",
                  str(smoke / "03_train" / "jobs" / "joint"), "--task", "scnm")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["text"] == "東京で学会があった。" and found["tasks"]["scnm"]["problems"] == []


def test_every_figure_is_drawn_again_from_result_files(smoke, tmp_path):
    names = {p.stem for p in (smoke / "06_figures" / "figures").glob("*.png")}
    assert {"composition-scnm", "token-cost", "loss-curves", "accuracy", "effects"} <= names
    written = publish(smoke, tmp_path / "results")
    assert {p.name for p in written} >= {"scores.json", "mre.json", "manifests.json"}
    assert {name for name, _ in draw(Results(tmp_path / "results" / "smoke"))} == names
    with pytest.raises(StageError, match="--force"):
        publish(smoke, tmp_path / "results")


def test_a_second_run_skips_every_stage(smoke, child_environment):
    start = time.monotonic()
    done = giellm(child_environment, "run", "--profile", "smoke")
    assert done.returncode == 0 and done.stdout.count("unchanged, skipped") == 6
    assert time.monotonic() - start < 20


def test_a_changed_output_parameter_or_input_makes_a_stage_stale(smoke, tmp_path):
    run = tmp_path / "smoke"
    shutil.copytree(smoke, run)
    profile = load_profile("smoke")
    assert all(is_current(stage, profile, run) for stage in STAGES)
    changed = load_profile("smoke", {"evaluation.resamples": 300})
    assert is_current("03_train", changed, run) and not is_current("04_evaluate", changed, run)
    scores = run / "04_evaluate" / "scores.json"
    scores.write_text(scores.read_text(encoding="utf-8").replace("0.", "0.9", 1), encoding="utf-8")
    assert not is_current("04_evaluate", profile, run)
    (run / "02_convert_format" / "tokens.json").unlink()
    assert not is_current("02_convert_format", profile, run) and is_current("01_inspect_data", profile, run)


def test_a_failure_names_notebook_cell_cause_and_how_to_resume(child_environment):
    done = giellm(child_environment, "run", "--profile", "smoke", "--set", "training.machine=moon", "--name", "fails",
                  "--until", "03")
    words = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "03_train.ipynb, cell" in words and "no 'moon' in configs/accelerate" in words
    assert "to resume: giellm run --profile smoke --set training.machine=moon --name fails --from 03" in words
    assert not (Path(child_environment["GIELLM_RUNS_DIR"]) / "fails" / "03_train" / "manifest.json").exists()


def test_a_stage_without_its_inputs_says_what_to_run_first(child_environment):
    done = giellm(child_environment, "run", "--profile", "smoke", "--name", "empty", "--from", "04")
    assert done.returncode == 1 and "run 01_inspect_data first" in " ".join(done.stdout.split())


@pytest.mark.parametrize("arguments, words", [
    (["--profile", "nonesuch"], "no profile 'nonesuch'"),
    (["--profile", "smoke", "--set", "training.epohcs=1"], "training.epohcs: unknown key"),
    (["--profile", "smoke", "--from", "09"], "--from '09' is no stage"),
    (["--profile", "smoke", "--from", "04", "--until", "02"], "comes after"),
])
def test_faulty_commands_are_one_line_and_exit_2(child_environment, arguments, words):
    done = giellm(child_environment, "run", *arguments)
    assert done.returncode == 2 and words in " ".join(done.stdout.split()) and "Traceback" not in done.stderr


def test_unknown_notebook_parameters_fail_before_anything_starts():
    with pytest.raises(ConfigError, match="has no parameter nonesuch"):
        notebooks.check_parameters("01_inspect_data", {"profile": "smoke", "nonesuch": 1})


def test_overrides_get_a_folder_of_their_own():
    assert stages.default_run_name("mini", {}) == "mini"
    assert stages.default_run_name("mini", {"seed": 1}) != stages.default_run_name("mini", {"seed": 2})


def test_a_profile_file_runs_under_the_name_it_gives_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    stage = stages.open_stage("01_inspect_data", "examples/intents/profile.yaml")
    assert stage.folder == tmp_path.resolve() / "intents" / "01_inspect_data"


def test_stages_are_found_by_number_or_name():
    assert select("3", "04") == ["03_train", "04_evaluate"] and select(None, "01")[-1] == "01_inspect_data"
    assert select("figures", None) == ["06_figures"]


def test_published_notebooks_hold_no_machine_path_and_keep_their_parameters(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr("giellm_utils.reporting.results.NOTEBOOKS", tmp_path)
    assert len(publish_notebooks(smoke)) == 6
    for path in tmp_path.glob("*.ipynb"):
        notebook = read(path)
        tags = [t for c in notebook["cells"] for t in c["metadata"].get("tags", [])]
        assert "parameters" in tags and "injected-parameters" not in tags
        assert str(smoke.parent) not in path.read_text(encoding="utf-8")
        assert "papermill" not in json.dumps([c["metadata"] for c in notebook["cells"]])
