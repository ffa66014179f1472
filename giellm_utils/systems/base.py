"""System: whatever reads texts and gives Answers; the only thing that stands in a table or figure.

One file a system in this package. Each module names what it offers in ENTRIES; `registry` finds the
modules by itself. Modules stay light at import: torch and other heavy packages are imported where
`fit` or `predict` needs them, for every table imports the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.schema import Level, Record, Task, Word


class System(ABC):
    """One system for one task or a mixture of tasks."""

    #: Key in result files, and the level its answers are scored at.
    name: str
    level: Level
    #: What its answers depend on besides the records, for result files; ready for JSON.
    settings: Mapping[str, Any] = {}
    #: What it took to learn, where that may have been done before `fit` was called; None: as `fit` takes.
    fit_seconds: float | None = None

    @abstractmethod
    def fit(self, records: Sequence[Record]) -> None:
        """Learn from records; a system that has nothing to learn does nothing."""

    @abstractmethod
    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """One Answer a record, in order; of a record only id, task and text may be read."""


def answer(task: Task, text: str, label: str | None, words: Sequence[Word]) -> Answer:
    """An Answer with its words in canonical order, each once; raises SchemaError for words that are not the
    task's."""
    # A record of our own puts the words into canonical order; its label is of no account.
    read = Record("", task.name, text, task.text_labels[0], tuple(dict.fromkeys(words))).validate(task)
    return Answer(label, tuple(read.items()))


@dataclass(frozen=True)
class Entry:
    """What tables, figures and legends know of a system without loading it.

    `make`(task, **options) gives the System; None where it takes more than that to build one (a trained
    model needs its folder). `trains`: the options are a profile's: its name, seed, format_name, model,
    training and generation, and `run`, the folder of the system's own trainings. `floor`: a baseline that
    stands in every table. `applies` says for which tasks it is defined. `order` sorts systems in tables and
    legends. `configured`: the option is `config`, a profile's section `systems.<name>`. `needs` and
    `command` (which may hold {task}): what fills the row of a system that could not be run here.
    """

    name: str
    title: str
    look: Look
    level: Level
    order: int
    floor: bool = False
    make: Callable[..., Any] | None = None
    applies: Callable[[Task], bool] = lambda task: True
    trains: bool = False
    configured: bool = False
    needs: tuple[str, ...] = ()
    command: str = ""
