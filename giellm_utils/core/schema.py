"""The words every other file uses: Span, Word, Record, Part, Task. No I/O, no torch.

A *mix* dataset item (GIELLM, section 3; SLG, arXiv 2306.15978) is a text with one text-level
label and any number of word-level labels. Offsets are Unicode code points, end exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from giellm_utils.core.errors import GiellmError

Shape = Literal["span", "relation"]
Level = Literal["joint", "text", "words"]
Split = Literal["train", "dev", "test"]
LEVELS: tuple[Level, ...] = ("joint", "text", "words")
#: Characters with a meaning of their own in a target; no label may hold one.
MARKS = "\\:;<>‹›"


class SchemaError(GiellmError, ValueError):
    """A record or task that breaks its own rules; the message names the field and the value."""


@dataclass(frozen=True, order=True)
class Span:
    """Half-open range [start, end) of Unicode code points."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise SchemaError(f"span [{self.start}, {self.end}) is empty or negative: "
                              "start must be at least 0 and smaller than end")

    def of(self, text: str) -> str:
        """The surface of this span in `text`."""
        return text[self.start:self.end]


@dataclass(frozen=True)
class Word:
    """One word-level label: `label` on `span` (entity, sentiment word, event trigger),
    or head `span` – relation `label` – `tail`. `kind` names the Part of the task it belongs to."""

    kind: str
    label: str
    span: Span
    tail: Span | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        return (self.span,) if self.tail is None else (self.span, self.tail)

    @property
    def order(self) -> tuple[Any, ...]:
        """Canonical order: (start, end, label); for relations (head start, tail start, relation).

        The ends break the remaining ties of nested heads or tails, so that the order is total.
        """
        if self.tail is None:
            return (self.span.start, self.span.end, self.label)
        return (self.span.start, self.tail.start, self.label, self.span.end, self.tail.end)

    def to_json(self) -> dict[str, Any]:
        spans = {"span": [self.span.start, self.span.end]} if self.tail is None else {
            "head": [self.span.start, self.span.end], "tail": [self.tail.start, self.tail.end]}
        return {"kind": self.kind, "label": self.label, **spans}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Word:
        if "head" in data:
            return cls(data["kind"], data["label"], Span(*data["head"]), Span(*data["tail"]))
        return cls(data["kind"], data["label"], Span(*data["span"]))


@dataclass(frozen=True)
class Item:
    """A word label as it stands in a target: surfaces instead of offsets.

    `surfaces` is (span,) or (head, tail); comparable and hashable, so multisets are Counters.
    """

    kind: str
    label: str
    surfaces: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One word-level section of a task: its Instruction Word, labels and item shape.

    `shape` "span" writes `label;surface`, "relation" writes `head;label;tail`.
    """

    kind: str
    instruction: str
    labels: tuple[str, ...]
    shape: Shape = "span"


@dataclass(frozen=True)
class Task:
    """One mix dataset: text labels in their fixed order and its word-level parts.

    `published` says which of its words the authors published (see PAPER facts in README);
    everything else is ours. Raises SchemaError when a label or an Instruction Word could not be
    told apart in a target.
    """

    name: str
    title: str
    text_labels: tuple[str, ...]
    parts: tuple[Part, ...]
    none: str = "無い"
    published: str = field(default="", compare=False)
    paper_train: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        labels = [*self.text_labels, *(lab for p in self.parts for lab in p.labels)]
        words = [p.instruction for p in self.parts]
        for what, value in [*(("label", v) for v in labels), *(("Instruction Word", v) for v in words),
                            ("word for nothing to extract", self.none)]:
            if not value or any(c in MARKS for c in value):
                raise SchemaError(f"task {self.name}: {what} {value!r} is empty or holds one of {MARKS}")
        for label in labels:
            if label == self.none:
                raise SchemaError(f"task {self.name}: label {label!r} is its word for nothing to extract")
        for value in (*labels, self.none):
            if any(w in value for w in words):
                raise SchemaError(f"task {self.name}: {value!r} holds an Instruction Word; "
                                  "choose a label that does not")
        for group in (self.text_labels, words, [p.kind for p in self.parts], *(p.labels for p in self.parts)):
            if len(set(group)) != len(group) or not group:
                raise SchemaError(f"task {self.name}: {list(group)} is empty or holds a duplicate")
        # A span is followed by the next Instruction Word with nothing between them: were the end of
        # one the start of another, the border could fall in two places.
        for a, b in product(words, words):
            if any(b.startswith(a[i:]) for i in range(1, len(a))) or (a != b and a in b):
                raise SchemaError(f"task {self.name}: Instruction Words {a!r} and {b!r} overlap; "
                                  "choose words where none ends as another starts")

    def part(self, kind: str) -> Part:
        for part in self.parts:
            if part.kind == kind:
                return part
        raise SchemaError(f"task {self.name} has no part {kind!r}; it has {[p.kind for p in self.parts]}")


@dataclass(frozen=True)
class Record:
    """One text with its text label and words, in canonical order (per part, then Word.order)."""

    id: str
    task: str
    text: str
    label: str
    words: tuple[Word, ...] = ()
    split: Split = "train"
    meta: dict[str, Any] = field(default_factory=dict, compare=False)

    def validate(self, task: Task) -> Record:
        """This record with its words in canonical order.

        Raises SchemaError naming the record, the field and the value when a label is not the
        task's, a span leaves the text, a word has the wrong shape or stands twice.
        """
        def fail(message: str) -> SchemaError:
            return SchemaError(f"record {self.id}: {message}")

        if self.task != task.name:
            raise fail(f"task is {self.task!r}, not {task.name!r}")
        if not self.text:
            raise fail("text is empty")
        if self.label not in task.text_labels:
            raise fail(f"label {self.label!r} is not one of {', '.join(task.text_labels)}")
        if len(set(self.words)) != len(self.words):
            raise fail("a word stands twice with the same label and offsets")
        kinds = [part.kind for part in task.parts]
        for word in self.words:
            if word.kind not in kinds:
                raise fail(f"word kind {word.kind!r} is not one of {', '.join(kinds)}")
            part = task.part(word.kind)
            if word.label not in part.labels:
                raise fail(f"word label {word.label!r} is not one of {', '.join(part.labels)}")
            if (word.tail is not None) != (part.shape == "relation"):
                raise fail(f"word {word.label!r} does not have the shape {part.shape!r}")
            if any(s.end > len(self.text) for s in word.spans):
                raise fail(f"span of {word.label!r} ends after the text ({len(self.text)} characters)")
        words = tuple(w for part in task.parts
                      for w in sorted((w for w in self.words if w.kind == part.kind), key=lambda w: w.order))
        return Record(self.id, self.task, self.text, self.label, words, self.split, self.meta)

    def items(self) -> Iterator[Item]:
        """The words as surfaces, in the record's order."""
        for word in self.words:
            yield Item(word.kind, word.label, tuple(s.of(self.text) for s in word.spans))

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "task": self.task, "text": self.text, "label": self.label,
                "words": [w.to_json() for w in self.words], "split": self.split, "meta": self.meta}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        return cls(data["id"], data["task"], data["text"], data["label"],
                   tuple(Word.from_json(w) for w in data["words"]), data["split"], data.get("meta", {}))
