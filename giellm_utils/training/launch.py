"""Starting a training from a notebook, on one processor or eight GPUs, the same way as by hand.

A subprocess (`accelerate launch`), for notebook_launcher forks and fails once CUDA was touched, and a
plain kernel that sees several GPUs makes Trainer fall into nn.DataParallel.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from giellm_utils.core import artifacts
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import write_json, write_jsonl, write_text
from giellm_utils.core.settings import load_yaml
from giellm_utils.training.config import TrainingJob
from giellm_utils.training.machines import command

#: Beside a job: what the scored rows of the output layer must be able to write.
OUTPUT_STRINGS = "output_strings.json"
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


def launch(config: Path, machine: str, show: Callable[[str], Any] = print) -> artifacts.Training:
    """Train `config` on `machine` (training.machine) in a subprocess; its lines go to `show` as they come.
    Returns the summary.

    Raises ConfigError where that machine cannot be had here, TrainingFailed with one sentence when the
    training fails or one of its processes dies.
    """
    started = command(config, load_yaml(config, TrainingJob).training.model_copy(update={"machine": machine}))
    # Warnings of libraries about themselves would bury the loss; errors still come through.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1",
                   "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
                   LAUNCHED: str(os.getpid()), **started.environment}
    if started.argv[0] == "srun":
        # On other machines nothing of this process is to be seen; there Slurm ends what it started.
        del environment[LAUNCHED]
    process = subprocess.Popen(started.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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
        raise TrainingFailed(f"training {'/'.join(config.parent.parts[-3:])} ended with exit code "
                             f"{process.returncode}: {why(lines, config.parent)}")
    return artifacts.read(config.parent / "summary.json", artifacts.Training)


def why(lines: Sequence[str], training: Path) -> str:
    """What a training that failed died of, from the lines it wrote.

    Our own sentence if there is one; who was killed, as torchrun or accelerate report it; else the last
    lines.
    """
    # accelerate prints a traceback of its own after our sentence.
    if ours := [line for line in lines if line.startswith("giellm:")]:
        return ours[-1]
    report = "\n".join(lines)
    # The first failure alone: the other processes fail after it, for want of the first.
    if cause := re.search(r"Root Cause.*?rank +: (\d+).*?exitcode +: -(\d+)", report, re.DOTALL):
        return _killed(f"process {cause[1]} of the training", int(cause[2]), training)
    if alone := re.search(r"died with <Signals\.\w+: (\d+)>", report):
        return _killed("the training", int(alone[1]), training)
    return " | ".join([line for line in lines if line.strip()][-3:])


def _killed(who: str, number: int, training: Path) -> str:
    from giellm_utils.training.checkpoints import last_good  # imports this module, and torch

    name = signal.Signals(number).name
    memory = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
    return (f"{who} was killed ({name}{memory}); {last_good(training)}; run the same command again: it goes "
            "on from there")
