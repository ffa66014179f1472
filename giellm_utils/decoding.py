"""Greedy decoding under a grammar, with no work that the grammar makes needless.

Four levers, each exact in fp32: the output layer scores only the tokens that the grammar allows (it is
168 M of Gemma-3-270M's 268 M parameters); tokens that the grammar forces ride along with the next
step; a finished row leaves and a waiting one takes its place in the same step; a prompt that begins as
one in the cache does (several tasks on one text) copies that beginning.

Rows of one step feed different numbers of tokens, so a step is packed: [1, T] tokens of all rows, one
after the other, and nothing is padded but inside attention (`rows_attention`). Sources: continuous
batching, Orca (Yu et al., OSDI 2022); forced tokens, llguidance `compute_ff_tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface, PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.grammar import GrammarError, OutputConstraint, OutputMatcher, close_output
from giellm_utils.schema import Level

ATTENTION = "giellm_rows"
#: Tokens a row feeds in one step at most: bounds the attention mask of a long prompt.
CHUNK = 512
#: Rows that feed at most this many tokens attend together, the others in a block of their own: padding
#: every row to the longest waiting prompt would cost more than the second call.
NARROW = 8
#: A shared beginning shorter than this is not worth its copy.
SHARED = 8
#: Requests read ahead, times the batch size: they are sorted, so that rows prefilled together are alike.
WINDOW = 16
_SURROGATES = re.compile("[\ud800-\udfff]")


class DecodingError(ValueError):
    """A request or a model that cannot be decoded; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Request:
    """One prompt and what is known of its output. `text` is the source of all spans, unescaped; `task` a
    key of the decoder's constraints; `budget` new tokens, the end of sequence among them."""

    prompt: str
    text: str
    task: str
    level: Level
    budget: int


class Output(TypedDict):
    """`tokens`: new ones, the end of sequence not counted; `steps`: forward passes of the model that
    this row took part in, its prefill included."""

    output: str
    truncated: bool
    tokens: int
    steps: int


# -- scoring -------------------------------------------------------------------------------------

#: (output layer, hidden [B, H], ascending allowed ids of each row) -> the best token of each row.
Scorer = Callable[[torch.nn.Linear, torch.Tensor, Sequence[NDArray[np.intp]]], list[int]]


def score_union(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Sequence[NDArray[np.intp]]) -> list[int]:
    """One product over the union of the rows' tokens, masked per row; in fp32 whatever the model's type.

    Exact for greedy decoding: what a monotone soft cap of the logits does is left out.
    """
    union, where = np.unique(np.concatenate(allowed), return_inverse=True)
    shut = np.ones((len(allowed), len(union)), dtype=bool)
    shut[np.repeat(np.arange(len(allowed)), [len(ids) for ids in allowed]), where] = False
    scores = _rows(head, hidden, union, lambda x, rows: x @ rows.T)
    best = scores.masked_fill(torch.from_numpy(shut).to(scores.device), float("-inf")).argmax(dim=-1)
    return union[best.cpu().numpy()].tolist()


def score_gather(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Sequence[NDArray[np.intp]]) -> list[int]:
    """Every row times its own tokens, nothing masked; as exact as score_union."""
    counts = [len(ids) for ids in allowed]
    row = torch.from_numpy(np.repeat(np.arange(len(allowed)), counts)).to(hidden.device)
    scores = _rows(head, hidden, np.concatenate(allowed), lambda x, rows: (x[row] * rows).sum(dim=-1))
    return [int(ids[part.argmax().item()]) for ids, part in zip(allowed, scores.cpu().split(counts), strict=True)]


def score_full(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Sequence[NDArray[np.intp]]) -> list[int]:
    """The whole output layer in the model's own type, then masked: what the others are measured against."""
    logits = head(hidden)
    return [int(ids[logits[i, torch.from_numpy(ids).to(logits.device)].argmax().item()])
            for i, ids in enumerate(allowed)]


def _rows(head: torch.nn.Linear, hidden: torch.Tensor, ids: NDArray[np.intp], product) -> torch.Tensor:
    index = torch.from_numpy(ids).to(head.weight.device)
    scores = product(hidden.float(), head.weight[index].float())
    return scores if head.bias is None else scores + head.bias[index].float()


# -- the decoder ---------------------------------------------------------------------------------


@dataclass
class _Row:
    index: int
    request: Request
    #: Tokens to feed before the next one is chosen: the prompt, then a chosen token and what it forces.
    pending: list[int]
    matcher: OutputMatcher | None = None
    tokens: list[int] = field(default_factory=list)
    allowed: NDArray[np.intp] | None = None
    truncated: bool = False
    steps: int = 0


