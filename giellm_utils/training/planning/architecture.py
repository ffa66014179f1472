"""A base model's shape without its weights: its configuration, built on torch's meta device."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from giellm_utils.core.errors import GiellmError
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.spec import ModelConfig, SCRATCH
from giellm_utils.training.planning.published import CONFIGS


class PlanError(GiellmError, ValueError):
    """What cannot be planned for; the message says what and what to give instead."""


class Architecture(NamedTuple):
    """Parameters of a causal language model, by where they stand."""

    config: PretrainedConfig
    parameters: int
    #: Of all decoder layers, and of the weights and biases of their linear modules.
    layers: int
    body: int
    linear: int
    #: Of the largest linear module of a layer, and of the largest tensor of all.
    largest_linear: int
    largest: int
    vocabulary: int
    hidden: int
    #: Whether the output layer is the embedding.
    tied: bool

    @property
    def head(self) -> int:
        """Parameters of the output layer."""
        return self.vocabulary * self.hidden


def find_config(spec: ModelConfig) -> PretrainedConfig:
    """The configuration of a base model: of a local folder, a packaged model (converted on first use), one of
    `published.CONFIGS`, or of the Hub. Raises PlanError, and ModelError for a package that is missing."""
    if spec.id in CONFIGS:
        facts = dict(CONFIGS[spec.id])
        return AutoConfig.for_model(facts.pop("model_type"), **facts)
    if spec.id in SCRATCH or spec.id in PACKAGED:
        from giellm_utils.models.load import model_path

        return AutoConfig.from_pretrained(model_path(spec))
    try:
        return AutoConfig.from_pretrained(spec.id, revision=spec.revision or "main")
    except (OSError, ValueError) as error:
        reason = "it holds no config.json" if Path(spec.id).is_dir() else " ".join(str(error).split())[:120]
        raise PlanError(f"model {spec.id!r}: its configuration cannot be had ({reason}); give a folder with "
                        "a config.json, a Hub id that you can reach, or one of "
                        f"{', '.join(CONFIGS)}") from None


def build(config: PretrainedConfig, *, layers: int | None = None, dtype: torch.dtype = torch.float32,
          ) -> PreTrainedModel:
    """The causal language model of `config` on the meta device, with all its layers or only the first."""
    config = copy.deepcopy(config)
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def linear_modules(model: nn.Module) -> list[nn.Module]:
    """The linear modules of all decoder layers; GPT-2 writes them as Conv1D."""
    return [m for layer in decoder_layers(model) for m in layer.modules()
            if isinstance(m, (nn.Linear, Conv1D))]


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder's layers, whatever the library calls them (layers, h); raises PlanError."""
    decoder = model.get_decoder()
    for name in ("layers", "h"):
        if isinstance(layers := getattr(decoder, name, None), nn.ModuleList):
            return layers
    raise PlanError(f"{type(model).__name__}: no list of decoder layers was found in it; plan for a decoder "
                    "model such as Llama, Gemma or GPT-2")


def architecture(config: PretrainedConfig) -> Architecture:
    """What there is to count; raises PlanError for a model that is no plain decoder."""
    if config.is_encoder_decoder:
        raise PlanError(f"a {config.model_type} has an encoder of its own, and its memory is not planned "
                        "for; plan for a decoder model such as Llama, Gemma or GPT-2")
    model = build(config)
    layers, linear = decoder_layers(model), linear_modules(model)
    head = model.get_output_embeddings()
    return Architecture(
        config=config, parameters=count(model), layers=len(layers), body=count(layers),
        linear=sum(map(count, linear)), largest_linear=max(map(count, linear)),
        largest=max(p.numel() for p in model.parameters()), vocabulary=head.weight.shape[0],
        hidden=head.weight.shape[1], tied=head.weight is model.get_input_embeddings().weight)


def count(module: nn.Module, *, trainable: bool = False) -> int:
    """Parameters of a module, each once; `trainable`: only those with a gradient."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)
