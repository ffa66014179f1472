"""A stage depends on exactly what it reads, and nothing that still stands is made again or deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from giellm_utils.core.artifacts import STAGES
from giellm_utils.experiment.current import is_current, why_stale
from giellm_utils.experiment.pipeline import run_stage
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import open_stage
from support.datasets import own_task, row, write_rows
from support.experiments import COMPUTED, hashes, run_stages, write_profile


@pytest.mark.parametrize("key, value, stale", [
    ("training.minutes", 60, []), ("training.log_steps", 3, []), ("training.save_steps", 9, []),
    ("training.machine", "ddp", []), ("generation.minutes", 90, []), ("description", "another", []),
    ("evaluation.resamples", 30, ["04", "05"]), ("evaluation.limit", 4, ["04"]),
    ("generation.batch_size", 2, ["04"]), ("generation.vocabulary", "full", ["04"]),
    ("training.max_steps", 6, ["03"]), ("training.conditions", ["joint"], ["03", "04"]),
    ("training.order", "random", ["03"]), ("training.splits", ["train"], ["03", "04"]),
    ("seed", 7, ["03", "04", "05"]),
    ("format.name", "giellm-card", ["02", "03", "04"]), ("model.dtype", "bfloat16", ["03", "04"]),
    ("data.limit", {"train": 9}, ["01"]),
])
def test_a_stage_depends_on_exactly_the_keys_it_reads(runs, profile, key, value, stale):
    changed = load_profile(profile, {key: value})
    found = {stage[:2]: why_stale(stage, changed, runs / "tiny") for stage in COMPUTED}
    assert [number for number, reason in found.items() if reason] == stale, found
    assert all(reason.startswith(f"was made with {key}=") for reason in found.values() if reason)


def test_a_training_of_before_there_was_a_choice_of_order_is_current(runs, profile):
    path = runs / "tiny" / "03_train" / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    assert manifest["parameters"].pop("training.order") == "length"
    path.write_text(json.dumps(manifest), "utf-8")
    assert why_stale("03_train", load_profile(profile), runs / "tiny") is None
    other = why_stale("03_train", load_profile(profile, {"training.order": "random"}), runs / "tiny")
    assert other == "was made with training.order=length, not random"


def test_a_changed_output_or_input_makes_a_stage_stale(runs, profile):
    loaded, run = load_profile(profile), runs / "tiny"
    scores = run / "04_evaluate" / "scores.json"
    scores.write_text(scores.read_text(encoding="utf-8").replace("0.", "0.9", 1), encoding="utf-8")
    assert why_stale("04_evaluate", loaded, run) == (
        "has another output 04_evaluate/scores.json than when it was made")
    weights = next((run / "text").rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert all("model.safetensors" in why_stale(stage, loaded, run) for stage in ("03_train", "04_evaluate"))
    (run / "02_convert_format" / "tokens.json").unlink()
    assert "lacks its output" in why_stale("02_convert_format", loaded, run)
    assert "lacks its input" in why_stale("03_train", loaded, run)
    assert is_current("01_inspect_data", loaded, run)


@pytest.mark.parametrize("content", ["{", "[]", '{"stage": "03_train"}', "\xff\xfe"])
def test_a_damaged_manifest_is_a_sentence_and_not_current(runs, profile, content):
    path = runs / "tiny" / "03_train" / "manifest.json"
    path.write_bytes(content.encode("latin-1"))
    reason = why_stale("03_train", load_profile(profile), runs / "tiny")
    assert reason.startswith("has a damaged manifest") and "\n" not in reason
    run_stage("03_train", profile)
    assert is_current("03_train", load_profile(profile), runs / "tiny")


# -- sources (fault 1) -------------------------------------------------------------------------------


@pytest.fixture
def own(in_process, tmp_path, monkeypatch) -> tuple[Path, str]:
    """(task YAML, profile) of a dataset of one's own, its stages 01 and 02 finished."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    splits = ["train"] * 4 + ["dev"] * 2 + ["test"] * 2
    task = own_task(tmp_path, [row(f"r{i}", f"文{i}です。", split) for i, split in enumerate(splits)])
    profile = write_profile(tmp_path, {"name": "own", "data": {"tasks": [str(task)], "limit": {}}})
    run_stages(profile, until="02")
    return task, profile


