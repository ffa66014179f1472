"""Packed rows: one forward pass of sequences that feed different numbers of tokens.

The tokens of all rows stand one after the other in [T, ...]; every linear layer sees them so, with no
padding. Only attention knows rows: `RowCache` keeps a row's keys and values in the column of their
position, `attend` lets each row look at its own, rows alike in one block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol

import torch

#: A shared beginning shorter than this is not worth its copy.
SHARED = 8
#: Attention of a row takes about (PACKING + its new tokens) * its columns; another block takes about
#: BLOCK of these (0.06 us each on one core: a hundred us of calls).
PACKING, BLOCK = 2, 1500


class Block:
    """Rows of one step that attend together: `counts` new tokens each, `starts` tokens before them.

    Tokens are padded to [B, K] here and nowhere else, and not where all counts are K; `slots` are the rows'
    places in the cache.
    """

    def __init__(self, slots: Sequence[int], starts: Sequence[int], counts: Sequence[int],
                 device: torch.device) -> None:
        self.slots, self.rows, self.width, self.tokens = slots, len(slots), max(counts), sum(counts)
        ends = [start + count for start, count in zip(starts, counts, strict=True)]
        self.columns, self.device = max(ends), device
        self.even = min(counts) == self.width
        if not self.even:
            real = torch.arange(self.width) < torch.tensor(counts)[:, None]
            self.real = real.flatten().nonzero()[:, 0].to(device)
            # Padding repeats the first token; what comes of it is thrown away.
            index = torch.zeros(real.shape, dtype=torch.long)
            index[real] = torch.arange(self.tokens)
            self.index = index.flatten().to(device)
        # One token each that sees all columns: nothing to shut out.
        self.open = self.width == 1 and min(ends) == self.columns
        self.positions = (torch.tensor(starts)[:, None] + torch.arange(self.width)).to(device)
        # A slice costs no copy of the cache.
        together = list(slots) == list(range(slots[0], slots[0] + len(slots)))
        self.take = slice(slots[0], slots[-1] + 1) if together else torch.tensor(slots, device=device)
        self._masks: dict[tuple[int | None, int], torch.Tensor] = {}

    def mask(self, window: int | None, group: int, dtype: torch.dtype) -> torch.Tensor | None:
        """[B, 1, group * K, C], -inf where a token may not look (the K tokens stand `group` times); None
        where all may look everywhere. Columns are positions, so that is its own past, `window` tokens of
        it with itself."""
        if window is not None and self.columns <= window:
            window = None
        if self.open and window is None:
            return None
        if (window, group) not in self._masks:
            columns, own = torch.arange(self.columns, device=self.device), self.positions[:, None, :, None]
            shut = columns > own
            if window is not None:
                shut |= columns <= own - window
            mask = torch.zeros(shut.shape, dtype=dtype, device=self.device)
            self._masks[window, group] = mask.masked_fill_(shut, float("-inf")).repeat(1, 1, group, 1)
        return self._masks[window, group]

    def held(self, buffer: torch.Tensor) -> torch.Tensor:
        """The rows of this block in a buffer of RowCache: [B, heads, C, D]."""
        seen = buffer[:, :, :self.columns]
        return seen[self.take] if isinstance(self.take, slice) else seen.index_select(0, self.take)


def blocks(rows: Sequence[tuple[int, int, int]], device: torch.device) -> list[Block]:
    """Blocks of `rows`, (slot, tokens before, new tokens) each: rows alike together, so that little is
    padding, and few blocks. The tokens of a step stand in their order."""
    found: list[list[tuple[int, int, int]]] = []
    own = longest = widest = 0
    for row in sorted(rows, key=lambda row: (row[2], row[1] + row[2], row[0])):
        columns, count = row[1] + row[2], row[2]
        if found:
            padded = (len(found[-1]) + 1) * max(longest, columns) * (PACKING + max(widest, count))
            if padded - own - columns * (PACKING + count) <= BLOCK:
                own += columns * (PACKING + count)
                longest, widest = max(longest, columns), max(widest, count)
                found[-1].append(row)
                continue
        found.append([row])
        own, longest, widest = columns * (PACKING + count), columns, count
    return [Block(*zip(*block, strict=True), device) for block in found]


def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, into: Sequence[Block],
           scaling: float, window: int | None) -> torch.Tensor:
    """query [T, heads, D], in the blocks' order, over the buffers of RowCache -> [T, heads * D].

    Query heads that share a key head are stacked along the tokens, so that the keys are never repeated.
    """
    heads, size, shared = query.shape[1], query.shape[2], keys.shape[1]
    group, at, outputs = heads // shared, 0, []
    for block in into:
        q = query[at:at + block.tokens]
        at += block.tokens
        if not block.even:
            q = q.index_select(0, block.index)
        q = q.view(block.rows, block.width, shared, group, size).permute(0, 2, 3, 1, 4)
        out = torch.nn.functional.scaled_dot_product_attention(
            q.reshape(block.rows, shared, group * block.width, size), block.held(keys), block.held(values),
            attn_mask=block.mask(window, group, q.dtype), scale=scaling)
        out = out.view(block.rows, shared, group, block.width, size).permute(0, 3, 1, 2, 4)
        out = out.reshape(block.rows * block.width, heads * size)
        outputs.append(out if block.even else out.index_select(0, block.real))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


class RowCache:
    """Keys and values of `rows` sequences of different lengths; a token's column is its position.

    There are no holes and nothing is ever compacted: a new token overwrites what an earlier sequence
    left in its column, and no mask reaches beyond a sequence's own tokens. Buffers [R, heads, C, D] a
    layer grow with the longest sequence.
    """

    def __init__(self, rows: int) -> None:
        self.rows, self.columns = rows, 0
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def begin(self, columns: int, slots: torch.Tensor, positions: torch.Tensor) -> None:
        """The next tokens go to `slots` [T] at `positions` [T], all below `columns`."""
        self._slots, self._positions, self._places = slots, positions, None
        self.columns = max(self.columns, -(-columns // 64) * 64)

    def keep(self, keys: torch.Tensor, values: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep keys and values [T, heads, D] of one layer; returns its buffers [R, heads, C, D]."""
        heads, size = keys.shape[1:]
        old = self.layers.get(layer)
        if old is None or old[0].shape[2] < self.columns:
            new = [keys.new_zeros(self.rows, heads, self.columns, size) for _ in range(2)]
            for buffer, before in zip(new, old or (), strict=False):
                buffer[:, :, :before.shape[2]] = before
            self.layers[layer] = tuple(new)
        if self._places is None:
            rows = self._slots[:, None] * heads + torch.arange(heads, device=keys.device)
            self._places = (rows * self.columns + self._positions[:, None]).flatten()
        for buffer, new in zip(self.layers[layer], (keys, values), strict=True):
            buffer.view(-1, size).index_copy_(0, self._places, new.reshape(-1, size))
        return self.layers[layer]

    def copy(self, source: int, target: int, columns: int) -> None:
        """Give row `target` the first `columns` tokens of row `source`."""
        for buffers in self.layers.values():
            for buffer in buffers:
                buffer[target, :, :columns] = buffer[source, :, :columns]


