"""Sequences as the Trainer takes them: tokenised rows and padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from giellm_utils.core.settings import ConfigError
from giellm_utils.training.loss import IGNORE


class Sequences(Dataset):
    """Tokenised (prompt, target) rows: `input_ids` and `labels`, both of length T.

    labels[t] is the token that follows input_ids[t], or IGNORE where that is not part of the target
    (already shifted, so that the positions with loss can be picked before the output layer). The
    target is closed by the end-of-sequence token. Where a row says `border`, the place in its target where
    the second level starts, there are `weights` too, one a label (level_weights), 0 where there is no loss.
    Raises ConfigError when a row exceeds `max_tokens`.
    """

    def __init__(self, rows: list[dict], tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
        self.rows = []
        for row in rows:
            prompt = tokenizer(row["prompt"]).input_ids
            found = tokenizer(row["target"], add_special_tokens=False)
            target = [*found.input_ids, tokenizer.eos_token_id]
            if len(prompt) + len(target) > max_tokens:
                raise ConfigError(f"record {row['id']}: {len(prompt) + len(target)} tokens, more than "
                                  f"training.max_tokens={max_tokens}; raise it or drop the record")
            ids = prompt + target
            made = {"input_ids": ids[:-1], "labels": [IGNORE] * (len(prompt) - 1) + target}
            if "border" in row:
                starts = [found.token_to_chars(i).start for i in range(len(found.input_ids))]
                made["weights"] = [0.0] * (len(prompt) - 1) + level_weights(starts, row["border"])
            self.rows.append(made)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, list[Any]]:
        return self.rows[i]


def level_weights(starts: Sequence[int], border: int) -> list[float]:
    """One weight a target token, its end of sequence included: the tokens of each level share one half of
    what a target of so many tokens weighs where all weigh alike.

    `starts`: the characters with which the tokens start; from `border` on they are of the second level, and
    so is the end of sequence. A token that holds the border is of the first.
    """
    tokens = len(starts) + 1
    first = sum(start < border for start in starts)
    return [tokens / (2 * first)] * first + [tokens / (2 * (tokens - first))] * (tokens - first)


#: What lengths are padded to a multiple of: for each new one oneDNN makes its products anew, 0.2 s a length
#: with AMX; the padding is 2.5 % of the tokens of SCNM.
MULTIPLE = 4


class TargetCollator:
    """Pads on the right: input_ids, attention_mask and labels, each int64 [batch, longest], and weights,
    float32, where the rows have them; longest is rounded up to a MULTIPLE."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, list[Any]]]) -> dict[str, torch.Tensor]:
        lengths = torch.tensor([len(r["input_ids"]) for r in rows])
        longest = -(-int(lengths.max()) // MULTIPLE) * MULTIPLE

        def padded(key: str, value: float) -> torch.Tensor:
            return torch.stack([torch.nn.functional.pad(torch.tensor(r[key]), (0, longest - len(r[key])),
                                                        value=value) for r in rows])

        ids = padded("input_ids", self.pad_token_id)
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        weights = {"weights": padded("weights", 0.0)} if "weights" in rows[0] else {}
        return {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", IGNORE), **weights}
