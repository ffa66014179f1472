"""Sequences as the Trainer takes them: tokenised rows and padded batches."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from giellm_utils.core.settings import ConfigError
from giellm_utils.training.loss import IGNORE


class Sequences(Dataset):
    """Tokenised (prompt, target) rows: `input_ids` and `labels`, both of length T.

    labels[t] is the token that follows input_ids[t], or IGNORE where that is not part of the target
    (already shifted, so that the positions with loss can be picked before the output layer). The
    target is closed by the end-of-sequence token. Raises ConfigError when a row exceeds `max_tokens`.
    """

    def __init__(self, rows: list[dict], tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
        self.rows = []
        for row in rows:
            prompt = tokenizer(row["prompt"]).input_ids
            target = [*tokenizer(row["target"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            if len(prompt) + len(target) > max_tokens:
                raise ConfigError(f"record {row['id']}: {len(prompt) + len(target)} tokens, more than "
                                  f"training.max_tokens={max_tokens}; raise it or drop the record")
            ids = prompt + target
            self.rows.append({"input_ids": ids[:-1], "labels": [IGNORE] * (len(prompt) - 1) + target})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, list[int]]:
        return self.rows[i]


class TargetCollator:
    """Pads on the right: input_ids, attention_mask and labels, each int64 [batch, longest]."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        def padded(key: str, value: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(r[key]) for r in rows], batch_first=True, padding_value=value)

        lengths = torch.tensor([len(r["input_ids"]) for r in rows])
        ids = padded("input_ids", self.pad_token_id)
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        return {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", IGNORE)}
