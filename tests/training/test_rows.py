"""Rows as the Trainer takes them: the loss sees the target only; batches follow seed and epoch alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import prepare_data_loader, SeedableRandomSampler, skip_first_batches
from torch.utils.data import DataLoader

from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.models.load import load_tokenizer
from giellm_utils.training.config import BEFORE, LEARNED_FROM, learned_from, TrainingConfig
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.rows import level_weights, MULTIPLE, Sequences, TargetCollator
from giellm_utils.training.sampler import EpochOfSampler, SeededLengthGroupedSampler, SeededRandomSampler
from giellm_utils.training.sequences import build
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


def test_the_levels_share_the_weight_of_a_target(scratch_cache):
    tokenizer, data = load_tokenizer(SCRATCH), load_dataset("scnm", "embedded")
    for words_first in (False, True):
        fmt = GiellmFormat(data.task, words_first=words_first)
        records = data.split("train")[:6]
        made = Sequences(build({"scnm": fmt}, records, "joint", loss="levels"), tokenizer, 1024)
        for record, row in zip(records, made.rows, strict=True):
            start = sum(label == IGNORE for label in row["labels"])
            weights = row["weights"][start:]
            assert not any(row["weights"][:start]) and len(row["weights"]) == len(row["labels"])
            assert sum(weights) == pytest.approx(len(weights)), "as much as where all weigh alike"
            first = fmt.target(record, "words" if words_first else "text")
            size = len(tokenizer(first, add_special_tokens=False).input_ids)
            assert sum(weights[:size]) == pytest.approx(len(weights) / 2) and len(set(weights)) <= 2
        batch = TargetCollator(tokenizer.pad_token_id)(made.rows)
        assert batch["weights"].shape == batch["labels"].shape
        assert batch["weights"].sum() == pytest.approx((batch["labels"] != IGNORE).sum().item())
        assert not batch["weights"][batch["labels"] == IGNORE].any()


def test_a_token_that_holds_the_border_is_of_the_first_level():
    assert level_weights([0, 1, 3], 2) == [1.0, 1.0, 1.0, 1.0]
    assert level_weights([0, 4, 5, 5], 4) == [2.5, 0.625, 0.625, 0.625, 0.625]


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


def test_a_random_order_depends_on_seed_and_epoch_alone_too():
    def order(seed, epoch):
        sampler = SeededRandomSampler(50, seed)
        sampler.set_epoch(epoch)
        torch.rand(3)
        return list(sampler)

    assert order(1, 0) == order(1, 0) and sorted(order(1, 0)) == list(range(50)) != order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0) and len(SeededRandomSampler(50, 1)) == 50
    theirs = SeedableRandomSampler(range(50), generator=torch.Generator(), data_seed=7)
    for epoch in range(3):
        theirs.set_epoch(epoch)
        assert list(theirs) == order(7, epoch), "the very order of the library's Trainer"


def test_what_came_later_is_no_other_setting_where_it_is_as_before():
    plain, other = (TrainingConfig(order=order).model_dump(mode="json") for order in ("length", "random"))
    assert "order" not in learned_from(plain)
    assert learned_from(other) == {**learned_from(plain), "order": "random"}
    assert {*learned_from(plain), *BEFORE} == set(LEARNED_FROM)


def test_a_training_of_two_processes_resumed_within_an_epoch_keeps_its_order(scratch_cache):
    """Found by killing: skipped batches around a sharded sampler, and it stayed in the order of epoch 0."""
    lengths = [i % 7 for i in range(60)]

    def batches(skip: int) -> list[list[int]]:
        sampler = SeededLengthGroupedSampler(8, lengths, 7)
        loader = prepare_data_loader(DataLoader(range(60), batch_size=4, sampler=sampler), num_processes=2,
                                     process_index=1, put_on_device=False)
        if skip:
            loader = skip_first_batches(loader, skip)
        loader.set_epoch(3)
        EpochOfSampler(sampler).on_epoch_begin(None, SimpleNamespace(epoch=3 + skip / 8), None)
        return [batch.tolist() for batch in loader]

    assert len(batches(0)) == 8 and batches(6) == batches(0)[6:]


def test_batches_are_padded_to_a_multiple_and_say_what_is_padding():
    rows = [{"input_ids": [5] * n, "labels": [IGNORE] * (n - 1) + [7]} for n in (3, 9)]
    batch = TargetCollator(0)(rows)
    assert all(batch[key].shape == (2, 12) for key in ("input_ids", "attention_mask", "labels"))
    assert batch["attention_mask"].sum(1).tolist() == [3, 9] and batch["input_ids"][0, 3:].tolist() == [0] * 9
    assert (batch["labels"] != IGNORE).sum(1).tolist() == [1, 1] and batch["labels"][1, 8] == 7
    assert {value.dtype for value in batch.values()} == {torch.int64} and "weights" not in batch
    assert TargetCollator(0)([rows[0], rows[0]])["labels"].shape == (2, MULTIPLE)
