"""Rows as the Trainer takes them: the loss sees the target only; batches follow seed and epoch alone."""

from __future__ import annotations

import pytest
import torch

from giellm_utils.core.settings import ConfigError
from giellm_utils.models.load import load_tokenizer
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.rows import Sequences, TargetCollator
from giellm_utils.training.sampler import SeededLengthGroupedSampler
from support.models import SCRATCH
from support.trainings import scnm_rows

ROWS = scnm_rows(8)


def test_labels_are_the_target_and_its_end_shifted_by_one(scratch_cache):
    tokenizer = load_tokenizer(SCRATCH)
    row = Sequences(ROWS[:1], tokenizer, 1024)[0]
    assert len(row["input_ids"]) == len(row["labels"])
    wanted = [x for x in row["labels"] if x != IGNORE]
    assert tokenizer.decode(wanted[:-1]) == ROWS[0]["target"] and wanted[-1] == tokenizer.eos_token_id
    first = row["labels"].index(wanted[0])
    # What is read before the first label is the whole prompt and nothing of the target.
    assert tokenizer.decode(row["input_ids"][:first + 1]) == ROWS[0]["prompt"]


def test_a_sequence_that_is_too_long_is_named(scratch_cache):
    with pytest.raises(ConfigError, match=rf"{ROWS[0]['id']}.*training.max_tokens=16"):
        Sequences(ROWS[:1], load_tokenizer(SCRATCH), 16)


def test_rows_of_a_batch_are_padded_on_the_right_and_padding_has_no_loss(scratch_cache):
    tokenizer = load_tokenizer(SCRATCH)
    rows = Sequences(ROWS, tokenizer, 1024).rows
    batch = TargetCollator(tokenizer.pad_token_id)(rows)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        assert batch["input_ids"][i, :n].tolist() == row["input_ids"]
        assert batch["attention_mask"][i].tolist() == [1] * n + [0] * (batch["input_ids"].shape[1] - n)
        assert set(batch["labels"][i, n:].tolist()) <= {IGNORE}


def test_batches_depend_on_seed_and_epoch_alone():
    lengths = [i % 17 for i in range(200)]

    def order(seed, epoch):
        sampler = SeededLengthGroupedSampler(4, lengths, seed)
        sampler.set_epoch(epoch)
        torch.rand(3)  # what else draws numbers must not matter
        return list(sampler)

    assert order(1, 0) == order(1, 0) and sorted(order(1, 0)) == list(range(200))
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)
    spans = [[lengths[i] for i in order(1, 0)[k:k + 4]] for k in range(0, 200, 4)]
    # Alike within a batch (random batches: over 400; here 56).
    assert sum(max(s) - min(s) for s in spans) < 100
    means = [sum(s) for s in spans]
    falls = sum(a > b for a, b in zip(means, means[1:], strict=False))
    assert 10 < falls < 40  # and not sorted across batches (the library's order falls 45 times)
