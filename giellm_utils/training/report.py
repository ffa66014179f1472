"""What a training says while it runs: one line a log step (screen, notebook and training.log alike), and
metrics.jsonl; and the clock that may stop it."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import TrainerCallback

from giellm_utils.core.files import write_text

LOG = "training.log"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
#: Trainer's names -> ours.
NAMES = {"loss": "loss", "eval_loss": "dev_loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}


def duration(seconds: float) -> str:
    """48 s, 2:05 min, 3:07 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def say(folder: Path, line: str) -> None:
    """Print `line`, and keep it with the time in the training's log."""
    print(line, flush=True)
    keep(folder, line)


def keep(folder: Path, line: str) -> None:
    """Append `line` with the time to training.log, which outlives kills and resumes."""
    now = datetime.now().isoformat(sep=" ", timespec="seconds")
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write("".join(f"{now}  {part}\n" for part in line.splitlines()))


def tensorboard(folder: Path, resumed_step: int, *, wanted: bool) -> list[TrainerCallback]:
    """The callback that writes `folder`/tensorboard, in the first process only, where it is `wanted`."""
    if not wanted or os.environ.get("RANK", "0") != "0":
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    # The steps that a kill threw away come again: hide the first.
    writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=resumed_step + 1 if resumed_step else None)
    return [TensorBoardCallback(writer)]


class _Mark(NamedTuple):
    """A step of this process and when it was logged."""

    step: int
    seconds: float


class Report(TrainerCallback):
    """Metrics as JSONL, one line a log step, and the wall-clock cap.

    Seconds add up over resumed runs; rows of steps that a kill threw away are dropped. Time left comes
    from the last RECENT log steps, for the first ones of a process are slow.
    """

    RECENT = 10

    def __init__(self, folder: Path, minutes: float, resumed_step: int) -> None:
        self.folder, self.path, self.limit = folder, folder / METRICS, minutes * 60
        # A row that a full disk cut off ends in no line end.
        whole = self.path.read_text("utf-8").rpartition("\n")[0] if self.path.exists() else ""
        rows = map(json.loads, whole.splitlines())
        kept = [r for r in rows if r["step"] <= resumed_step]
        write_text(self.path, "".join(json.dumps(r) + "\n" for r in kept))
        self.before = kept[-1]["seconds"] if kept else 0.0
        self.start = time.monotonic()
        self.resumed = resumed_step
        self.marks = [_Mark(resumed_step, self.before)]
        self.capped = False

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        row = {NAMES[k]: float(v) for k, v in (logs or {}).items() if k in NAMES}
        if not row or not state.is_world_process_zero:
            return
        row = {"step": state.global_step, "epoch": round(state.epoch or 0, 4), **row,
               "seconds": round(self.seconds, 1)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.marks = [*self.marks[-self.RECENT:], _Mark(state.global_step, self.seconds)]
        losses = "  ".join(f"{name} {row[key]:.4f}" for key, name in (("loss", "loss"), ("dev_loss", "dev"))
                           if key in row)
        share = state.global_step / max(state.max_steps, 1)
        say(self.folder, f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps} "
                         f"{share:>4.0%}  {losses}  {duration(self.seconds)}, {self._left(state)}")

    def _left(self, state) -> str:
        """How long it still takes: to the last step, or to the clock's end where that comes first."""
        if state.global_step >= state.max_steps:
            return "no step left"
        if self.capped:
            return f"stopped by training.minutes ({self.limit / 60:g})"
        first, last = self.marks[0], self.marks[-1]
        if last.step == first.step:
            return "time left not known yet"
        pace = (last.seconds - first.seconds) / (last.step - first.step)
        left, clock = pace * (state.max_steps - state.global_step), self.limit - self.seconds
        return (f"{duration(left)} left" if left <= clock
                else f"{duration(clock)} left to training.minutes, {duration(left)} to the last step")

    def on_step_end(self, args, state, control, **kwargs) -> None:
        # One clock for all processes: ranks that stop at different steps wait for each other for ever.
        over = torch.tensor(float(self.seconds > self.limit), device=args.device)
        if args.world_size > 1:
            torch.distributed.all_reduce(over, torch.distributed.ReduceOp.MAX)
        if over:
            # Saved, so that a later run with more minutes goes on from this very step.
            self.capped = control.should_training_stop = control.should_log = control.should_save = True
