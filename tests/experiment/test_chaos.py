"""The short version of `make chaos`: one kill of a training, and a comparison that finds what is planted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.bench import bench_app
from giellm_utils.core.chaos_record import ChaosFile, Faults, Kill
from giellm_utils.core.files import write_jsonl
from giellm_utils.experiment.chaos import lives
from giellm_utils.experiment.chaos import targets as targets_module
from giellm_utils.experiment.chaos.kills import kill
from giellm_utils.experiment.chaos.targets import (
    ExtractTarget,
    rows_apart,
    Target,
    targets,
    training_faults,
    TrainingTarget,
)
from giellm_utils.reporting.figures.chaos import draw
from giellm_utils.reporting.measurements import chaos_table


def test_a_killed_training_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    short = TrainingTarget("training", "cpu", steps=30)
    monkeypatch.setattr(lives, "targets", lambda work: {"training": short})
    found = lives.chaos(tmp_path, ["training"], 1, seed=1, minutes=5)
    assert all(life.is_clean for life in found.lives), found.lives
    assert [k.victim for life in found.lives for k in life.kills] in (["command"], ["child"])
    # Called again there is nothing left to kill.
    assert lives.chaos(tmp_path, ["training"], 1, seed=1, minutes=5) == found
    result = found.model_dump(mode="json")
    assert "| training | 1 |" in chaos_table(result)
    assert "1 kill" in draw(result)._suptitle.get_text()
    # The comparison sees a lost file, a doubled row and litter.
    whole = tmp_path / "whole" / "training"
    broken = shutil.copytree(whole, tmp_path / "planted")
    metrics = (broken / "metrics.jsonl").read_text().splitlines(keepends=True)
    (broken / "metrics.jsonl").write_text("".join([*metrics, metrics[-1]]))
    (broken / "model.new").mkdir()
    found = training_faults(whole, broken)
    assert len(found.doubled) == 1 and found.litter == ["model.new"] and not found.lost
    (broken / "summary.json").unlink()
    assert training_faults(whole, broken).lost == ["summary.json"]


def test_rows_lost_and_made_up_are_named():
    lost, more = rows_apart("out", [{"id": 1}, {"id": 2}], [{"id": 2}, {"id": 2}])
    assert lost == [f"out: {json.dumps({'id': 1})}"] and more == [f"out: {json.dumps({'id': 2})}"]


def test_confidences_may_differ_in_the_last_digit_and_nothing_else(tmp_path):
    def written(name: str, *rows: dict) -> Path:
        write_jsonl(tmp_path / name / "out.jsonl", rows)
        write_jsonl(tmp_path / name / "out.jsonl.errors.jsonl", [{"line": 2}])
        return tmp_path / name

    def row(label: str, *confidences: float | None) -> dict:
        return {"id": 1, "label": label, "words": [{"confidence": c} for c in confidences]}

    target = ExtractTarget(tmp_path / "training")
    whole = written("whole", row("a", 0.8577, None))
    assert target.compare(whole, written("near", row("a", 0.8576, None))) == Faults()
    assert target.compare(whole, written("far", row("a", 0.8587, None))).different == [
        "out.jsonl: confidences of 1: [0.8587], not [0.8577]"]
    assert target.compare(whole, written("fewer", row("a", None, None))).different
    other = target.compare(whole, written("other", row("b", 0.8577, None)))
    assert len(other.lost) == len(other.doubled) == 1


def test_a_command_that_ends_first_was_not_killed(tmp_path):
    import random

    done = kill([sys.executable, "-c", "raise SystemExit(3)"], {}, tmp_path / "log", 60, random.Random(0))
    assert done.victim is None and done.returncode == 3


def test_a_command_that_fails_by_itself_is_said(tmp_path, monkeypatch):
    broken = TrainingTarget("training", "moon", steps=30)
    monkeypatch.setattr(lives, "targets", lambda work: {"training": broken})
    with pytest.raises(lives.ChaosError, match="training ends with 1 though nobody killed it: .*whole.log"):
        lives.chaos(tmp_path, ["training"], 1, seed=1, minutes=5)
    assert set(targets(tmp_path)) == {"run", "training", "extract", "two-processes"}


class Fake(Target):
    """A target that nothing is started for."""

    name = "fake"

    def command(self, folder: Path) -> list[str]:
        return []

    def compare(self, whole: Path, broken: Path) -> Faults:
        return Faults()


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """Kills that come to what is written, and starts that nobody kills, which end well."""
    ends = [Kill(after=1.0, victim="command", returncode=-9), Kill(after=2.0, victim=None, returncode=1)]
    monkeypatch.setattr(lives, "targets", lambda work: {"fake": Fake()})
    monkeypatch.setattr(lives, "kill", lambda *a: ends.pop(0))
    monkeypatch.setattr(lives, "finish", lambda *a: 0)
    return ends


def test_a_start_that_fails_though_nobody_killed_it_is_a_fault(scripted, tmp_path):
    scripted += [Kill(after=1.0, victim="command", returncode=-9)]
    found = lives.chaos(tmp_path, ["fake"], 2, seed=1, minutes=5)
    failed, well = found.lives
    assert failed.returncode == 1 and failed.faults.lost[0].startswith("all: it ends with 1, see ")
    assert not failed.is_clean and (tmp_path / "broken" / "fake-1-kept").is_dir()
    assert well.returncode == 0 and well.is_clean
    with pytest.raises(lives.ChaosError, match="holds lives of seed 1: give --seed 1 or another --work"):
        lives.chaos(tmp_path, ["fake"], 3, seed=2, minutes=5)


def test_what_a_target_reads_is_made_before_it(scripted, monkeypatch, tmp_path):
    second = type("Second", (Fake,), {"name": "second", "needs": "fake"})()
    monkeypatch.setattr(lives, "targets", lambda work: {"fake": Fake(), "second": second})
    found = lives.chaos(tmp_path, ["second"], 1, seed=1, minutes=5)
    assert (tmp_path / "whole" / "fake.json").exists() and list(found.unbroken) == ["second"]


def test_bench_chaos_writes_what_is_whole_and_says_what_is_not_clean(scripted, monkeypatch, tmp_path):
    def asked(*arguments: str):
        return CliRunner().invoke(bench_app, ["chaos", "--work", str(tmp_path), "--out",
                                              str(tmp_path / "out"), *arguments])

    monkeypatch.setattr("signal.signal", lambda *a: None)

    monkeypatch.setattr(targets_module, "targets", lambda work: {"fake": Fake()})
    assert "--target moon: not known; known: fake" in str(asked("--target", "moon").exception)
    done = asked("--kills", "1")
    assert done.exit_code == 0 and "| fake | 1 | 1 | 0 | 1 |" in done.output
    file = tmp_path / "out" / "smoke.json"
    assert ChaosFile.model_validate_json(file.read_text("utf-8")).lives[0].git
    file.unlink()
    scripted[:] = [Kill(after=2.0, victim=None, returncode=1)]
    done = asked("--kills", "2", "--minutes", "0")
    assert done.exit_code == 0 and "1 of 2 kills; the same command goes on" in done.output
    assert not file.exists()
    scripted += [Kill(after=1.0, victim="command", returncode=-9)]
    assert asked("--kills", "2").exit_code == 1 and file.exists()
