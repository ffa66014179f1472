"""Format: a task's items as prompt and target text, and back, exactly one way for each named format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from giellm_utils.core.answer import Answer
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.schema import Level, LEVELS, Record, Task


class FormatError(GiellmError, ValueError):
    """A format that cannot do what is asked of it; the message says what can."""


class Places(NamedTuple):
    """Where an output says what: characters [start, end) of the text label in its marks (None where none was
    asked for) and of each item, the mark before it included, in the order of Answer.items."""

    label: tuple[int, int] | None
    items: tuple[tuple[int, int], ...]


class Format(ABC):
    """Writes and reads one task's texts. Subclasses stand in `formats.registry.FORMATS` by name."""

    name: ClassVar[str]
    #: Levels it is defined for.
    levels: ClassVar[tuple[Level, ...]] = LEVELS
    #: The mark with which a target that has a text label begins; "" where there is none.
    open: str = ""
    #: Whether a joint target ends with its text label instead.
    words_first: bool = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def prompt(self, text: str, level: Level = "joint") -> str:
        """What the model reads."""

    def prompt_given(self, text: str, level: Level, given: Answer) -> str:
        """The prompt of a single level that says the other one too, as `given` has it. Raises FormatError for
        a format in which that is not defined."""
        raise FormatError(f"format {self.name} has no prompt that gives a level; take format giellm")

    @abstractmethod
    def target(self, record: Record, level: Level = "joint") -> str:
        """What the model should write for `record`, whose words are in canonical order."""

    @abstractmethod
    def parse(self, output: str, level: Level = "joint", text: str | None = None) -> Answer:
        """What `output` says; total: any string gives an Answer with named problems, never an error.

        With `text`, spans that are no substring of it are reported as `not_in_text` (and kept).
        """

    @abstractmethod
    def fixed_strings(self) -> list[str]:
        """Every fixed piece of its prompts and targets, as it meets a tokenizer: alone and joined."""

    def grammar(self, level: Level, text: str, max_items: Mapping[str, int] | int) -> str:
        """A Lark grammar (llguidance's dialect) of every output it can write for `text`.

        Raises FormatError for a format without one: such outputs are decoded freely.
        """
        raise FormatError(f"format {self.name} has no grammar; set generation.constrained to none")

    def close(self, output: str, level: Level, text: str) -> str:
        """A complete output from the beginning of one of its grammar that ran out of tokens."""
        raise FormatError(f"format {self.name} has no grammar, so none of its outputs can be closed")

    def places(self, output: str, level: Level = "joint") -> Places:
        """Where in `output` the text label and each item stand. Raises FormatError for an output that is
        not one of its grammar, and for a format without one."""
        raise FormatError(f"format {self.name} has no grammar, so its outputs have no known places")

    def border(self, record: Record) -> int:
        """Where in the joint target of `record` its second level starts, in characters. Raises FormatError
        for a format that does not weigh its levels apart."""
        raise FormatError(f"format {self.name} does not say where in a target its second level starts; for a "
                          "loss per level take format giellm")
