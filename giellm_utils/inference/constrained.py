"""Greedy decoding under a grammar, with no work that the grammar makes needless.

Four levers, each exact in fp32: the output layer scores only the tokens that the grammar allows (it is
168 M of Gemma-3-270M's 268 M parameters); tokens that the grammar forces ride along with the next
step; a finished row leaves and a waiting one takes its place in the same step; a prompt that begins as
one in the cache does (several tasks on one text) takes that beginning over.
Sources: continuous batching, Orca (Yu et al., OSDI 2022); forced tokens, llguidance `compute_ff_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from os.path import commonprefix
from typing import Any, NamedTuple, TYPE_CHECKING, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.schema import Level
from giellm_utils.inference.body import body_of
from giellm_utils.inference.kv_rows import PackedRows
from giellm_utils.inference.matcher import allowed_ids, GrammarError, OutputConstraint, OutputMatcher
from giellm_utils.models.pieces import tokenizable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from giellm_utils.models.weights import Weights

#: Tokens a row feeds in one step at most: bounds the attention mask of a long prompt.
CHUNK = 512
#: Requests read ahead, times the batch size: they are sorted, so that rows prefilled together are alike.
WINDOW = 16


class DecodingError(GiellmError, ValueError):
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


class Choice(NamedTuple):
    """One token that was chosen among others: the characters [start, end) of the output that it writes (a
    part of a character counts as that character, the end of sequence writes none), and the natural
    logarithm of its probability among the tokens that the grammar allowed there."""

    start: int
    end: int
    log_probability: float


class Output(TypedDict):
    """`tokens`: new ones, the end of sequence not counted; `steps`: forward passes of the model that
    this row took part in, its prefill included; `choices`: in order, forced tokens are
    none; None from a decoder that does not know its probabilities."""

    output: str
    truncated: bool
    tokens: int
    steps: int
    choices: tuple[Choice, ...] | None


# -- scoring -------------------------------------------------------------------------------------

Allowed = Sequence[NDArray[np.intp]]
#: The best token of each row and the logarithm of its probability among the allowed ones.
Chosen = tuple[list[int], list[float]]
#: (output layer, hidden [B, H], ascending allowed ids of each row) -> what is chosen.
Scorer = Callable[[torch.nn.Linear, torch.Tensor, Allowed], Chosen]
#: (number of the request, why it cannot be decoded)
OnError = Callable[[int, str], None]


def score_union(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Allowed) -> Chosen:
    """One product over the union of the rows' tokens, masked per row; in fp32 whatever the model's type.

    Exact for greedy decoding: what a monotone soft cap of the logits does is left out (of the
    probabilities too).
    """
    union, where = np.unique(np.concatenate(allowed), return_inverse=True)
    shut = np.ones((len(allowed), len(union)), dtype=bool)
    shut[np.repeat(np.arange(len(allowed)), [len(ids) for ids in allowed]), where] = False
    scores = _rows(head, hidden, union, lambda x, rows: x @ rows.T)
    scores = scores.masked_fill(torch.from_numpy(shut).to(scores.device), float("-inf"))
    best = scores.argmax(dim=-1)
    sure = scores.gather(1, best[:, None])[:, 0] - scores.logsumexp(dim=-1)
    return union[best.cpu().numpy()].tolist(), sure.tolist()


def score_gather(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Allowed) -> Chosen:
    """Every row times its own tokens, nothing masked; as exact as score_union."""
    counts = [len(ids) for ids in allowed]
    row = torch.from_numpy(np.repeat(np.arange(len(allowed)), counts)).to(hidden.device)
    scores = _rows(head, hidden, np.concatenate(allowed), lambda x, rows: (x[row] * rows).sum(dim=-1))
    return _best(allowed, scores.cpu().split(counts))


def score_full(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Allowed) -> Chosen:
    """The whole output layer in the model's own type, then masked: what the others are measured against."""
    logits = head(hidden)
    return _best(allowed, [logits[i, torch.from_numpy(ids).to(logits.device)].float()
                           for i, ids in enumerate(allowed)])


def _best(allowed: Allowed, scores: Sequence[torch.Tensor]) -> Chosen:
    """Of each row, whose `scores` are those of its `allowed` tokens."""
    best = [int(part.argmax()) for part in scores]
    return ([int(ids[at]) for ids, at in zip(allowed, best, strict=True)],
            [float(part[at] - part.logsumexp(0)) for part, at in zip(scores, best, strict=True)])


def _rows(head: torch.nn.Linear, hidden: torch.Tensor, ids: NDArray[np.intp], product) -> torch.Tensor:
    index = torch.from_numpy(ids).to(head.weight.device)
    scores = product(hidden.float(), head.weight[index].float())
    return scores if head.bias is None else scores + head.bias[index].float()


# -- the decoder ---------------------------------------------------------------------------------


@dataclass(eq=False)
class _Row:
    index: int
    request: Request
    #: Tokens to feed before the next one is chosen: the prompt, then a chosen token and what it forces.
    pending: list[int]
    end: int
    matcher: OutputMatcher | None = None
    tokens: list[int] = field(default_factory=list)
    #: (place in `tokens` of a token that was chosen, the logarithm of its probability)
    choices: list[tuple[int, float]] = field(default_factory=list)
    allowed: NDArray[np.intp] | None = None
    truncated: bool = False
    error: str = ""
    steps: int = 0


