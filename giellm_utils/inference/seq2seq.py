"""Greedy decoding of an encoder and decoder (T5) under the grammars that decoder models are decoded with.

Plain: the library's generation, its choices cut to what each row's grammar allows. The levers of
`constrained` are written for one sequence of prompt and output, which such a model has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.inference.borrowed import borrow
from giellm_utils.inference.constrained import (
    ConstrainedDecoder,
    DecodingError,
    OnError,
    Output,
    Request,
    WINDOW,
)
from giellm_utils.inference.matcher import allowed_ids, GrammarError, OutputConstraint, OutputMatcher
from giellm_utils.inference.plain import left_padded
from giellm_utils.models.pieces import tokenizable


def grammar_decoder(model: Any, tokenizer: Any, constraints: Mapping[str, OutputConstraint], *,
                    batch_size: int) -> ConstrainedDecoder | EncoderDecoder:
    """What decodes `model` under grammars: ConstrainedDecoder for Weights and decoders. Raises as they do."""
    config = getattr(model, "config", None)
    kind = EncoderDecoder if config is not None and config.is_encoder_decoder else ConstrainedDecoder
    return kind(model, tokenizer, constraints, batch_size=batch_size)


class _UnderGrammars(LogitsProcessor):
    """Shuts every token of a row [V] that the row's grammar does not allow next.

    `faults`: row -> why its grammar failed; such a row, and one that is over, writes its end.
    """

    def __init__(self, matchers: Sequence[OutputMatcher], end: int) -> None:
        self.matchers, self.end, self.steps = matchers, end, 0
        self.faults: dict[int, str] = {}
        self.over: set[int] = set()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.steps:
            self._take(input_ids[:, -1].tolist())
        self.steps += 1
        shut = torch.full_like(scores, float("-inf"))
        going = [i for i in range(len(self.matchers)) if i not in self.over]
        for row, found in zip(going, allowed_ids([self.matchers[i] for i in going]), strict=True):
            if isinstance(found, GrammarError) or not len(found):
                self._fail(row, found if isinstance(found, GrammarError) else "nothing may follow")
                continue
            ids = torch.from_numpy(found.astype(np.int64)).to(scores.device)
            shut[row, ids] = scores[row, ids]
        shut[sorted(self.over), self.end] = 0
        return shut

    def _take(self, tokens: Sequence[int]) -> None:
        for row, token in enumerate(tokens):
            if row in self.over:
                continue
            if token == self.end:
                self.over.add(row)
                continue
            try:
                self.matchers[row].consume(token)
            except GrammarError as error:
                self._fail(row, error)

    def _fail(self, row: int, reason: object) -> None:
        self.faults[row] = f"its grammar failed ({reason}); cut the text"
        self.over.add(row)


class EncoderDecoder:
    """Greedy outputs of `model` (encoder and decoder) under `constraints` (task -> OutputConstraint).

    Used as a ConstrainedDecoder is; its outputs name no probabilities. `model` is left as it is. Raises
    DecodingError for a batch_size below 1.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast,
                 constraints: Mapping[str, OutputConstraint], *, batch_size: int) -> None:
        if batch_size < 1:
            raise DecodingError(f"batch_size is {batch_size}; give 1 or more")
        self.model, self.tokenizer, self.constraints = borrow(model), tokenizer, constraints
        self.batch_size = batch_size

    def decode(self, requests: Iterable[Request],
               on_error: OnError | None = None) -> Iterator[tuple[int, Output]]:
        """(number of the request, its output), batch by batch; reads WINDOW * batch_size ahead.

        A request that cannot be decoded goes to `on_error`, or raises DecodingError where none is given.
        """
        source = enumerate(requests)
        while read := list(islice(source, WINDOW * self.batch_size)):
            ready = []
            for index, request in read:
                try:
                    ready.append((index, request, self._matcher(request)))
                except (DecodingError, GrammarError) as error:
                    _tell(index, str(error), on_error)
            ready.sort(key=lambda one: len(one[1].prompt))
            for start in range(0, len(ready), self.batch_size):
                batch = ready[start:start + self.batch_size]
                for (index, _, _), made in zip(batch, self._write(batch), strict=True):
                    if isinstance(made, str):
                        _tell(index, made, on_error)
                    else:
                        yield index, made

    def _matcher(self, request: Request) -> OutputMatcher:
        if request.task not in self.constraints:
            raise DecodingError(f"no grammar for task {request.task!r}; there are "
                                f"{', '.join(self.constraints)}")
        return self.constraints[request.task].matcher(request.text, request.level)

    def _write(self, batch: Sequence[tuple[int, Request, OutputMatcher]]) -> list[Output | str]:
        """The outputs of one batch; in the place of one that failed, why."""
        requests = [request for _, request, _ in batch]
        ids = self.tokenizer([tokenizable(r.prompt) for r in requests]).input_ids
        inputs = left_padded(ids, self.tokenizer.pad_token_id)
        under = _UnderGrammars([matcher for _, _, matcher in batch], self.tokenizer.eos_token_id)
        with torch.inference_mode():
            written = self.model.generate(
                **{name: value.to(self.model.device) for name, value in inputs.items()}, do_sample=False,
                num_beams=1, max_new_tokens=max(r.budget for r in requests), eos_token_id=under.end,
                pad_token_id=self.tokenizer.pad_token_id, logits_processor=LogitsProcessorList([under]))
        rows = written[:, 1:].tolist()
        return [under.faults.get(k) or self._output(request, row, under.end)
                for k, (request, row) in enumerate(zip(requests, rows, strict=True))]

    def _output(self, request: Request, row: list[int], end: int) -> Output:
        constraint = self.constraints[request.task]
        tokens = row[:row.index(end)] if end in row else row
        truncated = len(tokens) >= request.budget
        tokens = tokens[:request.budget]
        # Only a cut output can end inside a character.
        errors = "ignore" if truncated else "strict"
        output = constraint.tokenizer.decode_bytes(tokens).decode("utf-8", errors)
        if truncated:
            output = constraint.fmt.close(output, request.level, request.text)
        return {"output": output, "truncated": truncated, "tokens": len(tokens), "steps": len(tokens) + 1,
                "choices": None}


def _tell(index: int, reason: str, on_error: OnError | None) -> None:
    if on_error is None:
        raise DecodingError(f"request {index}: {reason}")
    on_error(index, reason)
