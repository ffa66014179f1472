"""`giellm calibrate`: on a run's own documents, never on those it was trained on."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.calibration_report import CalibrationReport
from giellm_utils.core.files import read_json, write_json
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.calibrate import calibrate, of_run, of_training
from giellm_utils.experiment.manifest import StageError

HOW = {"resamples": 20, "seed": 1}


def without_dev(run) -> None:
    """As if `run` had been trained on train alone."""
    path = run / "03_train" / "manifest.json"
    manifest = read_json(path)
    manifest["parameters"]["training.splits"] = ["train"]
    write_json(path, manifest)


def test_the_report_of_a_run(runs, tmp_path):
    without_dev(runs / "tiny")
    done = CliRunner().invoke(app, ["calibrate", "tiny", "--resamples", "20", "--out", str(tmp_path / "c")])
    assert done.exit_code == 0, done.output
    assert "scnm: 4 documents of dev, joint" in done.output and "4 in 4 documents" in done.output
    report = artifacts.read(tmp_path / "c" / "tiny.json", CalibrationReport)
    assert (report.run, report.condition, report.split, report.resamples) == ("tiny", "joint", "dev", 20)
    found = report.tasks["scnm"]
    assert found.label.n == 4 and found.label.temperature.fitted == 2
    assert 0 < found.label.confidence.value < 1 and sum(b.n for b in found.label.bins) == 4
    assert found.words is None or found.words.n > 0
    again = calibrate(of_run(runs / "tiny"), "x", **HOW, show=lambda line: None)
    assert again.tasks["scnm"].label.error.value == found.label.error.value


def test_one_training_by_its_folder(runs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("giellm_utils.experiment.calibrate.trial_dataset",
                        lambda name: asked.append(name) or load_dataset("scnm", "embedded"))
    done = CliRunner().invoke(app, ["calibrate", "tiny/joint/scnm/seed-42/", "--limit", "3", "--resamples",
                                    "20", "--out", str(tmp_path), "--split", "test"])
    assert done.exit_code == 0, done.output
    report = artifacts.read(tmp_path / "tiny-joint-scnm-seed-42.json", CalibrationReport)
    assert report.tasks["scnm"].documents == 3 and report.source.startswith("SCNM") and asked == ["scnm"]
    with pytest.raises(StageError, match="seed-42 was trained on dev too"):
        calibrate(of_training(runs / "tiny" / "joint" / "scnm" / "seed-42", "scnm-x"), "x", **HOW)
    assert asked == ["scnm", "scnm-x"]


def test_what_was_trained_on_is_not_measured_on(runs, monkeypatch):
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
