"""A model shared out among processes (FSDP2, DeepSpeed ZeRO-3): what is known not to work there is refused
with one sentence before weights are read, and what silently is something else before the first step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import torch
from transformers import Trainer

from giellm_utils.core.settings import ConfigError
from giellm_utils.training.config import TrainingConfig

Strategy = Literal["", "fsdp2", "zero3"]


def begin(config: TrainingConfig) -> Strategy:
    """How the launcher wants the model shared out among processes; "": each has all of it.

    Under FSDP2 the process group starts here, for then only the first process of a machine reads the weights.
    Raises ConfigError.
    """
    # Counted before CUDA starts; Trainer would take all that a lone process sees.
    if torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ:
        raise ConfigError(f"this process sees {torch.cuda.device_count()} GPUs and would train in "
                          "nn.DataParallel; start it with `giellm run` or the command of notebook 03, or set "
                          "CUDA_VISIBLE_DEVICES to one of them")
    found = strategy(os.environ)
    if found:
        refuse(config, os.environ, found)
    if found == "fsdp2":
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())
    return found


def strategy(environment: Mapping[str, str]) -> Strategy:
    """What `accelerate launch` wrote into the environment."""
    if environment.get("ACCELERATE_USE_DEEPSPEED") == "true":
        return "zero3"
    return "fsdp2" if environment.get("ACCELERATE_USE_FSDP") == "true" else ""


def refuse(config: TrainingConfig, environment: Mapping[str, str], found: Strategy) -> None:
    """Raise ConfigError for a setting that does not work with this strategy."""
    if config.single_tokens:
        # Their rows lie in an embedding that is shared out; saving them under ZeRO-3 fails (PEFT #2946).
        raise ConfigError(f"training.single_tokens cannot be trained under {found}; set it to false or "
                          "training.machine to ddp")
    if config.method == "qlora":
        raise ConfigError(f"training.method qlora holds 4-bit weights that {found} would not share out; set "
                          "training.machine to ddp")
    if found == "zero3":
        return
    if config.method == "lora":
        # Adapters are cast to fp32 on bf16 weights: tensors and DTensors mix (TRL #4550, #6065).
        raise ConfigError("training.method lora under fsdp2 mixes tensors and DTensors where adapters are "
                          "cast; set training.machine to ddp or zero3")
    if environment.get("FSDP_VERSION") != "2":
        raise ConfigError("the accelerate configuration trains FSDP1; set fsdp_version: 2 in its fsdp_config")
    if environment.get("FSDP_STATE_DICT_TYPE") != "FULL_STATE_DICT":
        raise ConfigError("fsdp_state_dict_type must be FULL_STATE_DICT: what SHARDED_STATE_DICT saves loads "
                          "only into FSDP, and no single process could read the trained model")
    if environment.get("FSDP_ACTIVATION_CHECKPOINTING") == "true":
        raise ConfigError("fsdp_activation_checkpointing: activations are recomputed where "
                          "training.gradient_checkpointing says so, and setting both is an error; set it to "
                          "false in the accelerate configuration")


def check(trainer: Trainer, wanted: Strategy) -> None:
    """Raise ConfigError where accelerate made another strategy than the `wanted` one, as it silently trains
    plain DDP for FSDP and for DeepSpeed on a CPU."""
    made = trainer.accelerator.distributed_type.value
    kind, called = {"fsdp2": ("FSDP", "FSDP2"), "zero3": ("DEEPSPEED", "ZeRO-3"), "": (made, "")}[wanted]
    if made != kind:
        raise ConfigError(f"accelerate would train {made} here and not {called}, which it knows for GPUs "
                          "only; set training.machine to cpu or cpu-2")
