"""The Trainer with its loss on targets only, and LoRA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from transformers import Trainer

from giellm_utils.core.paths import shown
from giellm_utils.models.quiet import peft_wrapping
from giellm_utils.training.checkpoints import last_good
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.launch import TrainingFailed
from giellm_utils.training.loss import TargetHead
from giellm_utils.training.sampler import (
    EpochOfSampler,
    SeededLengthGroupedSampler,
    SeededRandomSampler,
)
from giellm_utils.training.stacked import read_only


class TargetTrainer(Trainer):
    """Trainer whose output layer sees target positions only."""

    def __init__(self, model, *args, output_rows: torch.Tensor | None = None,
                 order: Literal["length", "random"] = "length", **kwargs) -> None:
        self.head, self.order = TargetHead(model, output_rows), order
        read_only(model, self.head.targets)
        super().__init__(model, *args, compute_loss_func=self.head.loss, **kwargs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.head.labels, self.head.weights = inputs["labels"], inputs.pop("weights", None)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def training_step(self, *args, **kwargs):
        self.last_loss = super().training_step(*args, **kwargs)
        return self.last_loss

    def floating_point_ops(self, inputs) -> int:
        """Not counted: the library looks through all modules for it, at every step."""
        return 0

    def _get_grad_norm(self, *args, **kwargs):
        """The library's, once a step on all processes; raises TrainingFailed before NaN reaches a weight."""
        norm = super()._get_grad_norm(*args, **kwargs)
        for what, value in (("loss", float(self.last_loss)), ("norm of the gradients", float(norm))):
            if not math.isfinite(value):
                folder = Path(self.args.output_dir).parent
                raise TrainingFailed(
                    f"{shown(folder)}: the {what} is {value} at step {self.state.global_step + 1}; "
                    f"{last_good(folder)}; lower training.learning_rate (now {self.args.learning_rate:g}) or "
                    "look for a broken text among the rows: with the same settings it ends here again")
        return norm

    def _get_train_sampler(self, train_dataset=None):
        lengths = [len(row["input_ids"]) for row in self.train_dataset.rows]
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        sampler = (SeededRandomSampler(len(lengths), self.args.seed) if self.order == "random"
                   else SeededLengthGroupedSampler(step, lengths, self.args.seed))
        self.add_callback(EpochOfSampler(sampler))
        return sampler


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
