"""Marks, labels and Instruction Words as single trainable tokens (`training.single_tokens`).

`<社会`, `:人名;` and `固有表現抽出` are two to five tokens each for a multilingual tokenizer, read and
written for every text. Here each becomes one token whose embedding row, tied to the output layer's,
is trained beside the LoRA weights (peft `trainable_token_indices`). The marks belong to the token:
a bare label such as 社会 is an ordinary word of the texts and keeps its ordinary tokens there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.core.settings import ConfigError
from giellm_utils.formats.base import Format
from giellm_utils.formats.giellm import GiellmFormat


def schema_tokens(formats: Iterable[Format]) -> list[str]:
    """The fixed pieces of the tasks' prompts and targets, each once: text labels behind their opening
    mark, Instruction Words, word labels between their marks, and the sign of no items.

    A text label's closing mark stays a token of its own: llguidance 1.9 takes every added token that
    looks like <...> for a special one, which no grammar of ours would then allow. Raises ConfigError for
    a format that is not ours: its marks are others.
    """
    found: dict[str, None] = {}
    for fmt in formats:
        if not isinstance(fmt, GiellmFormat):
            raise ConfigError(f"training.single_tokens is made for format giellm and its variants, not "
                              f"{fmt.name}; set it to false")
        task = fmt.task
        found |= dict.fromkeys(fmt.open + label for label in task.text_labels)
        for part in task.parts:
            first = ":" if part.shape == "span" else ";"
            found |= dict.fromkeys([part.instruction, *(f"{first}{label};" for label in part.labels)])
        found[f":{task.none};"] = None
    return list(found)


def add_tokens(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel,
               strings: Sequence[str]) -> list[int]:
    """Make each of `strings` one token of both, in place, and return their ids, in order.

    A new row starts as the mean of the rows of the pieces that spelled the string before: the model
    starts from what it knew of the label. Raises ConfigError for a model whose output layer is not tied
    to its embedding: the new rows of that layer would stay as they were drawn.
    """
    if model.get_input_embeddings().weight is not model.get_output_embeddings().weight:
        raise ConfigError("training.single_tokens needs a model whose output layer is tied to its embedding, "
                          "and this one's is not; set it to false")
    pieces = [tokenizer(s, add_special_tokens=False).input_ids for s in strings]
    tokenizer.add_tokens([AddedToken(s, normalized=False, special=False) for s in strings])
    ids = tokenizer.convert_tokens_to_ids(list(strings))
    grow(model, max(ids) + 1)
    rows = model.get_input_embeddings().weight
    with torch.no_grad():
        for i, parts in zip(ids, pieces, strict=True):
            rows[i] = rows[parts].float().mean(0).to(rows.dtype)
    return ids


def grow(model: PreTrainedModel, rows: int) -> None:
    """At least `rows` rows in the embedding and the output layer."""
    if model.get_input_embeddings().weight.shape[0] < rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
