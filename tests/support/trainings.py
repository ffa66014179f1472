"""Folders as training finds them: training.yaml and its rows, for the scratch model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from giellm_utils.core import artifacts
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.launch import write_job
from giellm_utils.training.sequences import build
from support.models import SCRATCH


def scnm_rows(count: int = 48) -> list[dict[str, str]]:
    """Joint sequences of the first train records of embedded SCNM."""
    data = load_dataset("scnm", "embedded")
    return build({"scnm": GiellmFormat(data.task)}, data.split("train")[:count], "joint")


def job_of(**training) -> TrainingJob:
    options = {"method": "full", "learning_rate": 3e-3, "batch_size": 4, "save_steps": 5, "log_steps": 5}
    return TrainingJob(condition="joint", task="scnm", seed=7, model=SCRATCH,
                       training=TrainingConfig(**{**options, **training}))


def job_file(folder: Path, rows: Sequence[dict[str, str]], **training) -> Path:
    """The training.yaml in `folder` that trains the scratch model on `rows` and measures the first four."""
    return write_job(folder, job_of(**training), rows, rows[:4])


def run_job(config: Path, environment: dict[str, str]) -> artifacts.Training:
    """Train `config` as by hand, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "giellm_utils.training.run", "--config", str(config)],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return artifacts.read(config.parent / "summary.json", artifacts.Training)
