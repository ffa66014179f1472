"""What a training says, on the screen and in training.log alike: its time left; TensorBoard's logs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from giellm_utils.core.files import read_jsonl
from giellm_utils.training import report
from giellm_utils.training.launch import write_job
from giellm_utils.training.report import duration, Report
from giellm_utils.training.run import train
from support.trainings import job_of, scnm_rows

ROWS = scnm_rows(16)


@pytest.mark.parametrize(("seconds", "shown"), [(-3, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"),
                                                (125, "2:05 min"), (3599.6, "1:00 h"), (11_220, "3:07 h"),
                                                (360_000, "100:00 h")])
def test_durations_are_short(seconds, shown):
    assert duration(seconds) == shown


def test_the_log_holds_every_line_of_the_screen_with_its_time(scratch_cache, tmp_path, capsys):
    write_job(tmp_path, job_of(), ROWS, ROWS[:4])
    train(job_of(max_steps=4, log_steps=2), tmp_path)
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    kept = (tmp_path / "training.log").read_text(encoding="utf-8").splitlines()
    assert [line[21:] for line in kept] == printed and kept[0][:2] == "20"
    assert printed[0].startswith("joint: 16 sequences, 4 steps of 4")
    assert printed[1].startswith("step 2/4  50%  loss ") and printed[1].endswith(" left")
    assert printed[-1].startswith("step 4/4 100%  dev ") and "no step left" in printed[-1]


def said(folder, monkeypatch, times: dict[int, float], *, minutes: float, steps: int = 100,
         resumed: int = 0) -> list[str]:
    """The lines of a training that logs at `times` (step -> seconds)."""
    lines, clock = [], [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(report, "say", lambda _, line: lines.append(line))
    made = Report(folder, minutes, resumed)
    for step, seconds in times.items():
        clock[0] = seconds
        made.on_log(None, SimpleNamespace(global_step=step, epoch=1.0, max_steps=steps,
                                          is_world_process_zero=True), None, {"loss": 1.5})
    return lines


def test_time_left_follows_the_last_steps_not_the_slow_first_ones(tmp_path, monkeypatch):
    # 60 s of compiling in the first step, then 1 s a step.
    times = {step: 59.0 + step for step in range(1, 41)}
    lines = said(tmp_path, monkeypatch, times, minutes=30)
    assert lines[0].endswith("1:00 min, 29:00 min left to training.minutes, 1:39 h to the last step")
    assert lines[-1] == "step  40/100  40%  loss 1.5000  1:39 min, 1:00 min left"


def test_time_left_ends_with_the_clock(tmp_path, monkeypatch):
    lines = said(tmp_path, monkeypatch, {10: 60, 20: 120}, minutes=5)
    assert lines[1].endswith("2:00 min, 3:00 min left to training.minutes, 8:00 min to the last step")


def test_a_resumed_training_adds_up_its_seconds_and_counts_its_own_steps(tmp_path, monkeypatch):
    said(tmp_path, monkeypatch, {10: 500, 20: 1000}, minutes=100)
    lines = said(tmp_path, monkeypatch, {20: 10, 30: 20}, minutes=100, resumed=10)
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [10, 20, 30]
    assert lines[-1].endswith("8:40 min, 1:10 min left")


def test_a_row_that_a_full_disk_cut_off_is_dropped(tmp_path, monkeypatch):
    said(tmp_path, monkeypatch, {10: 500}, minutes=100)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "lo')
    said(tmp_path, monkeypatch, {20: 10}, minutes=100, resumed=15)
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [10, 20]


def test_tensorboard_is_a_switch_and_a_resumed_training_goes_on_in_its_curves(scratch_cache, tmp_path):
    options = {"max_steps": 6, "log_steps": 1, "save_steps": 2}
    write_job(tmp_path, job_of(), ROWS)
    train(job_of(**options, minutes=1e-9), tmp_path)
    assert not (tmp_path / "tensorboard").exists()
    train(job_of(**options, tensorboard=True), tmp_path)
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in curves.Scalars("train/loss")] == [2, 3, 4, 5, 6]
    logged = {row["step"]: row["loss"] for row in read_jsonl(tmp_path / "metrics.jsonl")}
    assert [e.value for e in curves.Scalars("train/loss")] == pytest.approx([logged[s] for s in range(2, 7)])
