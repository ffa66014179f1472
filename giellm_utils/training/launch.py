"""Starting a training from a notebook, on one processor or eight GPUs, the same way as by hand.

A subprocess (`accelerate launch`), for notebook_launcher forks and fails once CUDA was touched, and a
plain kernel that sees several GPUs makes Trainer fall into nn.DataParallel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from giellm_utils.core import artifacts
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import write_json, write_jsonl, write_text
from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError
from giellm_utils.training.config import TrainingJob

#: Beside a job: what the scored rows of the output layer must be able to write.
OUTPUT_STRINGS = "output_strings.json"
MACHINES = ROOT / "configs" / "accelerate"
#: The launcher's process id; it also holds the other end of the training's standard input (training.guard).
LAUNCHED = "GIELLM_LAUNCHED"


class TrainingFailed(GiellmError, RuntimeError):
    """The training process ended with an error; its last words are in the message."""


def write_job(folder: Path, job: TrainingJob, train: Sequence[dict[str, Any]],
              dev: Sequence[dict[str, Any]] = (), strings: Iterable[str] = ()) -> Path:
    """Write train.jsonl, dev.jsonl (where a dev loss is wanted), output_strings.json (where the loss scores
    only the rows for `strings`) and training.yaml into `folder`; returns the path of the last."""
    write_jsonl(folder / "train.jsonl", train)
    if dev:
        write_jsonl(folder / "dev.jsonl", dev)
    if job.training.output_rows == "texts":
        write_json(folder / OUTPUT_STRINGS, sorted(strings))
    return write_text(folder / "training.yaml",
                      yaml.safe_dump(job.model_dump(mode="json"), allow_unicode=True, sort_keys=False))


def command(config: Path, machine: str) -> list[str]:
    """The command line that trains `config` on the machines of configs/accelerate/`machine`.yaml."""
    file = MACHINES / f"{machine}.yaml"
    if not file.exists():
        known = ", ".join(sorted(p.stem for p in MACHINES.glob("*.yaml")))
        raise ConfigError(f"training.machine: no {machine!r} in configs/accelerate; it holds {known}")
    processes = yaml.safe_load(file.read_text(encoding="utf-8"))["num_processes"]
    # accelerate gives each process one thread unless told otherwise.
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // processes))
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file),
            "--num_cpu_threads_per_process", str(threads),
            "-m", "giellm_utils.training.run", "--config", str(config)]


def launch(config: Path, machine: str, show: Callable[[str], Any] = print) -> artifacts.Training:
    """Train `config` in a subprocess; its lines go to `show` as they come. Returns the summary.

    Raises TrainingFailed with the last lines when the process fails.
    """
    # Warnings of libraries about themselves would bury the loss; errors still come through.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1",
                   "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
                   LAUNCHED: str(os.getpid())}
    process = subprocess.Popen(command(config, machine), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
                               env=environment)
    lines: list[str] = []
    # Leaving the block closes the training's standard input, which ends it, also where `show` raises or
    # the notebook is interrupted.
    with process:
        for line in process.stdout:
            lines.append(line.rstrip())
            show(line.rstrip())
    if process.returncode:
        # Our own sentence if there is one; accelerate prints a traceback of its own after it.
        ours = [line for line in lines if line.startswith("giellm:")][-1:]
        last = ours or [line for line in lines if line.strip()][-3:]
        raise TrainingFailed(f"training {'/'.join(config.parent.parts[-3:])} ended with exit code "
                             f"{process.returncode}: {' | '.join(last)}")
    return artifacts.read(config.parent / "summary.json", artifacts.Training)
