"""The Trainer with its loss on targets only, its report and wall-clock cap, checkpoints and LoRA."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback

from giellm_utils.core.files import read_jsonl, write_text
from giellm_utils.models.quiet import peft_wrapping
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.loss import IGNORE, TargetHead
from giellm_utils.training.sampler import SeededLengthGroupedSampler


class TargetTrainer(Trainer):
    """Trainer whose output layer sees target positions only."""

    def __init__(self, model, *args, **kwargs) -> None:
        self.head = TargetHead(model)
        super().__init__(model, *args, compute_loss_func=self.head.loss, **kwargs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.head.wanted = inputs["labels"] != IGNORE
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _get_train_sampler(self, train_dataset=None):
        lengths = [len(row["input_ids"]) for row in self.train_dataset.rows]
        return SeededLengthGroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size,
            lengths, self.args.seed)


class Report(TrainerCallback):
    """Metrics as JSONL, one printed line a log step, and the wall-clock cap.

    Seconds add up over resumed runs; rows of steps that a kill threw away are dropped.
    """

    def __init__(self, path: Path, minutes: float, resumed_step: int) -> None:
        kept = [r for r in read_jsonl(path) if r["step"] <= resumed_step] if path.exists() else []
        write_text(path, "".join(json.dumps(r) + "\n" for r in kept))
        self.path, self.limit = path, minutes * 60
        self.before = kept[-1]["seconds"] if kept else 0.0
        self.start = time.monotonic()
        self.capped = False

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        names = {"loss": "loss", "eval_loss": "dev_loss", "learning_rate": "learning_rate",
                 "grad_norm": "grad_norm"}
        row = {names[k]: float(v) for k, v in (logs or {}).items() if k in names}
        if not row or not state.is_world_process_zero:
            return
        row = {"step": state.global_step, "epoch": round(state.epoch or 0, 4), **row,
               "seconds": round(self.seconds, 1)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        left = self.seconds / max(state.global_step, 1) * (state.max_steps - state.global_step)
        what = "  ".join(f"{k} {row[k]:.4f}" for k in ("loss", "dev_loss") if k in row)
        print(f"step {state.global_step:>4}/{state.max_steps}  {what}  {self.seconds:5.0f} s, "
              f"about {left:.0f} s left", flush=True)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        # One clock for all processes: ranks that stop at different steps wait for each other for ever.
        over = torch.tensor(float(self.seconds > self.limit), device=args.device)
        if args.world_size > 1:
            torch.distributed.all_reduce(over, torch.distributed.ReduceOp.MAX)
        if over:
            # Saved, so that a later run with more minutes goes on from this very step.
            self.capped = control.should_training_stop = control.should_log = control.should_save = True


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: a kill may fall into the writing of one."""
    for path in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            for name in ("optimizer.pt", "scheduler.pt"):
                torch.load(path / name, map_location="cpu", weights_only=True)
            if any(path.glob("*.safetensors")):
                return path
        except (OSError, ValueError, RuntimeError):
            print(f"{path.name} is incomplete: going back to the one before it", flush=True)
    return None


def add_lora(model, config: TrainingConfig, tokens: Sequence[int] = ()):
    """LoRA on every linear layer but the output layer (QLoRA's finding: all layers, not attention only),
    and the embedding rows of `tokens`."""
    from peft import get_peft_model, LoraConfig

    lora = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", r=config.lora_r, lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout, trainable_token_indices=list(tokens) or None)
    with peft_wrapping():
        model = get_peft_model(model, lora)
    if tokens:
        # peft would save the whole resized embedding (671 MB) beside the few rows that were trained.
        model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    return model