def test_an_edited_data_file_makes_stage_01_stale(own, tmp_path):
    task, profile = own
    loaded, run = load_profile(profile), tmp_path / "runs" / "own"
    assert is_current("01_inspect_data", loaded, run)
    data = task.parent / yaml.safe_load(task.read_text(encoding="utf-8"))["data"]
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    write_rows(data, [{**r, "label": "b"} if r["split"] == "test" else r for r in rows])
    assert data.name in why_stale("01_inspect_data", loaded, run)
    run_stages(profile, until="02")
    assert is_current("01_inspect_data", loaded, run) and is_current("02_convert_format", loaded, run)
    targets = (run / "02_convert_format" / "sequences" / "text.test.jsonl").read_text(encoding="utf-8")
    assert "<b>" in targets and "<a>" not in [json.loads(line)["target"] for line in targets.splitlines()]


def test_an_edited_task_file_makes_stage_01_stale_and_a_faulty_one_too(own, tmp_path):
    task, profile = own
    loaded, run = load_profile(profile), tmp_path / "runs" / "own"
    before = task.read_text(encoding="utf-8")
    task.write_text(before + "note: another\n", encoding="utf-8")
    assert task.name in why_stale("01_inspect_data", loaded, run)
    task.write_text(before + "nonesuch: 1\n", encoding="utf-8")
    assert "can no longer be read" in why_stale("01_inspect_data", loaded, run)
    task.write_text(before, encoding="utf-8")
    assert is_current("01_inspect_data", loaded, run)


def test_the_task_travels_with_the_run(own, tmp_path):
    """Later stages never read the user's own file again: it may be gone."""
    task, profile = own
    task.unlink()
    stage = open_stage("03_train", profile)
    assert stage.tasks["news"].text_labels == ("a", "b") and stage.formats["news"].options == "<a><b>"


# -- what still stands is kept (fault 2) ---------------------------------------------------------------


def test_other_resamples_score_anew_and_keep_predictions(runs, profile, in_process, capsys):
    run = runs / "tiny"
    before = hashes(run)
    write_profile(Path(profile).parent, {"evaluation": {"resamples": 30}})
    run_stages(profile, from_="04")
    after = hashes(run)
    changed = {name for name in after if before.get(name) != after[name]}
    assert {"04_evaluate/scores.json", "05_mutual_reinforcement/manifest.json"} <= changed
    assert all(name.endswith(("scores.json", "decodings.json", "mre.json", "manifest.json"))
               for name in changed)
    assert not in_process.trained and "decodes anew" not in capsys.readouterr().out


def test_another_batch_size_decodes_anew_and_says_why(runs, profile, in_process, capsys):
    write_profile(Path(profile).parent, {"generation": {"batch_size": 3}})
    run_stages(profile, from_="04", until="04")
    out = capsys.readouterr().out
    assert "joint.scnm.jsonl: batch size was 4, is 3: decodes anew" in out and not in_process.trained


def test_a_condition_left_out_trains_nothing_and_its_files_go_with_a_line(runs, profile, in_process, capsys):
    run = runs / "tiny"
    write_profile(Path(profile).parent, {"training": {"conditions": ["joint"]}})
    run_stages(profile, from_="03")
    assert in_process.trained == []
    assert "documents/text.scnm.csv: with these settings 04_evaluate no longer writes it" in (
        capsys.readouterr().out.replace("\n", " "))
    assert not (run / "04_evaluate" / "documents" / "text.scnm.csv").exists()
    # What took long stays: it is wanted again when the setting is put back.
    assert (run / "text" / "scnm" / "seed-42" / "summary.json").exists()
    assert (run / "04_evaluate" / "predictions" / "text.scnm.jsonl").exists()
    write_profile(Path(profile).parent)
    run_stages(profile, from_="03")
    assert in_process.trained == [] and "decodes anew" not in capsys.readouterr().out


def test_more_minutes_resume_a_training_that_the_clock_stopped(in_process, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    changes = {"training": {"conditions": ["joint"], "minutes": 1e-9}}
    profile = write_profile(tmp_path, changes)
    stopped = run_stages(profile, until="03").trainings[0]
    assert stopped.stopped_by_minutes and stopped.steps == 1
    run, same = tmp_path.resolve() / "runs" / "tiny", load_profile(profile)
    assert is_current("03_train", same, run)
    assert is_current("03_train", load_profile(profile, {"training.minutes": 1e-10}), run)
    write_profile(tmp_path, {"training": {"conditions": ["joint"], "minutes": 5}})
    reason = why_stale("03_train", load_profile(profile), run)
    assert reason == "was stopped by training.minutes=1e-09 and may now take 5"
    resumed = run_stages(profile, from_="03", until="03").trainings[0]
    assert (resumed.resumed_from_step, resumed.steps, resumed.stopped_by_minutes) == (1, 4, False)
    assert "goes on to 5" in capsys.readouterr().out and is_current("03_train", load_profile(profile), run)


def test_an_opened_stage_empties_nothing(runs, profile):
    before = hashes(runs)
    for stage in STAGES:
        open_stage(stage, profile)
    assert hashes(runs) == before
