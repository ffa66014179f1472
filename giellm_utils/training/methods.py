"""The model that training.method trains: every weight, adapters, or adapters on 4-bit weights; and the
engine that drives it."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from transformers import PreTrainedTokenizerFast

from giellm_utils.core.settings import ConfigError
from giellm_utils.models.load import load_four_bit, load_model
from giellm_utils.models.quiet import peft_wrapping
from giellm_utils.models.tokens import add_tokens
from giellm_utils.training import fused, seq2seq, sharded, stacked
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.trainer import add_lora


def build(job: TrainingJob, tokenizer: PreTrainedTokenizerFast, *,
          own_masters: bool = False) -> tuple[torch.nn.Module, list[int]]:
    """The model to train, and the ids of the tokens made for job.new_tokens, which `tokenizer` gets too.

    `own_masters`: the optimizer keeps fp32 master weights itself (DeepSpeed). Raises ConfigError where the
    method cannot be had here, ModelError.
    """
    config = job.training
    seq2seq.refuse(job)
    if config.method == "qlora":
        return _qlora(job), []
    # Full fine-tuning keeps fp32 master weights, read as they are stored: at lr 1e-5 a bf16 update would
    # round to nothing, and fp16 weights (Llama 2) read as bf16 would lose three bits before the first step.
    masters = config.method == "full" and not own_masters
    model = load_model(job.model.model_copy(update={"dtype": "float32"}) if masters else job.model)
    tokens = add_tokens(tokenizer, model, job.new_tokens) if job.new_tokens else []
    if config.method == "lora":
        model = add_lora(model, config, tokens)
        _stack(model, config)
    return model, tokens


def compile_passes(model: torch.nn.Module, config: TrainingConfig, steps: int) -> str:
    """Compile the passes of a stacked body where `steps` are worth it; what was done or why not, a clause for
    the log, empty where nobody need know."""
    body = stacked.body_of(model)
    if body is None or config.compile == "never" or (config.compile == "auto" and steps < fused.WORTH):
        return ""
    if reason := fused.why_not():
        return f"passes not compiled: {reason}"
    body.passes = fused.compiled()
    return "passes compiled"


def saved_bytes(model: torch.nn.Module, config: TrainingConfig) -> int:
    """Bytes of the weights file: the adapter in fp32, or the whole model."""
    if config.method != "full":
        return 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _qlora(job: TrainingJob) -> torch.nn.Module:
    """Adapters on 4-bit weights (NF4, doubly quantised; Dettmers et al. 2023, arXiv 2305.14314)."""
    from peft import prepare_model_for_kbit_training

    if not torch.cuda.is_available():
        raise ConfigError("training.method qlora needs an NVIDIA GPU, and none is visible here; set it to "
                          "lora")
    if find_spec("bitsandbytes") is None:
        raise ConfigError("training.method qlora needs bitsandbytes, which is not installed; pip install "
                          "bitsandbytes, or set it to lora")
    model = load_four_bit(job.model, int(os.environ.get("LOCAL_RANK", "0")))
    with peft_wrapping():
        # Trainer switches gradient checkpointing on, where the job wants it.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return add_lora(model, job.training)


def _stack(model: torch.nn.Module, config: TrainingConfig) -> None:
    """The engine that the job asks for; raises ConfigError where stacked cannot drive this model."""
    if config.engine == "library":
        return
    reason = ("it is for CPUs" if torch.cuda.is_available()
              else "the processes share one copy of the model" if sharded.strategy(os.environ)
              else "it has no gradient_checkpointing" if config.gradient_checkpointing
              else stacked.why_not(model))
    if reason is None:
        stacked.stack(model)
    elif config.engine == "stacked":
        raise ConfigError(f"training.engine stacked: {reason}; set it to library or auto")