class Step:
    """What one forward pass computes: `ids` and `positions` [T] of the tokens, row by row as in `blocks`.

    `last`: blocks of the last token of each row alone; `ends` [rows]: where these stand among the T, in the
    order of `last`; `rows`: their places in the cache, in that order.
    """

    def __init__(self, new: Mapping[int, Sequence[int]], before: Sequence[int], device: torch.device) -> None:
        self.blocks = blocks([(r, before[r], len(new[r])) for r in new], device)
        order = [r for block in self.blocks for r in block.slots]
        self.ids = torch.tensor([token for r in order for token in new[r]], device=device)
        self.positions = torch.tensor([before[r] + k for r in order for k in range(len(new[r]))],
                                      device=device)
        self.slots = torch.tensor([r for r in order for _ in new[r]], device=device)
        self.columns = max(block.columns for block in self.blocks)
        self.last = blocks([(r, before[r] + len(new[r]) - 1, 1) for r in new], device)
        self.rows = [r for block in self.last for r in block.slots]
        at = dict(zip(order, accumulate(len(new[r]) for r in order), strict=True))
        self.ends = torch.tensor([at[r] - 1 for r in self.rows], device=device)


class Body(Protocol):
    """A decoder without its output layer, over packed rows."""

    device: torch.device

    def __call__(self, step: Step, cache: RowCache) -> torch.Tensor:
        """The hidden states [rows, H] of each row's last token, in the order of `step.rows`."""
        ...


class PackedRows:
    """`rows` sequences of one model that grow by feeding tokens.

    `held`: the tokens of each row; they stay, for `start` to reuse, until another sequence starts there.
    `forwards` and `fed` count forward passes and the tokens they computed.
    """

    def __init__(self, body: Body, rows: int) -> None:
        self.body, self.cache = body, RowCache(rows)
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
        step = Step(tokens, [len(held) for held in self.held], self.body.device)
        self.cache.begin(step.columns, step.slots, step.positions)
        hidden = self.body(step, self.cache)
        for r, new in tokens.items():
            self.held[r] += new
        self.forwards += 1
        self.fed += len(step.ids)
        place = {r: k for k, r in enumerate(step.rows)}
        return hidden[torch.tensor([place[r] for r in tokens], device=hidden.device)]


def _common(held: Sequence[int], tokens: Sequence[int]) -> int:
    """Length of the common beginning, short of all of `tokens`: the last must be fed for its hidden state."""
    longest = min(len(held), len(tokens) - 1)
    return next((k for k in range(longest) if held[k] != tokens[k]), max(longest, 0))
