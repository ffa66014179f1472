"""The whole smoke pipeline through papermill, as a user runs it, judged by its result files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import DecodingsFile, HistoryRow, MreFile, ScoresFile, STAGES, TrainingsFile
from giellm_utils.core.conditions import folder
from giellm_utils.core.files import read_jsonl
from giellm_utils.experiment.current import is_current
from giellm_utils.experiment.manifest import read_manifest
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import default_run_name
from giellm_utils.inference.predictions import read_answers
from giellm_utils.reporting.figures import registry, style
from giellm_utils.reporting.publish import publish, publish_notebooks
from giellm_utils.reporting.results import RunResults

CONDITIONS = ("joint", "text", "words")


def giellm(environment, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "giellm_utils.cli.main", *arguments], env=environment,
                          text=True, capture_output=True, encoding="utf-8")


@pytest.fixture(scope="session")
def smoke(child_environment) -> Path:
    """The folder of a finished smoke run."""
    start = time.monotonic()
    done = giellm(child_environment, "run", "--profile", "smoke")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert time.monotonic() - start < 240  # the promise is 2 minutes on an idle machine; CI is shared
    assert "Warning" not in done.stdout + done.stderr
    return Path(child_environment["GIELLM_RUNS_DIR"]) / "smoke"


def test_scores_are_complete_and_bounded(smoke):
    scores = artifacts.read(smoke / "04_evaluate" / "scores.json", ScoresFile)
    assert list(scores.tasks) == load_profile("smoke").data.tasks and scores.split == "test"
    for systems in scores.tasks.values():
        assert list(systems) == [*CONDITIONS, "majority", "always_empty"]
        joint = systems["joint"]
        for metric in ("tl", "wl_exact", "wl_words", "f1", "all", "format_accuracy"):
            score = joint.all[metric]
            assert 0 <= score.low <= score.value <= score.high <= 1 and score.n == joint.n == 16
        assert systems["text"].all["f1"] is None and systems["words"].all["tl"] is None
        # Even a tiny model learns to close its output: were training broken, every output would be cut.
        assert systems["text"].all["truncated"].value < 0.5
        # It learns the prior: as often right as the majority class, and no less.
        assert systems["text"].all["tl"].value >= systems["majority"].all["tl"].value - 0.25


def test_training_learned_something(smoke):
    rows = [HistoryRow(**row) for row in read_jsonl(smoke / "03_train" / "history.jsonl")]
    trainings = artifacts.read(smoke / "03_train" / "trainings.json", TrainingsFile).root
    assert [t.condition for t in trainings] == list(CONDITIONS)
    for training in trainings:
        losses = [r.loss for r in rows if r.condition == training.condition and r.loss is not None]
        assert losses[-1] < 0.8 * losses[0] and losses[-1] == training.final_loss
        assert (training.task, training.seed, training.steps) == ("scnm", 42, training.planned_steps)
        assert (folder(smoke, training.condition, "scnm", 42) / "model" / "giellm.json").exists()


def test_manifests_say_what_made_the_result(smoke):
    for stage in STAGES:
        manifest = read_manifest(smoke / stage)
        assert manifest.stage == stage and manifest.seed == 42 and manifest.seconds > 0
        assert manifest.packages["torch"] and manifest.notebook and manifest.outputs
        assert manifest.run == "smoke"
        for provenance in manifest.data.values():
            assert provenance.source == "embedded mini corpus" and provenance.files[0].sha256
    assert list(read_manifest(smoke / STAGES[0]).sources) == ["scnm: mini/scnm.tsv"]
    evaluated = read_manifest(smoke / "04_evaluate")
    assert (evaluated.dtype, evaluated.device, evaluated.batch_size) == ("float32", "cpu", 16)
    assert {"03_train/trainings.json", "joint/scnm/seed-42/model/model.safetensors"} <= set(evaluated.inputs)


def test_effects_are_the_differences_of_the_scores(smoke):
    mre = artifacts.read(smoke / "05_mutual_reinforcement" / "mre.json", MreFile)
    systems = artifacts.read(smoke / "04_evaluate" / "scores.json", ScoresFile).tasks["scnm"]
    assert {(e.metric, e.single_level) for e in mre.effects} >= {("tl", "text"), ("f1", "words")}
    for effect in mre.effects:
        joint, single = (systems[name].all[effect.metric].value for name in ("joint", effect.single_level))
        assert effect.difference == pytest.approx(joint - single) and effect.n == 16
        assert effect.low <= effect.difference <= effect.high
    product = systems["joint"].all["tl"].value * systems["joint"].all["wl_exact"].value
    assert mre.error_independence["scnm"].expected.value == pytest.approx(product)


def test_constrained_decoding_breaks_nothing(smoke):
    found = artifacts.read(smoke / "04_evaluate" / "decodings.json", DecodingsFile).tasks["scnm"]
    assert list(found) == list(CONDITIONS)
    for condition, ways in found.items():
        ours, free = ways.constrained, ways.free
        assert ours.items_per_second > 0 and free.items_per_second > 0
        accuracy = ours.scores["format_accuracy"].value
        assert accuracy + ours.scores["truncated"].value == pytest.approx(1)
        invented = ours.scores["invented"]
        assert invented is None if condition == "text" else invented.value in (0, None)
        assert ways.difference["format_accuracy"].value == pytest.approx(
            accuracy - free.scores["format_accuracy"].value)
    answers = read_answers(smoke / "04_evaluate" / "predictions" / "joint.scnm.constrained.jsonl")
    assert len(answers) == 16 and all(a.well_formed for a in answers)


def test_a_trained_folder_reads_texts_by_itself(smoke, child_environment):
    done = giellm(child_environment, "extract", "東京で学会があった。", "--model",
                  str(folder(smoke, "joint", "scnm", 42)), "--task", "scnm")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["text"] == "東京で学会があった。" and found["tasks"]["scnm"]["problems"] == []
    assert "Warning" not in done.stderr


def test_every_figure_is_drawn_again_from_published_results(smoke, tmp_path):
    drawn = {p.stem: p for p in (smoke / "06_figures" / "figures").glob("*.png")}
    assert {"composition-scnm", "token-cost", "loss-curves", "accuracy", "effects"} <= set(drawn)
    publish(smoke, tmp_path / "results")
    again = {}
    for name, figure in registry.draw(RunResults(tmp_path / "results" / "smoke")):
        again |= {p.stem: p for p in style.save(figure, tmp_path / "figures", name) if p.suffix == ".png"}
    assert {name: p.read_bytes() for name, p in again.items()} == {
        name: p.read_bytes() for name, p in drawn.items()}


def test_a_second_run_skips_every_stage(smoke, child_environment):
    assert all(is_current(stage, load_profile("smoke"), smoke) for stage in STAGES)
    start = time.monotonic()
    done = giellm(child_environment, "run", "--profile", "smoke")
    assert done.returncode == 0 and done.stdout.count("unchanged, skipped") == 6
    assert time.monotonic() - start < 60


def test_a_changed_run_takes_over_what_the_change_does_not_touch(smoke, child_environment):
    """The constrained predictions are there too, so nothing is trained and nothing decoded."""
    change = "generation.constrained=only"
    done = giellm(child_environment, "run", "--profile", "smoke", "--set", change, "--until", "04")
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("taken over from") == 4 and "6 files of predictions" not in done.stdout
    run = smoke.with_name(default_run_name("smoke", {"generation.constrained": "only"}))
    found = artifacts.read(run / "04_evaluate" / "decodings.json", DecodingsFile).tasks["scnm"]
    before = artifacts.read(smoke / "04_evaluate" / "decodings.json", DecodingsFile).tasks["scnm"]
    for condition in CONDITIONS:
        assert found[condition].free is None and found[condition].constrained == before[condition].constrained


def test_a_failure_names_notebook_cell_cause_and_how_to_resume(child_environment):
    done = giellm(child_environment, "run", "--profile", "smoke", "--set", "training.machine=moon", "--set",
                  "seed=7", "--name", "fails", "--until", "03")
    words = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "03_train.ipynb, cell" in words and "no 'moon' in configs/accelerate" in words
    assert ("to resume: giellm run --profile smoke --set training.machine=moon --set seed=7 --name fails "
            "--from 03") in words
    run = Path(child_environment["GIELLM_RUNS_DIR"]) / "fails"
    assert not (run / "03_train" / "manifest.json").exists()


def test_a_stage_without_its_inputs_says_what_to_run_first(child_environment):
    done = giellm(child_environment, "run", "--profile", "smoke", "--set", "data.limit={train: 9}", "--name",
                  "empty", "--from", "04")
    words = " ".join(done.stdout.split())
    assert done.returncode == 1 and "run 01_inspect_data first" in words
    assert "(giellm run --profile smoke --set 'data.limit={train: 9}' --name empty --until 03)" in words


def test_published_notebooks_hold_no_machine_path_and_keep_their_parameters(smoke, tmp_path):
    assert len(publish_notebooks(smoke, tmp_path)) == 6
    for path in tmp_path.glob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        tags = [t for c in notebook["cells"] for t in c["metadata"].get("tags", [])]
        assert "parameters" in tags and "injected-parameters" not in tags
        assert str(smoke.parent) not in path.read_text(encoding="utf-8")
        assert "papermill" not in json.dumps([c["metadata"] for c in notebook["cells"]])


def test_the_notebooks_of_data_and_formats_take_a_format_with_another_instruction_word(child_environment):
    """USA's is not the task's: the notebook once took the task's and stopped."""
    done = giellm(child_environment, "run", "--profile", "usa-gemma", "--set", "data.source=embedded",
                  "--set", "model.id=scratch", "--set", "data.limit={train: 60, dev: 6, test: 12}",
                  "--until", "02")
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("\n    done in") == 2
