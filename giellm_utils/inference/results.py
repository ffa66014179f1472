"""What extraction says of a text: typed results with offsets, as JSON and as a highlighted view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from giellm_utils.core import markup
from giellm_utils.core.answer import Problem
from giellm_utils.core.schema import Level, Word


@dataclass(frozen=True)
class Mention:
    """text[start:end] == surface; code points."""

    surface: str
    start: int
    end: int


@dataclass(frozen=True)
class ExtractedWord:
    """A labelled span: entity, sentiment word or event trigger; `kind` names the part of the task."""

    kind: str
    label: str
    surface: str
    start: int
    end: int


@dataclass(frozen=True)
class ExtractedRelation:
    """head – label – tail."""

    kind: str
    label: str
    head: Mention
    tail: Mention


Extracted = ExtractedWord | ExtractedRelation


def extracted(word: Word, text: str) -> Extracted:
    """A located word of `text` with its surfaces."""
    mentions = [Mention(s.of(text), s.start, s.end) for s in word.spans]
    if len(mentions) == 2:
        return ExtractedRelation(word.kind, word.label, *mentions)
    return ExtractedWord(word.kind, word.label, mentions[0].surface, mentions[0].start, mentions[0].end)


@dataclass(frozen=True)
class TaskExtraction:
    """What one task says of one text. `label` is None where none was asked for or the text is empty.

    `truncated`: an output ran out of tokens, so words may be missing. `pieces`: how many the text was
    cut into; their text labels are put to the vote, weighted by characters. `problems` is empty under
    constrained decoding.
    """

    task: str
    level: Level
    label: str | None
    words: tuple[Extracted, ...]
    truncated: bool
    problems: tuple[Problem, ...]
    pieces: int


@dataclass(frozen=True)
class Extraction:
    """One text with the results of its tasks; `index` is its number in the input, from 0."""

    index: int
    text: str
    results: tuple[TaskExtraction, ...]
    #: Labels of each task in their fixed order, so that a label keeps its colour from text to text.
    labels: Mapping[str, tuple[str, ...]] = field(repr=False, compare=False)

    def __getitem__(self, task: str) -> TaskExtraction:
        return next(r for r in self.results if r.task == task)

    @property
    def pieces(self) -> int:
        """The most pieces that a task cut the text into; 1 where it was read as a whole."""
        return max((r.pieces for r in self.results), default=0)

    def to_json(self) -> dict[str, Any]:
        """{"text", "tasks": {name: {"level", "label", "words", "truncated", "problems", "pieces"}}}"""
        tasks = {r.task: asdict(r) for r in self.results}
        for result in tasks.values():
            del result["task"]
        return {"text": self.text, "tasks": tasks}

    def _repr_html_(self) -> str:
        style = f"color:{markup.INK};background:{markup.PAPER};padding:8px;line-height:1.9;text-align:left;"
        return f'<div style="{style}">{"".join(map(self._view, self.results))}</div>'

    def _view(self, result: TaskExtraction) -> str:
        marks, relations = [], []
        for word in result.words:
            if isinstance(word, ExtractedWord):
                marks.append(markup.Mark(word.start, word.end, word.label))
                continue
            marks += [markup.Mark(m.start, m.end, word.label, True) for m in (word.head, word.tail)]
            relations.append(f"{markup.safe(word.head.surface)} –[<b>{markup.safe(word.label)}</b>]→ "
                             f"{markup.safe(word.tail.surface)}")
        notes = [*(["truncated: words may be missing"] if result.truncated else []),
                 *([f"cut into {result.pieces} pieces"] if result.pieces > 1 else []),
                 *(f"{markup.safe(p.name)}: {markup.safe(p.detail)}" for p in result.problems)]
        below = "".join(f"<div>{' · '.join(lines)}</div>" for lines in (relations, notes) if lines)
        return (f"<div><b>{markup.safe(result.task)}</b> {markup.safe(result.label or '–')}: "
                f"{markup.highlight(self.text, marks, markup.tints(self.labels[result.task]))}{below}</div>")
