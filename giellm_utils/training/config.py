"""The profile's section `training`, and the file that addresses one training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from giellm_utils.core.conditions import get_condition
from giellm_utils.core.settings import ConfigError, Section
from giellm_utils.models.spec import ModelConfig


class Batch(NamedTuple):
    """Sequences of one process in one pass, passes a step, and sequences a step over all processes."""

    per_device: int
    accumulate: int
    total: int


class TrainingConfig(Section):
    #: What is trained and compared, by name (core.conditions).
    conditions: list[str] = ["joint", "text", "words"]
    #: Splits trained on. Tune on [train] and measure on dev; the final run adds dev.
    splits: list[Literal["train", "dev"]] = ["train", "dev"]
    #: full: every weight. lora: adapters on frozen weights. qlora: adapters on 4-bit weights (NVIDIA GPUs).
    method: Literal["lora", "full", "qlora"] = "lora"
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    #: Marks, labels and Instruction Words as single trainable tokens (models.tokens); LoRA only.
    single_tokens: bool = False
    #: library: transformers and peft as they are. stacked: LoRA's products in one a group (training.stacked;
    #: LoRA without dropout, Llama and Gemma 3, on a CPU). auto: stacked where it can, else library.
    engine: Literal["auto", "library", "stacked"] = "auto"
    #: Norms, rotations and gates of the stacked engine (training.fused). auto: in trainings of 300 steps and
    #: more, where there is a C++ compiler.
    compile: Literal["auto", "always", "never"] = "auto"
    #: Rows of a frozen output layer that the loss scores. texts: the tokens that a grammar could allow for
    #: the texts trained on (every substring, the format's strings), the same for all conditions; LoRA only.
    output_rows: Literal["all", "texts"] = "all"
    learning_rate: float = Field(1e-3, gt=0)
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    epochs: float = Field(3.0, gt=0)
    #: Overrides epochs where it is set.
    max_steps: int | None = Field(None, ge=1)
    #: Sequences of one process in one pass; with global_batch the most of them.
    batch_size: int = Field(8, ge=1)
    #: Passes a step, where global_batch does not give them.
    accumulate: int = Field(1, ge=1)
    #: Sequences a step over all processes, the same on one device as on eight: batch_size and accumulate
    #: follow from the number of processes. None: batch_size x accumulate x processes.
    global_batch: int | None = Field(None, ge=1)
    #: Of the sequences: batches alike in length, which are hardly padded, or random as the library's Trainer
    #: has them, which learn a little more from as many steps (results/dev-loss).
    order: Literal["length", "random"] = "length"
    #: Recompute activations in the backward pass: less memory, about a third more time, the same weights.
    gradient_checkpointing: bool = False
    #: Stop when the dev loss, measured once an epoch, has not fallen so many times, and keep the weights
    #: that had the lowest; needs splits: [train].
    early_stopping: int | None = Field(None, ge=1)
    max_tokens: int = Field(1024, ge=8)
    save_steps: int = Field(50, ge=1)
    log_steps: int = Field(10, ge=1)
    #: Also write what is logged for TensorBoard: tensorboard --logdir runs/NAME.
    tensorboard: bool = False
    #: Keep the checkpoints of a finished training (one that the clock stopped keeps its last all the same).
    keep_checkpoints: bool = False
    #: Wall-clock cap a training, in minutes: it stops there, its summary says so, and more minutes resume it.
    minutes: float = Field(30.0, gt=0)
    #: A file of configs/accelerate, without .yaml, or auto: what fits the devices that are here.
    machine: str = "auto"

    @field_validator("conditions")
    @classmethod
    def _known(cls, conditions: list[str]) -> list[str]:
        if not conditions or len(set(conditions)) != len(conditions):
            raise ValueError(f"{conditions} must name at least one condition, each once")
        for name in conditions:
            get_condition(name)
        return conditions

    @model_validator(mode="after")
    def _made_for_lora(self) -> TrainingConfig:
        if self.single_tokens and self.method != "lora":
            raise ValueError("single_tokens is made for method lora; set training.method to lora or "
                             "training.single_tokens to false")
        if self.engine == "stacked" and self.method != "lora":
            raise ValueError(f"engine {self.engine} is made for method lora; set training.method to lora or "
                             "training.engine to library")
        if self.output_rows != "all" and self.method == "full":
            raise ValueError(f"output_rows {self.output_rows} is for a frozen output layer; set "
                             "training.method to lora or training.output_rows to all")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if self.global_batch and self.accumulate != 1:
            raise ValueError(f"accumulate {self.accumulate} and global_batch {self.global_batch} both say "
                             "how many sequences make a step; set one of them")
        if self.early_stopping and "dev" in self.splits:
            raise ValueError("early_stopping needs a dev loss, and splits trains on dev; set training.splits "
                             "to [train]")
        if self.engine == "stacked" and self.gradient_checkpointing:
            raise ValueError(f"engine {self.engine} has no gradient_checkpointing; set training.engine to "
                             "library")
        return self

    def batch(self, processes: int) -> Batch:
        """How a step is made up on so many processes.

        With global_batch: the largest per_device up to batch_size that divides a process's share. Raises
        ConfigError where the processes cannot share it out evenly.
        """
        if not self.global_batch:
            return Batch(self.batch_size, self.accumulate, self.batch_size * self.accumulate * processes)
        share, rest = divmod(self.global_batch, processes)
        if rest:
            raise ConfigError(f"training.global_batch {self.global_batch} cannot be shared out evenly among "
                              f"{processes} processes; set it to a multiple of {processes}, or use fewer")
        per_device = max(n for n in range(1, min(self.batch_size, share) + 1) if share % n == 0)
        return Batch(per_device, share // per_device, self.global_batch)


#: Keys that change what is learned; the others say where, how long and how often to save and log.
LEARNED_FROM = ("splits", "method", "lora_r", "lora_alpha", "lora_dropout", "single_tokens", "engine",
                "output_rows", "learning_rate", "warmup_ratio", "weight_decay", "epochs", "max_steps",
                "batch_size", "accumulate", "global_batch", "order", "early_stopping")
#: Of them those that came later, as all trainings of before had it.
BEFORE = {"order": "length"}


def learned_from(training: Mapping[str, Any]) -> dict[str, Any]:
    """What of a training's settings changes what is learned. A key that came later is left out where it is as
    trainings of before had it, so that these count as made with the same settings."""
    return {key: training[key] for key in LEARNED_FROM
            if key not in BEFORE or training[key] != BEFORE[key]}


class TrainingJob(Section):
    """What `python -m giellm_utils.training.run --config training.yaml` reads: the training at one address.

    Its rows are train.jsonl beside it, and dev.jsonl where a dev loss is measured; results go there too.
    """

    condition: str
    task: str
    seed: int
    model: ModelConfig
    training: TrainingConfig
    #: Strings that become tokens of their own (training.single_tokens).
    new_tokens: list[str] = Field(default_factory=list)
