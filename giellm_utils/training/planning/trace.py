"""What a forward and a backward pass hold, traced on tensors without data.

A model of one layer and one of two run under FakeTensorMode, with the very adapters, autocast and stacked
products of a training, while every storage that comes and goes is counted; memory is affine in the number of
layers. So a library that keeps another tensor for its backward pass changes the plan by itself.
"""

from __future__ import annotations

import weakref
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import PretrainedConfig

from giellm_utils.models.products import autocasts
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.planning.architecture import build, count, linear_modules


class Passes(NamedTuple):
    """Bytes of one batch through all layers."""

    #: Kept by the forward pass for the backward pass.
    activations: int
    #: bf16 copies that autocast makes of fp32 weights, from the forward pass to the backward pass.
    cast: int
    #: Copies of the frozen weights that the stacked products keep for good.
    stacked: int
    #: What one layer's backward pass holds beside its activations.
    transient: int
    #: Parameters of the layers that are trained.
    trainable: int


class Traced(NamedTuple):
    """Passes of one sequence, and what one more adds to their transient bytes."""

    one: Passes
    more: int

    def at(self, batch: int) -> Passes:
        """Passes of `batch` sequences."""
        return self.one._replace(activations=batch * self.one.activations,
                                 transient=self.one.transient + (batch - 1) * self.more)


class Live(TorchDispatchMode):
    """Counts the bytes of storages made inside, as long as they live; `known` ones are not counted."""

    def __init__(self, *known: torch.Tensor) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen = {t.untyped_storage()._cdata for t in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, out)
        return out

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def trace(config: PretrainedConfig, training: TrainingConfig, *, method: Literal["full", "lora"],
          checkpointing: bool, length: int, dtype: torch.dtype, cpu: bool, layers: int) -> Traced:
    """The passes of sequences of `length` tokens through `layers` layers.

    `dtype`: what is computed in; `cpu`: whether the stacked products may stand in for the library's (they are
    for CPUs), and whether attention draws its dropout in plain products (elsewhere a fused kernel does).
    """
    def passes(batch: int, depth: int) -> Passes:
        return _trace(config, training, method, checkpointing, (batch, length), dtype, cpu, depth)

    one, two = passes(1, 1), passes(1, 2)
    whole = Passes(*(a + (layers - 1) * (b - a) for a, b in zip(one, two, strict=True)))
    return Traced(whole._replace(transient=one.transient), passes(2, 1).transient - one.transient)


def _trace(config: PretrainedConfig, training: TrainingConfig, method: str, checkpointing: bool,
           shape: tuple[int, int], dtype: torch.dtype, cpu: bool, layers: int) -> Passes:
    model = _model(config, training, method, checkpointing, dtype, cpu, layers)
    autocast, cast = dtype == torch.bfloat16 and autocasts(method, cpu=cpu), 0
    if autocast:
        cast = 2 * sum(p.numel() for m in linear_modules(model) for p in m.parameters(recurse=False)
                       if p.dtype == torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _fake(model)
        with Live(*model.parameters(), *model.buffers()) as live:
            if cpu and method == "lora" and not checkpointing and training.engine != "library":
                _stack(model)
            stacked = live.now
            ids = torch.zeros(shape, dtype=torch.long)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            kept = live.now - stacked
            hidden.sum().backward()
            peak = live.peak - stacked
    # With checkpoints the copies go with the forward pass; each layer's come back as it is recomputed.
    cast = 0 if checkpointing else min(cast, kept)
    return Passes(kept - cast, cast, stacked, peak - kept, count(model, trainable=True))


def _model(config: PretrainedConfig, training: TrainingConfig, method: str, checkpointing: bool,
           dtype: torch.dtype, cpu: bool, layers: int) -> Any:
    """A model of so many layers on the meta device as a training has it, its embeddings frozen."""
    model = build(config, layers=layers, dtype=torch.float32 if method == "full" else dtype)
    if not cpu and hasattr(model.config, "attn_pdrop"):
        for module in model.modules():
            if isinstance(getattr(module, "attn_dropout", None), nn.Dropout):
                module.attn_dropout.p = 0.0
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        embedding.weight.requires_grad_(False)
    if method == "lora":
        from giellm_utils.training.trainer import add_lora

        with torch.device("meta"):
            model = add_lora(model, training)
    if checkpointing:
        model.activation_checkpointing_enable()
        if method == "lora":
            model.enable_input_require_grads()
    return model.train()


def _stack(model: Any) -> None:
    from giellm_utils.training import stacked

    if not stacked.why_not(model):
        stacked.stack(model)


def _fake(model: nn.Module) -> None:
    """Give every parameter and buffer of a model on the meta device a fake tensor of the CPU in its place."""
    made: dict[torch.Tensor, torch.Tensor] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                if old not in made:
                    new = torch.empty(old.shape, dtype=old.dtype, device="cpu")
                    made[old] = nn.Parameter(new, requires_grad=old.requires_grad)
                module._parameters[name] = made[old]
        for name, old in module._buffers.items():
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype, device="cpu")
