"""Packed rows through any model of transformers: its own forward, with our attention in the place of its.

Slower than `body.LeanBody`, for models that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from giellm_utils.core.errors import GiellmError
from giellm_utils.inference.borrowed import borrow
from giellm_utils.inference.kv_rows import attend, Block, RowCache, Step

NAME = "giellm_rows"


class AttentionError(GiellmError, ValueError):
    """A model whose attention cannot run on packed rows; the message says which and what to do."""


def rows_attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                   attention_mask: torch.Tensor | None, *, scaling: float, sliding_window: int | None = None,
                   row_blocks: Sequence[Block] = (), **kwargs: Any) -> tuple[torch.Tensor, None]:
    """transformers attention over packed rows: query [1, heads, T, D], key and value as from RowCache.

    Returns [1, T, heads, D]. Raises AttentionError for attention that is not a plain softmax.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise AttentionError(f"{type(module).__name__} caps its attention or has sinks, which constrained "
                             "decoding does not do; decode this model freely (generation.constrained: none)")
    packed = query[0].transpose(0, 1)
    out = attend(packed, key, value, row_blocks, scaling, sliding_window)
    return out.view(1, *packed.shape), None


AttentionInterface.register(NAME, rows_attention)


class _Cache:
    """A RowCache as transformers' attention calls a cache."""

    def __init__(self, rows: RowCache) -> None:
        self.rows = rows

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any,
               **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep keys and values [1, heads, T, D] of one layer; returns its buffers."""
        return self.rows.keep(keys[0].transpose(0, 1), values[0].transpose(0, 1), layer)


class LibraryBody:
    """`decoder`: a transformers model without its output layer; it is borrowed and left as it is."""

    def __init__(self, decoder: PreTrainedModel) -> None:
        self.decoder = borrow(decoder)
        for module in self.decoder.modules():
            if isinstance(config := vars(module).get("config"), PreTrainedConfig):
                config._attn_implementation = NAME

    @property
    def device(self) -> torch.device:
        return self.decoder.get_input_embeddings().weight.device

    def __call__(self, step: Step, cache: RowCache) -> torch.Tensor:
        # A 4-D mask is passed on as it is; without one transformers would build its own, for one row.
        hidden = self.decoder(
            input_ids=step.ids[None], position_ids=step.positions[None], past_key_values=_Cache(cache),
            use_cache=True, attention_mask=step.ids.new_ones((1, 1, 1, 1)),
            row_blocks=step.blocks).last_hidden_state[0]
        return hidden[step.ends]