class ConstrainedDecoder:
    """Greedy outputs of `model` under the grammars of `constraints` (task -> OutputConstraint).

    `model`: a causal language model of transformers, LoRA merged, with its whole output layer, or Weights;
    it is left as it is, and decoded as it is now. `tokenizer`: of transformers, or a TextTokenizer.
    `score`, `force`, `refill`, `share` and `lean` (body.LeanBody) switch the levers (for measuring them).
    Forced tokens are the tokenizer's canonical ones: without `force` the model may spell a forced string in
    other tokens. `forwards` and `fed` count forward passes and the tokens they computed, over all calls.
    Raises DecodingError where the model has no plain output layer, BorrowError as body_of does.
    """

    def __init__(self, model: PreTrainedModel | Weights, tokenizer: Any,
                 constraints: Mapping[str, OutputConstraint], *, batch_size: int, score: Scorer = score_union,
                 force: bool = True, refill: bool = True, share: bool = True, lean: bool = True) -> None:
        if batch_size < 1:
            raise DecodingError(f"batch_size is {batch_size}; give 1 or more")
        self.tokenizer, self.constraints = tokenizer, constraints
        self.batch_size, self.score = batch_size, score
        self.force, self.refill, self.share = force, refill, share
        self.head = model.get_output_embeddings()
        if not isinstance(self.head, torch.nn.Linear):
            raise DecodingError(f"the model's output layer is a {type(self.head).__name__}, not the whole "
                                "Linear; set it back before constrained decoding")
        self.longest = context(model) or 1 << 30
        self.body = body_of(model, lean)
        self.forwards = self.fed = 0

    def decode(self, requests: Iterable[Request],
               on_error: OnError | None = None) -> Iterator[tuple[int, Output]]:
        """(number of the request, its output), as each is finished; reads WINDOW * batch_size ahead.

        A request that cannot be decoded (unknown task, longer than the model's context, a text too large
        for a grammar) goes to `on_error`, or raises DecodingError where none is given.
        """
        source, over = enumerate(requests), []
        read = list(islice(source, WINDOW * self.batch_size))
        waiting, more = self._read(read, over), bool(read)
        # One text alone needs no room for a batch.
        rows = min(self.batch_size, max(1, len(read)))
        packed, slots = PackedRows(self.body, rows), [None] * rows
        while more or waiting or over or any(slots):
            if self.refill or not any(slots):
                if more and len(waiting) < self.batch_size:
                    read = list(islice(source, WINDOW * self.batch_size))
                    more = bool(read)
                    waiting += self._read(read, over)
                over += self._fill(slots, waiting, packed)
            if any(slots):
                over += self._step(slots, packed)
            for row in over:
                if not row.error:
                    yield row.index, self._output(row)
                elif on_error:
                    on_error(row.index, row.error)
                else:
                    raise DecodingError(f"request {row.index}: {row.error}")
            self.forwards, self.fed = self.forwards + packed.forwards, self.fed + packed.fed
            packed.forwards = packed.fed = 0
            over = []

    def _read(self, numbered: list[tuple[int, Request]], over: list[_Row]) -> list[_Row]:
        """Rows of the next requests, those of one text side by side, the longest texts first: begun last,
        they would be decoded alone in the end."""
        if not numbered:
            return []
        prompts = [tokenizable(request.prompt) for _, request in numbered]
        rows = []
        for (index, request), ids in zip(numbered, self.tokenizer(prompts).input_ids, strict=True):
            row = _Row(index, request, ids, -1)
            if request.task not in self.constraints:
                row.error = f"no grammar for task {request.task!r}; there are {', '.join(self.constraints)}"
            elif len(ids) + request.budget > self.longest:
                row.error = (f"{len(ids)} tokens and {request.budget} new ones pass the model's context of "
                             f"{self.longest}; cut the text")
            else:
                row.end = self.constraints[request.task].tokenizer.eos_token
            (over if row.error else rows).append(row)
        return sorted(rows, key=lambda row: (-len(row.request.text), row.request.text, row.index))

    def _fill(self, slots: list[_Row | None], waiting: list[_Row], packed: PackedRows) -> list[_Row]:
        """Waiting rows into free slots; returns those whose output is forced from end to end, or faulty."""
        texts, passed, over = set(), [], []
        while waiting and None in slots:
            row = waiting.pop(0)
            text = row.request.text
            if self.share and text in texts:
                passed.append(row)  # a step later it can take over what its text's other row computes now
                continue
            try:
                row.matcher = self.constraints[row.request.task].matcher(text, row.request.level)
            except GrammarError as error:
                row.error = f"its grammar does not compile ({error}); cut the text"
            if row.error or self._settle({row: ()}):
                over.append(row)
                continue
            free = [i for i, other in enumerate(slots) if other is None]
            slot, shared = packed.start(row.pending, free, self.share)
            del row.pending[:shared]
            slots[slot] = row
            texts.add(text)
        waiting[:0] = passed
        return over

    def _step(self, slots: list[_Row | None], packed: PackedRows) -> list[_Row]:
        """One forward pass of all rows; returns, and takes out, those whose output is over."""
        live = {i: row for i, row in enumerate(slots) if row}
        hidden = packed.feed({i: row.pending[:CHUNK] for i, row in live.items()})
        for row in live.values():
            row.steps += 1
            del row.pending[:CHUNK]
        ready = [(k, i) for k, (i, row) in enumerate(live.items()) if not row.pending]
        if not ready:
            return []
        with torch.inference_mode():
            chosen, sure = self.score(self.head, hidden[[k for k, _ in ready]],
                                      [live[i].allowed for _, i in ready])
        for (_, i), log_probability in zip(ready, sure, strict=True):
            live[i].choices.append((len(live[i].tokens), log_probability))
        over = self._settle({live[i]: [token] for (_, i), token in zip(ready, chosen, strict=True)})
        for i, row in live.items():
            if row in over:
                slots[i] = None
        return over

    def _settle(self, chosen: Mapping[_Row, Sequence[int]]) -> list[_Row]:
        """Take what was chosen for each row and all tokens that are then forced; the rows that are over.

        The others hold in `allowed` the tokens to choose from. Forced tokens cost no step, so they alone
        may pass the budget.
        """
        over: list[_Row] = []
        while chosen:
            asking = []
            for row, tokens in chosen.items():
                try:
                    (over if self._write(row, tokens) else asking).append(row)
                except GrammarError as error:
                    _fail(row, error)
                    over.append(row)
            chosen = {}
            for row, found in zip(asking, allowed_ids([row.matcher for row in asking]), strict=True):
                if isinstance(found, GrammarError):
                    _fail(row, found)
                    over.append(row)
                    continue
                row.allowed = found
                if len(found) == 1 and self.force:
                    chosen[row] = found.tolist()
        return over

    def _write(self, row: _Row, chosen: Sequence[int]) -> bool:
        """Take `chosen` and what is then forced; whether the output ends with it."""
        while True:
            for token in chosen:
                row.matcher.consume(token)
            written = [token for token in chosen if token != row.end]
            row.tokens += written
            row.pending += written
            if row.matcher.is_finished():
                return True
            chosen = row.matcher.forced_tokens() if self.force else ()
            if not chosen:
                row.truncated = len(row.tokens) >= row.request.budget
                return row.truncated

    def _output(self, row: _Row) -> Output:
        request, constraint = row.request, self.constraints[row.request.task]
        pieces = [constraint.tokenizer.decode_bytes([token]) for token in row.tokens]
        # Only a cut output can end inside a character.
        errors = "ignore" if row.truncated else "strict"
        output = b"".join(pieces).decode("utf-8", errors)
        choices = _choices(row, pieces)
        if row.truncated:
            written, output = output, constraint.fmt.close(output, request.level, request.text)
            kept = len(commonprefix([written, output]))
            choices = tuple(c._replace(end=min(c.end, kept)) for c in choices if c.start < kept)
        return {"output": output, "truncated": row.truncated, "tokens": len(row.tokens), "steps": row.steps,
                "choices": choices}


