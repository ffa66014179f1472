"""`giellm calibrate`: on a run's own documents, never on those it was trained on."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Score
from giellm_utils.core.calibration_report import CalibrationReport, Temperature
from giellm_utils.core.files import read_json, StorageError, write_json
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.calibrate import (
    calibrate,
    of_released,
    of_run,
    of_training,
    run_name,
    temperatures_of,
    write_report,
)
from giellm_utils.experiment.manifest import StageError
from giellm_utils.experiment.release import gather, write_folder
from giellm_utils.experiment.release_card import readme
from giellm_utils.inference.extractor import ExtractionError
from giellm_utils.reporting.measurements import calibration_table
from support.experiments import run_stages, write_profile

HOW = {"resamples": 20, "seed": 1}
SEED = "joint/scnm/seed-42"


@pytest.fixture
def without_dev(runs, tmp_path):
    """A run that was trained on train alone."""
    shutil.rmtree(runs / "tiny")
    run_stages(write_profile(tmp_path, {"training": {"splits": ["train"], "conditions": ["joint"]}}),
               until="03")
    return runs / "tiny"


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """The datasets of the experiment that are asked for; each is embedded SCNM."""
    names = []
    monkeypatch.setattr("giellm_utils.experiment.calibrate.trial_dataset",
                        lambda name: names.append(name) or load_dataset("scnm", "embedded"))
    return names


def test_the_report_of_a_run(without_dev, tmp_path):
    done = CliRunner().invoke(app, ["calibrate", "tiny", "--resamples", "20", "--out", str(tmp_path / "c")])
    assert done.exit_code == 0, done.output
    assert "scnm: 4 documents of dev, joint" in done.output and "4 in 4 documents" in done.output
    report = artifacts.read(tmp_path / "c" / "tiny.json", CalibrationReport)
    assert (report.run, report.condition, report.split, report.resamples) == ("tiny", "joint", "dev", 20)
    found = report.tasks["scnm"]
    assert found.label.n == 4 and found.label.temperature.fitted == 2
    assert 0 < found.label.confidence.value < 1 and sum(b.n for b in found.label.bins) == 4
    assert found.words is None or found.words.n > 0
    again = calibrate(of_run(without_dev), "x", **HOW, show=lambda line: None)
    assert again.tasks["scnm"].label.error.value == found.label.error.value


def test_one_training_by_its_folder(runs, tmp_path, asked):
    done = CliRunner().invoke(app, ["calibrate", f"tiny/{SEED}/", "--limit", "3", "--resamples",
                                    "20", "--out", str(tmp_path), "--split", "test"])
    assert done.exit_code == 0, done.output
    report = artifacts.read(tmp_path / "tiny-joint-scnm-seed-42-test.json", CalibrationReport)
    assert report.run == "tiny-joint-scnm-seed-42"
    assert report.tasks["scnm"].documents == 3 and report.source.startswith("SCNM") and asked == ["scnm"]
    with pytest.raises(StageError, match="seed-42 was trained on dev too"):
        calibrate(of_training(runs / "tiny" / SEED, "scnm-x"), "x", **HOW)
    assert asked == ["scnm", "scnm-x"]


def test_the_path_of_a_training_says_its_dataset(runs, asked):
    summary = read_json(runs / "tiny" / SEED / "summary.json")
    for folder in ("mre/tcree-blind", "mre/tcree-blind/bf16", "mre/scnm", "tcree"):
        there = runs / folder / "joint/tcree/seed-1"
        shutil.copytree(runs / "tiny" / SEED, there)
        write_json(there / "summary.json", {**summary, "task": "tcree"})
        of_training(there)
    of_training(runs / "tcree/joint/tcree/seed-1", "tcree-blind")
    assert asked == ["tcree-blind", "tcree-blind", "tcree", "tcree", "tcree-blind"]


def test_a_report_gives_way_to_none_of_other_settings(runs, tmp_path):
    def said(*options: str):
        return CliRunner().invoke(app, ["calibrate", "tiny", "--resamples", "20", "--limit", "3", "--split",
                                        "test", "--out", str(tmp_path / "c"), *options])

    assert said().exit_code == said("--condition", "text").exit_code == said().exit_code == 0
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {"tiny-test.json", "tiny-text-test.json"}
    report = artifacts.read(tmp_path / "c" / "tiny-test.json", CalibrationReport)
    with pytest.raises(StorageError, match=r"documents was {'scnm': 3}, is {'scnm': 2}\); give another"):
        raise said("--limit", "2").exception
    with pytest.raises(StorageError, match="another report .split was test, is dev"):
        write_report(tmp_path / "c" / "tiny-test.json", report.model_copy(update={"split": "dev"}))
    assert artifacts.read(tmp_path / "c" / "tiny-test.json", CalibrationReport) == report


def temperature(*, helps: bool) -> Temperature:
    score = Score(value=0.1, low=0.1, high=0.1, n=4)
    return Temperature(value=2.0, fitted=2, measured=2, before=score, after=score, loss_before=0.5,
                       loss_after=0.4 if helps else 0.6, whole=3.0)


@pytest.fixture
def on_dev(without_dev, tmp_path):
    """A report on dev in which the temperature of labels helps and that of words does not."""
    report = calibrate(of_run(without_dev), "tiny", **HOW, show=lambda line: None)
    both = report.tasks["scnm"]
    label = both.label.model_copy(update={"temperature": temperature(helps=True)})
    words = label.model_copy(update={"temperature": temperature(helps=False)})
    path = tmp_path / "tiny.json"
    artifacts.write(path, report.model_copy(
        update={"tasks": {"scnm": both.model_copy(update={"label": label, "words": words})}}))
    return path


def test_test_is_reported_on_at_the_temperatures_of_dev(on_dev, runs, tmp_path):
    training = of_run(runs / "tiny").folder
    assert temperatures_of(on_dev, training) == {"scnm": {"label": 3.0}}

    def said(*options: str):
        done = CliRunner().invoke(app, ["calibrate", "tiny", "--resamples", "20", "--split", "test",
                                        "--out", str(tmp_path / "c"), *options])
        assert done.exit_code == 0, done.output

    said()
    said("--temperatures", str(on_dev))
    raw, at = (artifacts.read(tmp_path / "c" / f"tiny-test{end}.json", CalibrationReport)
                 for end in ("", "-temperatures"))
    assert (raw.temperatures, at.temperatures) == ({}, {"scnm": {"label": 3.0}})
    before, after = (r.tasks["scnm"].label.confidence.value for r in (raw, at))
    assert abs(after - 0.5) < abs(before - 0.5), "nearer to a half"
    found, given = (r.tasks["scnm"].label for r in (raw, at))
    assert found.temperature is None and given.temperature.before == found.error
    assert given.temperature.after == given.error and given.temperature.measured == found.documents
    assert raw.tasks["scnm"].words == at.tasks["scnm"].words
    table = calibration_table(at.model_dump())
    assert "temperatures fitted on dev: scnm label 3.00" in table
    assert "| ECE without it | loss without it |" in table
    assert "temperature" not in calibration_table(raw.model_dump())
    with pytest.raises(StageError, match="says nothing of how well they do; measure them on another split"):
        calibrate(of_run(runs / "tiny"), "x", temperatures=at.temperatures, **HOW)


def test_temperatures_are_those_of_the_very_weights(on_dev, without_dev, tmp_path):
    training = of_run(without_dev).folder
    report = artifacts.read(on_dev, CalibrationReport)

    def refused(**changes) -> str:
        other = artifacts.write(tmp_path / "x.json", report.model_copy(update=changes))
        with pytest.raises(StageError) as caught:
            temperatures_of(other, training)
        return str(caught.value)

    assert "is a report on test, where no temperature is fitted" in refused(split="test")
    assert "is not the report on the weights in" in refused(weights=None)
    unhelpful = report.tasks["scnm"].model_copy(update={"label": None})
    assert "holds no temperature that lowered the loss" in refused(tasks={"scnm": unhelpful})
    with pytest.raises(StageError, match="nosuch.json: no such file; give a report of giellm calibrate"):
        temperatures_of(tmp_path / "nosuch.json", training)
    weights = next((training / "model").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes() + b" ")
    assert "is not the report on the weights in" in refused()


def test_what_is_published_says_its_temperatures(on_dev, without_dev):
    release = gather(without_dev / SEED, calibration=on_dev)
    card = json.loads(release.files["giellm.json"])
    assert card["tasks"]["scnm"]["temperatures"] == {"label": 3.0}
    assert "said at temperatures that were fitted on dev: scnm label 3.00." in readme(release, "x/y").decode()
    assert "temperatures" not in readme(gather(without_dev / SEED), "x/y").decode()
    with pytest.raises(StageError, match="is not the report on the weights in"):
        gather(without_dev / SEED, calibration=artifacts.write(
            on_dev, artifacts.read(on_dev, CalibrationReport).model_copy(update={"weights": "0"})))


def test_released_weights_are_measured_on_test_at_the_temperatures_of_their_card(on_dev, without_dev, asked,
                                                                                 tmp_path):
    weights = write_folder(tmp_path / "released", gather(without_dev / SEED, calibration=on_dev).files)

    def said(*options: str):
        return CliRunner().invoke(app, ["calibrate", str(weights), "--resamples", "20", "--limit", "3",
                                        "--out", str(tmp_path / "c"), *options])

    done = said("--split", "test")
    assert done.exit_code == 0, done.output
    assert "without the temperature 3.00" in done.output and asked == ["scnm"]
    report = artifacts.read(tmp_path / "c" / "released-test-temperatures.json", CalibrationReport)
    assert report.run == "released" and report.source.endswith("the weights released")
    assert report.temperatures == {"scnm": {"label": 3.0}}
    same = calibrate(of_run(without_dev), "x", split="test", limit=3, resamples=20, seed=42,
                     temperatures=report.temperatures)
    assert report.tasks == same.tasks
    assert report.weights == same.weights
    with pytest.raises(StageError, match="does not say whether it was trained on dev; measure it with"):
        raise said().exception
    with pytest.raises(ConfigError, match="leave out --condition, --data and --temperatures"):
        raise said("--split", "test", "--temperatures", str(on_dev)).exception
    with pytest.raises(StageError, match="is the inside of a training: give .*seed-42"):
        of_released(without_dev / SEED / "model")
    write_json(weights / "giellm.json", {**read_json(weights / "giellm.json"), "condition": None})
    with pytest.raises(StageError, match="is no released training: it has no giellm.json that says how"):
        raise said("--split", "test").exception


def test_no_path_of_a_machine_is_in_a_name(runs, tmp_path):
    assert run_name(runs / "mre/scnm/joint/scnm/seed-1", alone=True) == "mre-scnm-joint-scnm-seed-1"
    assert run_name(runs / "x" / ".." / "tiny", alone=False) == "tiny"
    away = tmp_path / "away" / "tiny"
    assert run_name(away, alone=False) == "tiny"
    assert run_name(away / SEED, alone=True) == "tiny-joint-scnm-seed-42"


def test_made_up_labels_and_two_answers_are_not_measured(runs):
    subject = of_run(runs / "tiny")
    with pytest.raises(StageError, match="two-task, which answers text and words apart; calibrate"):
        calibrate(subject._replace(condition="two-task"), "x", split="test", **HOW)
    card = subject.folder / "model" / "giellm.json"
    write_json(card, {**read_json(card), "condition": "placebo-words"})
    with pytest.raises(ExtractionError, match="placebo-words, a control"):
        calibrate(subject._replace(condition="placebo-words"), "x", split="test", **HOW)


def test_what_was_trained_on_is_not_measured_on(runs, monkeypatch):
    manifest = runs / "tiny" / "03_train" / "manifest.json"
    before = read_json(manifest)
    # What a manifest says of the splits, or does not, is no ground: it may be older than the training.
    write_json(manifest, {**before, "parameters": {**before["parameters"], "training.splits": ["train"]}})
    subject = of_run(runs / "tiny")
    with pytest.raises(StageError, match="seed-42 was trained on dev too, .*training.splits"):
        calibrate(subject, "x", **HOW)
    shown = []
    report = calibrate(subject, "x", split="test", limit=3, **HOW, show=shown.append)
    assert shown == ["scnm: 3 documents of test, joint"] and report.tasks["scnm"].label.temperature is None
    with pytest.raises(StageError, match="no training of condition words; it has joint, text"):
        of_run(runs / "tiny", "words")
    with pytest.raises(StageError, match="has no finished 03_train"):
        of_run(runs / "nosuch")
    with pytest.raises(StageError, match="no documents of scnm in split test; name others with --task"):
        calibrate(subject._replace(records=[]), "x", split="test", **HOW)
    monkeypatch.setattr("giellm_utils.inference.extractor.confidences",
                        lambda fmt, output, level: (None, [None] * len(fmt.places(output["output"]).items)))
    with pytest.raises(StageError, match="scnm is decoded without probabilities"):
        calibrate(subject, "x", split="test", limit=1, **HOW)
