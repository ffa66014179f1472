"""The order of training rows, from the seed and the epoch alone: batches of similar length, or random."""

from __future__ import annotations

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler


class SeededLengthGroupedSampler(LengthGroupedSampler):
    """Batches of similar length in random order, both from (seed, epoch) alone, so that a resumed run
    sees the very batches of an unbroken one (the library's sampler draws from the global generator,
    and leaves the batches of each block of 50 sorted from the longest to the shortest)."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        self.generator.manual_seed(self.seed + self.epoch)
        indices = list(super().__iter__())
        batches = [indices[i:i + self.batch_size] for i in range(0, len(indices), self.batch_size)]
        # The last batch may be short: it stays last, or every batch after it would be cut elsewhere.
        order = torch.randperm(len(batches) - 1, generator=self.generator).tolist() + [len(batches) - 1]
        return iter([i for b in order for i in batches[b]])


class SeededRandomSampler(Sampler):
    """All of `count` rows in random order, from (seed, epoch) alone: that of the library's Trainer.

    Not accelerate's own sampler: it puts another in the place of that, which EpochOfSampler does not reach.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(torch.randperm(self.count, generator=generator).tolist())


class EpochOfSampler(TrainerCallback):
    """Tells the sampler its epoch: a training of several processes that is resumed within an epoch wraps it
    so deep that neither Trainer nor accelerate reaches it, and would go on in the order of epoch 0."""

    def __init__(self, sampler: SeededLengthGroupedSampler | SeededRandomSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))
