"""Answer: the only thing that is scored, whatever wrote it.

A format parses a model's output into an Answer, once; a baseline, a tagger or a chat model returns
one without ever writing a target text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from giellm_utils.core.schema import Item, Record

#: Faults of form at the text level and at the word level.
TEXT_FAULTS = ("no_text_label", "unknown_text_label")
WORD_FAULTS = ("missing_instruction", "unexpected_text", "bad_item", "unknown_word_label", "empty_span",
               "bad_escape", "none_with_items")
#: No faults of form: a span that is not in the text, an output that ran out of tokens.
OTHER_FAULTS = ("not_in_text", "truncated")
#: All that an answer may be found wanting in. Items of `unknown_word_label`, `bad_escape` and
#: `not_in_text` are kept, those of `bad_item`, `empty_span` and `none_with_items` cannot be read.
PROBLEMS = (*TEXT_FAULTS, *WORD_FAULTS, *OTHER_FAULTS)


@dataclass(frozen=True)
class Problem:
    """A named fault of one output (one of PROBLEMS), with the piece of the output that shows it."""

    name: str
    detail: str


@dataclass(frozen=True)
class Answer:
    """What a system says of one text.

    `label`: the text label, None where none was asked for or none could be read. `items`: in the order
    in which they were given. `raw`: the output as it was written, "" where none was.
    """

    label: str | None
    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()
    raw: str = ""

    @property
    def well_formed(self) -> bool:
        """No fault of form (a span that is not in the text is a fault of content)."""
        return all(p.name in OTHER_FAULTS for p in self.problems)

    @property
    def words_well_formed(self) -> bool:
        """No fault of form in the word-level part."""
        return all(p.name in (*TEXT_FAULTS, *OTHER_FAULTS) for p in self.problems)

    @property
    def truncated(self) -> bool:
        """The output ran out of tokens."""
        return any(p.name == "truncated" for p in self.problems)

    def cut(self) -> Answer:
        """The same, marked as having run out of tokens."""
        return self if self.truncated else Answer(
            self.label, self.items, (*self.problems, Problem("truncated", "")), self.raw)

    def to_json(self) -> dict[str, Any]:
        """{"label", "items": [{"kind", "label", "surfaces"}], "problems": [{"name", "detail"}], "raw"}"""
        return {"label": self.label, "items": items_to_json(self.items),
                "problems": [{"name": p.name, "detail": p.detail} for p in self.problems], "raw": self.raw}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Answer:
        return cls(data["label"], items_from_json(data["items"]),
                   tuple(Problem(p["name"], p["detail"]) for p in data["problems"]), data["raw"])


def gold_answer(record: Record) -> Answer:
    """The record's own label and items: what a perfect system says."""
    return Answer(record.label, tuple(record.items()))


def items_to_json(items: Iterable[Item]) -> list[dict[str, Any]]:
    return [{"kind": i.kind, "label": i.label, "surfaces": list(i.surfaces)} for i in items]


def items_from_json(rows: Iterable[dict[str, Any]]) -> tuple[Item, ...]:
    return tuple(Item(r["kind"], r["label"], tuple(r["surfaces"])) for r in rows)
