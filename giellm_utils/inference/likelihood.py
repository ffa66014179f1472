"""How probable a model holds a given output, each of its two parts apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.models.products import product, WideLinear, widened


class Given(NamedTuple):
    """A prompt and an output in two parts: the level that is written first, and the other."""

    prompt: str
    first: str
    second: str


def log_probabilities(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Given],
                      batch_size: int) -> np.ndarray:
    """Natural log-probability of each output's first and second part, [rows, 2], over the whole vocabulary.

    Tokenised as in training: the output apart from the prompt, closed by the end of sequence, which counts
    to the second part; a token that lies in both parts counts to the first.
    """
    found, head = np.zeros((len(rows), 2)), _head(model)
    encoded = [_encoded(tokenizer, row) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: -len(encoded[i][0]))
    for start in range(0, len(order), batch_size):
        batch = order[start:start + batch_size]
        for i, part, value in _scored(model, head, tokenizer.pad_token_id, batch, encoded):
            found[i, part] += value
    return found


def _encoded(tokenizer: PreTrainedTokenizerFast, row: Given) -> tuple[list[int], list[int]]:
    """Tokens of prompt and output, and the part of each of the output's tokens."""
    prompt = tokenizer(row.prompt).input_ids
    output = tokenizer(row.first + row.second, add_special_tokens=False, return_offsets_mapping=True)
    parts = [int(start >= len(row.first)) for start, _ in output["offset_mapping"]]
    return [*prompt, *output.input_ids, tokenizer.eos_token_id], [*parts, 1]


def _head(model: PreTrainedModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """The output layer; where its products are widened, its whole weight is so once and not in every call."""
    head = model.get_output_embeddings()
    if not isinstance(head, WideLinear):
        return head
    weight = widened(head.weight.detach())
    return lambda hidden: product(hidden, weight.t())


@torch.inference_mode()
def _scored(model: PreTrainedModel, head: Callable[[torch.Tensor], torch.Tensor], pad: int,
            batch: Sequence[int], encoded: Sequence[tuple[list[int], list[int]]]
            ) -> Iterator[tuple[int, int, float]]:
    """(row, part, log-probability) of every output token; logits are made at those positions alone."""
    longest = max(len(encoded[i][0]) for i in batch)
    ids = torch.tensor([encoded[i][0] + [pad] * (longest - len(encoded[i][0])) for i in batch])
    mask = torch.tensor([[1] * len(encoded[i][0]) + [0] * (longest - len(encoded[i][0])) for i in batch])
    places = [(row, len(encoded[i][0]) - len(encoded[i][1]) + k, i, part)
              for row, i in enumerate(batch) for k, part in enumerate(encoded[i][1])]
    hidden = model.base_model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device),
                              use_cache=False).last_hidden_state
    at = hidden[[row for row, *_ in places], [t - 1 for _, t, *_ in places]]
    logits = head(at).float()
    wanted = torch.tensor([int(ids[row, t]) for row, t, *_ in places], device=logits.device)
    values = logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)
    for (_, _, i, part), value in zip(places, values.tolist(), strict=True):
        yield i, part, value
