"""Starting a training from a notebook, on one processor or eight GPUs, the same way as by hand.

A subprocess (`accelerate launch`), for notebook_launcher forks and fails once CUDA was touched, and a
plain kernel that sees several GPUs makes Trainer fall into nn.DataParallel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_json, write_text
from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import tasks_of
from giellm_utils.experiment.profile import Profile
from giellm_utils.formats.giellm import Converter
from giellm_utils.models.tokens import schema_tokens
from giellm_utils.training.config import TrainingJob

MACHINES = ROOT / "configs" / "accelerate"


class TrainingFailed(GiellmError, RuntimeError):
    """The training process ended with an error; its last words are in the message."""


def write_job(profile: Profile, job: str, train_file: Path, dev_file: Path | None, out: Path) -> Path:
    """Write `job.yaml` into `out` and return its path; without `dev_file` no dev loss is measured."""
    converters = [Converter(task, profile.format.marks) for task in tasks_of(profile).values()]
    tokens = schema_tokens(converters) if profile.training.single_tokens else []
    spec = TrainingJob(job=job, seed=profile.seed, model=profile.model, training=profile.training,
                       train_file=str(train_file), dev_file=str(dev_file or ""), out=str(out),
                       new_tokens=tokens)
    return write_text(out / "job.yaml", yaml.safe_dump(spec.model_dump(mode="json"), allow_unicode=True, sort_keys=False))


def command(config: Path, machine: str) -> list[str]:
    """The command line that trains `config` on the machines of configs/accelerate/`machine`.yaml."""
    file = MACHINES / f"{machine}.yaml"
    if not file.exists():
        known = ", ".join(sorted(p.stem for p in MACHINES.glob("*.yaml")))
        raise ConfigError(f"training.machine: no {machine!r} in configs/accelerate; it holds {known}")
    processes = yaml.safe_load(file.read_text(encoding="utf-8"))["num_processes"]
    # accelerate gives each process one thread unless told: on 2 cores that doubled the training time.
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // processes))
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file),
            "--num_cpu_threads_per_process", str(threads), "-m", "giellm_utils.training.run", "--config", str(config)]


def launch(config: Path, machine: str, show=print) -> dict[str, Any]:
    """Train `config` in a subprocess; its lines go to `show` as they come. Returns the job's summary.

    Raises TrainingFailed with the last lines when the process fails.
    """
    # Warnings of libraries about themselves would bury the loss; errors still come through.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1",
                   "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(command(config, machine), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               encoding="utf-8", errors="replace", env=environment)
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        show(line.rstrip())
    if process.wait():
        # Our own sentence if there is one; accelerate prints a traceback of its own after it.
        last = [line for line in lines if line.startswith("giellm:")][-1:] or [x for x in lines if x.strip()][-3:]
        raise TrainingFailed(f"training {config.parent.name} ended with exit code {process.returncode}: "
                             f"{' | '.join(last)}")
    return read_json(config.parent / "summary.json")
