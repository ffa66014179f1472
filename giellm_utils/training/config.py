"""The profile's section `training`, and the file that addresses one training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from giellm_utils.core.conditions import get_condition
from giellm_utils.core.settings import Section
from giellm_utils.models.spec import ModelConfig


class TrainingConfig(Section):
    #: What is trained and compared, by name (core.conditions).
    conditions: list[str] = ["joint", "text", "words"]
    #: Splits trained on. Tune on [train] and measure on dev; the final run adds dev.
    splits: list[Literal["train", "dev"]] = ["train", "dev"]
    method: Literal["lora", "full"] = "lora"
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    #: Marks, labels and Instruction Words as single trainable tokens (models.tokens); LoRA only.
    single_tokens: bool = False
    #: library: transformers and peft as they are. stacked: LoRA's products in one a group (training.stacked;
    #: LoRA without dropout, Llama and Gemma 3, on a CPU).
    engine: Literal["library", "stacked"] = "library"
    learning_rate: float = Field(1e-3, gt=0)
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    epochs: float = Field(3.0, gt=0)
    #: Overrides epochs where it is set.
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    max_tokens: int = Field(1024, ge=8)
    save_steps: int = Field(50, ge=1)
    log_steps: int = Field(10, ge=1)
    #: Wall-clock cap a training, in minutes: it stops there, its summary says so, and more minutes resume it.
    minutes: float = Field(30.0, gt=0)
    #: A file of configs/accelerate, without .yaml.
    machine: str = "single"

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
        if self.engine != "library" and self.method != "lora":
            raise ValueError(f"engine {self.engine} is made for method lora; set training.method to lora or "
                             "training.engine to library")
        return self


#: Keys that change what is learned; the others say where, how long and how often to save and log.
LEARNED_FROM = ("splits", "method", "lora_r", "lora_alpha", "lora_dropout", "single_tokens", "engine",
                "learning_rate", "warmup_ratio", "weight_decay", "epochs", "max_steps", "batch_size",
                "accumulate")


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