def _choices(row: _Row, pieces: Sequence[bytes]) -> tuple[Choice, ...]:
    """The choices of `row` with their characters; `pieces`: the bytes of its tokens."""
    # Characters begun in all pieces before each one: a byte begins one unless it is 10xxxxxx.
    begun = [0, *accumulate(sum(byte & 0xC0 != 0x80 for byte in piece) for piece in pieces)]
    found = []
    for at, log_probability in row.choices:
        written = at < len(pieces) and pieces[at]
        inside = bool(written) and written[0] & 0xC0 == 0x80
        found.append(Choice(begun[at] - inside, begun[min(at + 1, len(pieces))], log_probability))
    return tuple(found)


def _fail(row: _Row, error: GrammarError) -> None:
    row.error = f"its grammar failed ({error}); cut the text"


def context(model: PreTrainedModel | Weights) -> int | None:
    """Positions that the model knows; None where it does not say."""
    if hasattr(model, "shape"):
        return model.shape.context
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def argmax_flips(model: PreTrainedModel, tokenizer: Any,
                 constraints: Mapping[str, OutputConstraint], requests: Iterable[Request], *,
                 batch_size: int) -> tuple[int, int]:
    """(choices where scoring the allowed rows and the full output layer differ, all choices).

    Both see the same hidden states. In fp32 the first is 0; in bf16 the full layer rounds its logits to
    8 bits, so near ties fall otherwise.
    """
    flips = choices = 0

    def both(head: torch.nn.Linear, hidden: torch.Tensor, allowed: Allowed) -> Chosen:
        nonlocal flips, choices
        best, sure = score_union(head, hidden, allowed)
        flips += sum(a != b for a, b in zip(best, score_full(head, hidden, allowed)[0], strict=True))
        choices += len(best)
        return best, sure

    decoder = ConstrainedDecoder(model, tokenizer, constraints, batch_size=batch_size, score=both)
    for _ in decoder.decode(requests):
        pass
    return flips, choices
