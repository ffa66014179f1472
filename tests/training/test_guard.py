"""A training ends with whoever launched it, and two never write into one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from filelock import FileLock

from giellm_utils.training import guard
from giellm_utils.training.launch import LAUNCHED, TrainingFailed
from support.trainings import job_file, scnm_rows

LAUNCH = ("import sys; from pathlib import Path; from giellm_utils.training.launch import launch; "
          "launch(Path(sys.argv[1]), sys.argv[2])")


def test_killing_the_launcher_ends_every_process_of_its_training(tmp_path, child_environment):
    config = job_file(tmp_path / "training", scnm_rows(16), max_steps=100_000)
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, str(config), "cpu-2"], env=child_environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics, deadline = config.parent / "metrics.jsonl", time.monotonic() + 200
    while not metrics.exists() or not metrics.stat().st_size:
        assert launcher.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    started = psutil.Process(launcher.pid).children(recursive=True)
    assert len(started) >= 3
    launcher.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=60)
    launcher.wait()
    try:
        assert not alive, [" ".join(p.cmdline()) for p in alive]
    finally:
        for process in alive:
            process.kill()


def test_a_folder_that_is_being_trained_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    folder = tmp_path / "joint"
    with FileLock(tmp_path / ".joint.lock"), pytest.raises(TrainingFailed, match="by another process"), \
            guard.alone(folder):
        pass
    # Only the first process of a training holds it.
    with FileLock(tmp_path / ".joint.lock"):
        monkeypatch.setenv("RANK", "1")
        with guard.alone(folder):
            pass
    monkeypatch.setenv("RANK", "0")
    with guard.alone(folder):
        assert os.listdir(tmp_path) == [".joint.lock"]


def test_a_process_whose_launcher_died_before_it_came_to_life_ends():
    code = "from giellm_utils.training.guard import end_with_launcher; end_with_launcher(); print('lives')"
    for launcher, ends, said in ((os.getpid(), 0, "lives\n"), (2**22 + 1, 1, "")):
        with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, LAUNCHED: str(launcher)},
                              text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.read() == said
        assert process.returncode == ends
