"""Packed rows: one forward pass of sequences that feed different numbers of tokens.

The tokens of all rows stand one after the other in [1, T]; every linear layer sees them so, with no
padding. Only attention knows rows: `RowCache` keeps a row's keys and values in the column of their
position, `rows_attention` (a transformers AttentionInterface function) lets each row look at its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from giellm_utils.core.errors import GiellmError
from giellm_utils.inference.borrowed import borrow

NAME = "giellm_rows"
#: Rows that feed at most this many tokens attend together, the others in a block of their own: padding
#: every row to the longest new prompt would cost more than the second call.
NARROW = 8
#: A shared beginning shorter than this is not worth its copy.
SHARED = 8


class AttentionError(GiellmError, ValueError):
    """A model whose attention cannot run on packed rows; the message says which and what to do."""


@dataclass
class Block:
    """Rows of one step that attend together: `counts` new tokens each, `starts` tokens before them.

    Tokens are padded to [B, K] here and nowhere else; `slots` are the rows' places in the cache.
    """

    slots: Sequence[int]
    starts: Sequence[int]
    counts: Sequence[int]
    device: torch.device
    masks: dict[tuple[int | None, int], torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts, starts = torch.tensor(self.counts), torch.tensor(self.starts)
        self.width, self.columns = int(counts.max()), int((starts + counts).max())
        real = torch.arange(self.width) < counts[:, None]
        self.real = real.flatten().nonzero()[:, 0].to(self.device)
        # Padding repeats the first token; what comes of it is thrown away.
        index = torch.zeros(real.shape, dtype=torch.long)
        index[real] = torch.arange(int(counts.sum()))
        self.index = index.to(self.device)
        self.positions = (starts[:, None] + torch.arange(self.width)).to(self.device)
        slots = list(self.slots)
        together = slots == list(range(slots[0], slots[0] + len(slots)))
        # A slice costs no copy of the cache.
        self.take = slice(slots[0], slots[-1] + 1) if together else torch.tensor(slots, device=self.device)

    def mask(self, window: int | None, group: int) -> torch.Tensor:
        """Bool [B, 1, group * K, C], True where a token may look; the K tokens stand `group` times.

        Columns are positions, so that is its own past, `window` tokens of it with itself.
        """
        if (window, group) not in self.masks:
            columns, own = torch.arange(self.columns, device=self.device), self.positions[:, None, :, None]
            mask = columns <= own
            if window is not None:
                mask &= columns > own - window
            self.masks[window, group] = mask.repeat(1, 1, group, 1)
        return self.masks[window, group]


class RowCache:
    """Keys and values of `rows` sequences of different lengths; a token's column is its position.

    There are no holes and nothing is ever compacted: a new token overwrites what an earlier sequence
    left in its column, and no mask reaches beyond a sequence's own tokens. Buffers [R, heads, C, D] a
    layer grow with the longest sequence.
    """

    def __init__(self, rows: int) -> None:
        self.rows, self.columns = rows, 0
        self.layers: dict[int, list[torch.Tensor]] = {}

    def begin(self, columns: int, slots: torch.Tensor, positions: torch.Tensor) -> None:
        """The next tokens go to `slots` [T] at `positions` [T], all below `columns`."""
        self._slots, self._positions = slots, positions
        self.columns = max(self.columns, -(-columns // 64) * 64)

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any,
               **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep keys and values [1, heads, T, D] of one layer; returns its buffers [R, heads, C, D].

        Called by the model's attention, as transformers' `Cache.update` is.
        """
        buffers = self.layers.get(layer) or [x.new_zeros(self.rows, x.shape[1], 0, x.shape[-1])
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
    """transformers attention over packed rows: query [1, heads, T, D], key and value as from RowCache.

    Returns [1, T, heads, D]. Query heads that share a key head are stacked along the tokens, so that the
    keys are never repeated. Raises AttentionError for attention that is not a plain softmax.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise AttentionError(f"{type(module).__name__} caps its attention or has sinks, which constrained "
                             "decoding does not do; decode this model freely (generation.constrained: none)")
    packed, at, outputs = query[0].transpose(0, 1), 0, []
    for block in row_blocks:
        (rows, width), heads, size = block.index.shape, key.shape[1], query.shape[-1]
        group = query.shape[1] // heads
        q = packed[at + block.index].view(rows, width, heads, group, size).permute(0, 2, 3, 1, 4)
        out = torch.nn.functional.scaled_dot_product_attention(
            q.reshape(rows, heads, group * width, size), key[block.take, :, :block.columns],
            value[block.take, :, :block.columns], attn_mask=block.mask(sliding_window, group), scale=scaling)
        out = out.view(rows, heads, group, width, -1).permute(0, 3, 1, 2, 4)
        outputs.append(out.reshape(rows * width, heads * group, -1)[block.real])
        at += len(block.real)
    return torch.cat(outputs)[None], None


AttentionInterface.register(NAME, rows_attention)


class PackedRows:
    """`rows` sequences of one model that grow by feeding tokens.

    `decoder`: a transformers model without its output layer (`model.get_decoder()`); it is borrowed and
    left as it is. `held`: the tokens of each row; they stay, for `start` to reuse, until another sequence
    starts there. `forwards` and `fed` count forward passes and the tokens they computed.
    """

    def __init__(self, decoder: PreTrainedModel, rows: int) -> None:
        self.decoder, self.cache = borrow(decoder), RowCache(rows)
        for module in self.decoder.modules():
            if isinstance(config := vars(module).get("config"), PreTrainedConfig):
                config._attn_implementation = NAME
        self.held: list[list[int]] = [[] for _ in range(rows)]
        self.forwards = self.fed = 0

    @torch.inference_mode()
    def start(self, tokens: Sequence[int], free: Sequence[int], share: bool = True) -> tuple[int, int]:
        """Begin a sequence in one of the rows `free`: its row, and how many of `tokens` are there already.

        With `share` the longest beginning that any row holds is taken over, at least SHARED tokens.
        """
        row, shared = free[0], 0
        if share:
            common = [_common(held, tokens) for held in self.held]
            donor = max(range(len(common)), key=common.__getitem__)
            if common[donor] >= SHARED:
                shared = common[donor]
                if donor in free:
                    row = donor
                else:
                    self.cache.copy(donor, row, shared)
        self.held[row] = list(tokens[:shared])
        return row, shared

    @torch.inference_mode()
    def feed(self, tokens: Mapping[int, Sequence[int]]) -> torch.Tensor:
        """Append `tokens` (row -> at least one token) in one forward pass.

        Returns the hidden state of each row's last token, [len(tokens), H], in the order of `tokens`.
        """
        device = self.decoder.get_input_embeddings().weight.device
        groups = [[r for r in tokens if (len(tokens[r]) <= NARROW) == narrow] for narrow in (True, False)]
        blocks = [Block(rows, [len(self.held[r]) for r in rows], [len(tokens[r]) for r in rows], device)
                  for rows in map(sorted, groups) if rows]
        order = [r for block in blocks for r in block.slots]
        positions = torch.tensor([len(self.held[r]) + k for r in order for k in range(len(tokens[r]))],
                                 device=device)
        slots = torch.tensor([r for r in order for _ in tokens[r]], device=device)
        self.cache.begin(max(block.columns for block in blocks), slots, positions)
        ids = torch.tensor([[token for r in order for token in tokens[r]]], device=device)
        # A 4-D mask is passed on as it is; without one transformers would build its own, for one row.
        hidden = self.decoder(
            input_ids=ids, position_ids=positions[None], past_key_values=self.cache, use_cache=True,
            attention_mask=ids.new_ones((1, 1, 1, 1)), row_blocks=blocks).last_hidden_state[0]
        ends, at = {}, -1
        for r in order:
            at += len(tokens[r])
            ends[r] = at
            self.held[r] += tokens[r]
        self.forwards += 1
        self.fed += ids.shape[1]
        return hidden[torch.tensor([ends[r] for r in tokens], device=device)]


def _common(held: Sequence[int], tokens: Sequence[int]) -> int:
    """Length of the common beginning, short of all of `tokens`: the last must be fed for its hidden state."""
    longest = min(len(held), len(tokens) - 1)
    return next((k for k in range(longest) if held[k] != tokens[k]), max(longest, 0))
