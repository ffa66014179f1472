"""Weights that somebody else trained: a folder or Hub id, asked and read in the format it was made for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TYPE_CHECKING

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.models.bundle import BUDGET, find_weights, read_card
from giellm_utils.models.spec import ModelConfig
from giellm_utils.systems.base import Entry, System

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

NAME = "weights"


class PublishedWeights(System):
    """A causal language model as it is, asked in one format at the joint level, decoded freely and greedily.

    `model`: a folder of safetensors (of a training of ours, too) or a Hub id; `fmt`: a name of
    formats.registry. Raises FormatError where the format is not defined for the task; fit raises BundleError
    and ModelError where the model cannot be had.
    """

    level: Level = "joint"

    def __init__(self, task: Task, model: str, fmt: str, generation: GenerationConfig) -> None:
        self.format, self.model, self.generation = make_format(fmt, task), model, generation
        #: Its folder in results/systems: the last part of its name, as the paper's table looks for it.
        self.name = Path(model).name.lower()
        self.title = f"{Path(model).name} (its weights as published)"
        self.budget = BUDGET

    @cached_property
    def _folder(self) -> Path | None:
        return find_weights(self.model)

    @cached_property
    def _base(self) -> ModelConfig:
        """What the weights are loaded as: an adapter's base by its card, else they themselves."""
        card = read_card(self._folder) if self._folder else None
        return card.base if card else ModelConfig(id=self.model)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        from giellm_utils.models.load import load_tokenizer

        return load_tokenizer(self._base, self._folder)

    @cached_property
    def _network(self) -> PreTrainedModel:
        import torch

        from giellm_utils.models.load import load_model

        model = load_model(self._base, self._folder)
        return model.to("cuda") if torch.cuda.is_available() else model

    @property
    def settings(self) -> dict[str, Any]:
        """Never a path: a folder is named by its last part, a snapshot of the Hub by its commit."""
        folder = self._folder
        commit = folder.name if folder and folder.parent.name == "snapshots" else None
        return {"model": self.model if commit else Path(self.model).name, "commit": commit,
                "format": self.format.name, "decoding": "free, greedy", "budget": self.budget,
                "batch size": self.generation.batch_size, "vocabulary": "full"}

    def fit(self, records: Sequence[Record]) -> None:
        """Nothing is learnt; the longest target of `records` bounds the answers, as for our own models."""
        from giellm_utils.training.sequences import budget, build, token_costs

        rows = build({self.format.task.name: self.format}, records, "joint")
        self.budget = budget(token_costs(self._tokenizer, rows)["target"]) if rows else BUDGET

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        from giellm_utils.inference.predictions import write_free

        with TemporaryDirectory() as folder:
            return write_free(self._network, self._tokenizer, self.format, records, "joint", self.budget,
                              self.generation, Path(folder) / "answers.jsonl")


ENTRIES = (Entry(NAME, "published weights", Look(colour="#CC79A7", marker="P"), "joint", 60),)