class ConstrainedDecoder:
    """Greedy outputs of `model` under the grammars of `constraints` (task -> OutputConstraint).

    `model`: a causal language model of transformers, LoRA merged, with its whole output layer; `score`,
    `force`, `refill` and `share` switch the levers (for measuring them). Forced tokens are the
    tokenizer's canonical ones: without `force` the model may spell a forced string in other tokens.
    Raises DecodingError where the model has no plain output layer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast,
                 constraints: Mapping[str, OutputConstraint], *, batch_size: int, score: Scorer = score_union,
                 force: bool = True, refill: bool = True, share: bool = True) -> None:
        if batch_size < 1:
            raise DecodingError(f"batch_size is {batch_size}; give 1 or more")
        self.model, self.tokenizer, self.constraints = model.eval(), tokenizer, constraints
        self.batch_size, self.score, self.force, self.refill, self.share = batch_size, score, force, refill, share
        self.decoder, self.head = model.get_decoder(), model.get_output_embeddings()
        if not isinstance(self.head, torch.nn.Linear):
            raise DecodingError(f"the model's output layer is a {type(self.head).__name__}, not the whole Linear; "
                                "set it back before constrained decoding")
        self.longest = getattr(self.decoder.config, "max_position_embeddings", None) or 1 << 30
        #: Forward passes so far, and tokens they fed.
        self.forwards = self.fed = 0

    def decode(self, requests: Iterable[Request],
               on_error: Callable[[int, str], None] | None = None) -> Iterator[tuple[int, Output]]:
        """(number of the request, its output), as each is finished; reads WINDOW * batch_size ahead.

        A request that cannot be decoded (unknown task, longer than the model's context, a text whose
        grammar is too large) goes to `on_error`, or raises DecodingError where none is given.
        """
        slots: list[_Row | None] = [None] * self.batch_size
        held: list[list[int]] = [[] for _ in slots]  # the tokens in each row of the cache
        cache, waiting, source = RowCache(self.batch_size), [], enumerate(requests)
        while True:
            if self.refill or not any(slots):
                if len(waiting) < self.batch_size:
                    waiting += self._read(list(islice(source, WINDOW * self.batch_size)), on_error)
                yield from self._fill(slots, held, waiting, cache, on_error)
            live = [i for i, row in enumerate(slots) if row]
            if not live:
                if waiting:
                    continue
                return
            for i in self._step(live, slots, held, cache):
                yield self._finished(slots[i])
                slots[i] = None

    def _read(self, numbered: list[tuple[int, Request]], on_error) -> list[_Row]:
        """Rows of the next requests, those of one text side by side, texts by length."""
        if not numbered:
            return []
        # The tokenizer takes no lone surrogates; one for one, so that lengths stay.
        prompts = [_SURROGATES.sub("\ufffd", request.prompt) for _, request in numbered]
        rows = []
        for (index, request), ids in zip(numbered, self.tokenizer(prompts).input_ids, strict=True):
            if request.task not in self.constraints:
                self._refuse(index, f"no grammar for task {request.task!r}; there are {', '.join(self.constraints)}",
                             on_error)
            elif len(ids) + request.budget > self.longest:
                self._refuse(index, f"{len(ids)} tokens and {request.budget} new ones pass the model's context of "
                             f"{self.longest}; cut the text", on_error)
            else:
                rows.append(_Row(index, request, ids))
        return sorted(rows, key=lambda row: (len(row.request.text), row.request.text, row.index))

    @staticmethod
    def _refuse(index: int, reason: str, on_error) -> None:
        if on_error is None:
            raise DecodingError(f"request {index}: {reason}")
        on_error(index, reason)

    def _fill(self, slots, held, waiting: list[_Row], cache: RowCache, on_error) -> Iterator[tuple[int, Output]]:
        """Waiting rows into free slots; an output that is forced from end to end never takes one."""
        texts, passed = set(), []
        while waiting and None in slots:
            row = waiting.pop(0)
            if self.share and row.request.text in texts:
                passed.append(row)  # one step later it can copy what the other row of its text computes now
                continue
            request = row.request
            try:
                row.matcher = self.constraints[request.task].matcher(request.text, request.level)
                done = self._settle(row)
            except (GrammarError, UnicodeEncodeError) as error:
                self._refuse(row.index, f"its grammar does not compile ({error}); cut the text", on_error)
                continue
            if done:
                yield self._finished(row)
                continue
            free = [i for i, other in enumerate(slots) if other is None]
            slot, shared = free[0], 0
            if self.share:
                donor, shared = max(((i, _common(held[i], row.pending)) for i in range(len(held))), key=lambda p: p[1])
                if shared < SHARED:
                    shared = 0
                elif donor in free:
                    slot = donor
                else:
                    cache.copy(donor, slot, shared)
            held[slot], row.pending = row.pending[:shared], row.pending[shared:]
            slots[slot] = row
            texts.add(request.text)
        waiting[:0] = passed

    def _settle(self, row: _Row) -> bool:
        """Take the tokens that are forced here; whether the output is over. Else `allowed` is set."""
        end = self.constraints[row.request.task].tokenizer.eos_token
        while not row.matcher.is_finished():
            # Forced tokens cost no step, so they alone may pass the budget.
            forced = row.matcher.forced_tokens() if self.force else []
            if not forced:
                if len(row.tokens) >= row.request.budget:
                    row.truncated = True
                    return True
                row.allowed = row.matcher.allowed_ids()
                if not self.force or len(row.allowed) > 1:
                    return False
                forced = row.allowed.tolist()
            for token in forced:
                row.matcher.consume(token)
            new = [token for token in forced if token != end]
            row.tokens += new
            row.pending += new
        return True

    @torch.inference_mode()
    def _step(self, live: list[int], slots, held, cache: RowCache) -> list[int]:
        """One forward pass of the rows in `live`; returns the slots whose output is over."""
        fed = {i: slots[i].pending[:CHUNK] for i in live}
        groups = [g for g in ([i for i in live if len(fed[i]) <= NARROW], [i for i in live if len(fed[i]) > NARROW]) if g]
        order, device = [i for group in groups for i in group], self.head.weight.device
        starts, counts = {i: len(held[i]) for i in live}, {i: len(fed[i]) for i in live}
        blocks = [Block(g, [starts[i] for i in g], [counts[i] for i in g], device) for g in groups]
        positions = torch.tensor([p for i in order for p in range(starts[i], starts[i] + counts[i])], device=device)
        cache.begin(blocks, torch.tensor([i for i in order for _ in fed[i]], device=device), positions)
        hidden = self._forward(torch.tensor([[t for i in order for t in fed[i]]], device=device), positions, cache)
        self.forwards += 1
        self.fed += len(positions)
        lasts = dict(zip(order, np.cumsum([counts[i] for i in order]) - 1, strict=True))
        for i in live:
            slots[i].steps += 1
            held[i] += fed[i]
            del slots[i].pending[:CHUNK]
        ready = [i for i in order if not slots[i].pending]
        if not ready:
            return []
        last = torch.tensor([lasts[i] for i in ready], device=device)
        over = []
        for i, token in zip(ready, self.score(self.head, hidden[last], [slots[i].allowed for i in ready]), strict=True):
            slots[i].matcher.consume(token)
            if token != self.constraints[slots[i].request.task].tokenizer.eos_token:
                slots[i].tokens.append(token)
                slots[i].pending.append(token)
            if self._settle(slots[i]):
                over.append(i)
        return over

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, cache: RowCache) -> torch.Tensor:
        """Hidden states [T, H] of packed tokens [1, T]."""
        config = self.decoder.config
        before, config._attn_implementation = config._attn_implementation, ATTENTION
        try:
            # A 4-D mask is passed on as it is: without one transformers would build its own, for one row.
            outputs = self.decoder(input_ids=ids, position_ids=positions[None], past_key_values=cache, use_cache=True,
                                   attention_mask=ids.new_ones((1, 1, 1, 1)), row_blocks=cache.blocks)
        finally:
            config._attn_implementation = before
        return outputs.last_hidden_state[0]

    def _finished(self, row: _Row) -> tuple[int, Output]:
        request, constraint = row.request, self.constraints[row.request.task]
        written = constraint.tokenizer.decode_bytes(row.tokens)
        # Only a cut output can end inside a character.
        output = written.decode("utf-8", errors="ignore" if row.truncated else "strict")
        if row.truncated:
            output = close_output(constraint.converter, request.level, request.text, output)
        return row.index, {"output": output, "truncated": row.truncated, "tokens": len(row.tokens), "steps": row.steps}


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning, at most len(b) - 1: a row must feed a token to get a hidden state."""
    longest = min(len(a), len(b) - 1)
    return next((k for k in range(longest) if a[k] != b[k]), max(longest, 0))


def argmax_flips(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, constraints: Mapping[str, OutputConstraint],
                 requests: Iterable[Request], *, batch_size: int) -> tuple[int, int]:
    """(choices where scoring the allowed rows and the full output layer differ, all choices).

    Both see the same hidden states. In fp32 the first is 0; in bf16 the full layer rounds its logits to
    8 bits, so near ties fall otherwise.
    """
    flips = choices = 0

    def both(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Sequence[NDArray[np.intp]]) -> list[int]:
        nonlocal flips, choices
        best = score_union(head, hidden, allowed)
        flips += sum(a != b for a, b in zip(best, score_full(head, hidden, allowed), strict=True))
        choices += len(best)
        return best

    for _ in ConstrainedDecoder(model, tokenizer, constraints, batch_size=batch_size, score=both).decode(requests):
        pass
    return flips, choices
