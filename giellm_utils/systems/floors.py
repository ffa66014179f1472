"""Floors: systems that read no text. They stand in every table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.schema import Record, Task
from giellm_utils.systems.base import Entry, System

_LOOK = Look(colour="#9aa2ab", marker="|")


class NotFittedError(GiellmError, RuntimeError):
    """A system asked before it was given records to learn from."""


class Majority(System):
    """The most frequent text label of the records given (the task's order breaks ties), and no words."""

    name, level = "majority", "joint"

    def __init__(self, task: Task) -> None:
        self._task = task
        self._label: str | None = None

    def fit(self, records: Sequence[Record]) -> None:
        """Count text labels; raises ValueError without records."""
        if not records:
            raise ValueError("the majority class needs train records to count labels in, but there are none")
        counts = Counter(r.label for r in records)
        self._label = max(self._task.text_labels, key=lambda label: counts[label])

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """The same Answer for each; raises NotFittedError before `fit`."""
        if self._label is None:
            raise NotFittedError("the majority class has counted no labels yet: fit it on the train records")
        return [Answer(self._label)] * len(records)


class AlwaysEmpty(System):
    """No words, whatever the text."""

    name, level = "always_empty", "words"

    def __init__(self, task: Task) -> None:
        """`task` is not looked at: nothing is the same in every task."""

    def fit(self, records: Sequence[Record]) -> None:
        """There is nothing to learn."""

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        return [Answer(None)] * len(records)


ENTRIES = (
    Entry("majority", "majority class", _LOOK, "joint", order=10, floor=True, make=Majority),
    Entry("always_empty", "always empty", _LOOK, "words", order=11, floor=True, make=AlwaysEmpty),
)
