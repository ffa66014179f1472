"""Packed rows: one forward pass of sequences that feed different numbers of tokens.

The tokens of all rows stand one after the other in [1, T]; every linear layer sees them so, with no
padding. Only attention knows rows: `RowCache` keeps a row's keys and values in the column of their
position, `rows_attention` (a transformers AttentionInterface function) lets each row look at its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

NAME = "giellm_rows"


class AttentionError(ValueError):
    """A model whose attention cannot run on packed rows; the message says which and what to do."""


@dataclass
class Block:
    """Rows of one step that attend together: `counts` new tokens each, `starts` columns before them.

    Tokens are padded to [B, K] here and nowhere else; `slots` are the rows' places in the cache.
    """

    slots: Sequence[int]
    starts: Sequence[int]
    counts: Sequence[int]
    device: torch.device
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = torch.tensor(self.counts)
        self.width, self.columns = int(counts.max()), max(s + c for s, c in zip(self.starts, self.counts, strict=True))
        real = torch.arange(self.width) < counts[:, None]
        self.real = real.flatten().nonzero()[:, 0].to(self.device)
        # Padding repeats the first token; what it attends to is thrown away.
        self.index = torch.zeros(real.shape, dtype=torch.long).masked_scatter(real, torch.arange(int(counts.sum())))
        self.index = self.index.to(self.device)
        self.positions = (torch.tensor(self.starts)[:, None] + torch.arange(self.width)).to(self.device)
        slots = list(self.slots)
        together = slots == list(range(slots[0], slots[0] + len(slots)))
        # A slice costs no copy of the cache.
        self.take = slice(slots[0], slots[-1] + 1) if together else torch.tensor(slots, device=self.device)

    def mask(self, window: int | None) -> torch.Tensor:
        """Bool [B, 1, K, C], True where a token may look: columns are positions, so a row's own past."""
        if window not in self.masks:
            columns, own = torch.arange(self.columns, device=self.device), self.positions[:, None, :, None]
            mask = columns <= own
            self.masks[window] = mask if window is None else mask & (columns > own - window)
        return self.masks[window]


class RowCache:
    """Keys and values of `rows` sequences of different lengths; a token's column is its position.

    There are no holes and nothing is ever compacted: a new token overwrites what an earlier sequence
    left in its column, and no mask reaches beyond a sequence's own tokens. Buffers [R, heads, C, D] a
    layer grow with the longest sequence.
    """

    def __init__(self, rows: int) -> None:
        self.rows, self.columns = rows, 0
        self.layers: dict[int, list[torch.Tensor]] = {}
        self.blocks: list[Block] = []

    def begin(self, blocks: list[Block], slots: torch.Tensor, positions: torch.Tensor) -> None:
        """The next tokens go to `slots` [T] at `positions` [T]."""
        self.blocks, self._slots, self._positions = blocks, slots, positions
        self.columns = max(self.columns, -(-max(b.columns for b in blocks) // 64) * 64)

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any,
               **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep keys and values [1, heads, T, D] of one layer; returns its buffers [R, heads, C, D].

        Called by the model's attention, as transformers' `Cache.update` is.
        """
        buffers = self.layers.get(layer) or [keys.new_zeros(self.rows, keys.shape[1], 0, x.shape[-1])
                                             for x in (keys, values)]
        missing = self.columns - buffers[0].shape[2]
        if missing:
            buffers = [torch.nn.functional.pad(b, (0, 0, 0, missing)) for b in buffers]
        for buffer, new in zip(buffers, (keys, values), strict=True):
            buffer[self._slots, :, self._positions] = new[0].transpose(0, 1)
        self.layers[layer] = buffers
        return buffers[0], buffers[1]

    def copy(self, source: int, target: int, columns: int) -> None:
        """Give row `target` the first `columns` tokens of row `source`."""
        for buffers in self.layers.values():
            for buffer in buffers:
                buffer[target, :, :columns] = buffer[source, :, :columns]


def rows_attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                   attention_mask: torch.Tensor | None, *, scaling: float, sliding_window: int | None = None,
                   row_blocks: Sequence[Block] = (), **kwargs: Any) -> tuple[torch.Tensor, None]:
    """transformers attention over packed rows: query [1, heads, T, D], key and value as RowCache gives them.

    Returns [1, T, heads, D]. Query heads that share a key head are stacked along the tokens, so that the
    keys are never repeated. Raises AttentionError for attention that is not a plain softmax.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise AttentionError(f"{type(module).__name__} caps its attention or has sinks, which constrained decoding "
                            "does not do; decode this model with generation.predict")
    packed, at, outputs = query[0].transpose(0, 1), 0, []
    for block in row_blocks:
        (rows, width), heads, size = block.index.shape, key.shape[1], query.shape[-1]
        group = query.shape[1] // heads
        q = packed[at + block.index].view(rows, width, heads, group, size).permute(0, 2, 3, 1, 4)
        mask = block.mask(sliding_window)
        out = torch.nn.functional.scaled_dot_product_attention(
            q.reshape(rows, heads, group * width, size), key[block.take, :, :block.columns],
            value[block.take, :, :block.columns], attn_mask=mask.repeat(1, 1, group, 1), scale=scaling)
        out = out.view(rows, heads, group, width, -1).permute(0, 3, 1, 2, 4)
        outputs.append(out.reshape(rows * width, heads * group, -1)[block.real])
        at += len(block.real)
    return torch.cat(outputs)[None], None


AttentionInterface.register(NAME, rows_attention)
