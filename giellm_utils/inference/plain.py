"""Free decoding: greedy, in batches sorted by length, without a grammar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.core.errors import GiellmError
from giellm_utils.formats.base import Format, FormatError
from giellm_utils.inference.borrowed import borrow
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.models.pieces import tokenizable


class GenerationError(GiellmError, RuntimeError):
    """Decoding that could not finish; the message says how far it came and how to go on."""


def too_slow(title: str, config: GenerationConfig, done: int, total: int) -> GenerationError:
    """What to raise where decoding passes its wall-clock cap."""
    return GenerationError(f"decoding {title} passed generation.minutes={config.minutes:g} after {done} of "
                           f"{total} texts; run again to go on from there, or raise it")


#: (numbers of the prompts of a batch, their outputs)
OnBatch = Callable[[list[int], list[dict[str, Any]]], None]


class FirstToken(LogitsProcessor):
    """The token behind the first `length` is `token` in every row, whatever its score."""

    def __init__(self, token: int, length: int) -> None:
        self.token, self.length = token, length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] != self.length:
            return scores
        forced = torch.full_like(scores, float("-inf"))
        forced[:, self.token] = 0
        return forced


def opening_token(tokenizer: PreTrainedTokenizerFast, fmt: Format) -> int:
    """The token that SLG's Constraint Mechanism forces: the mark before the text label.

    As in the authors' code, where SentencePiece writes a `▁` of its own before the mark, that is left out.
    Raises FormatError for a format whose outputs begin with no mark.
    """
    if not fmt.open or fmt.words_first:
        raise FormatError(f"format {fmt.name} writes no mark before the text label where a target "
                          "begins, so there is no first token to force; set generation.first_token to null")
    return tokenizer(fmt.open, add_special_tokens=False).input_ids[-1]


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], budget: int,
             config: GenerationConfig, on_batch: OnBatch, done: int = 0, title: str = "",
             first: int | None = None) -> None:
    """Greedy outputs for `prompts`, of at most `budget` tokens, the first one `first` where that is given.

    `model`: a decoder, which goes on from the prompt, or an encoder and decoder. Model and tokenizer are left
    as they are. Calls `on_batch(indices, outputs)` after each batch, outputs
    as {"output", "truncated", "tokens"}; `done` leading batches are skipped (resume: batches stay the
    same, hence so does bf16 output). Raises GenerationError after config.minutes.
    """
    ids = tokenizer([tokenizable(p) for p in prompts]).input_ids if prompts else []
    order = sorted(range(len(prompts)), key=lambda i: (len(ids[i]), i))
    batches = [order[i:i + config.batch_size] for i in range(0, len(order), config.batch_size)]
    # Ours to run: the caller's may be in the middle of a training.
    model, start = borrow(model), time.monotonic()
    bar = tqdm(total=len(prompts), initial=sum(map(len, batches[:done])), desc=title, unit="text",
               mininterval=2, ncols=90, file=sys.stdout)
    with bar, torch.inference_mode():
        for batch in batches[done:]:
            if time.monotonic() - start > config.minutes * 60:
                raise too_slow(title, config, bar.n, len(prompts))
            inputs = left_padded([ids[i] for i in batch], tokenizer.pad_token_id)
            # A decoder with an encoder begins with its start token alone.
            before = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            written = model.generate(
                **{name: value.to(model.device) for name, value in inputs.items()}, max_new_tokens=budget,
                do_sample=False, num_beams=1, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([] if first is None else [FirstToken(first, before)]))
            new = written[:, before:].tolist()
            on_batch(batch, [_output(tokenizer, row) for row in new])
            bar.update(len(batch))


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, each int64 [rows, longest], padded on the left."""
    longest = max(map(len, rows))
    return {"input_ids": torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows]),
            "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])}


def _output(tokenizer: PreTrainedTokenizerFast, row: list[int]) -> dict[str, Any]:
    ended = tokenizer.eos_token_id in row
    row = row[:row.index(tokenizer.eos_token_id)] if ended else row
    text = tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return {"output": text, "truncated": not ended, "tokens": len(row)}
