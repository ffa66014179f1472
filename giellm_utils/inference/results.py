"""What extraction says of a text: typed results with offsets, as JSON and as a highlighted view.

A confidence is the product, over the tokens that write a text label or a word, of the token's probability
among those that the grammar allowed there. So it is that of one spelling in tokens, and it knows nothing of
words that were not written; a word's end is counted with what follows it, the end of a list with no word.
Where the model's card gives temperatures (giellm calibrate, on dev), confidences are said at them.
None where the decoder gives no probabilities: such a word or label is below no threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from giellm_utils.core import markup
from giellm_utils.core.answer import Problem
from giellm_utils.core.schema import Level, Word

#: Decimal places of a confidence wherever it is written, or compared with a threshold.
PLACES = 4


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
    confidence: float | None


@dataclass(frozen=True)
class ExtractedRelation:
    """head – label – tail."""

    kind: str
    label: str
    head: Mention
    tail: Mention
    confidence: float | None


Extracted = ExtractedWord | ExtractedRelation


def extracted(word: Word, text: str, confidence: float | None) -> Extracted:
    """A located word of `text` with its surfaces."""
    mentions = [Mention(s.of(text), s.start, s.end) for s in word.spans]
    if len(mentions) == 2:
        return ExtractedRelation(word.kind, word.label, *mentions, confidence)
    return ExtractedWord(word.kind, word.label, mentions[0].surface, mentions[0].start, mentions[0].end,
                         confidence)


@dataclass(frozen=True)
class TaskExtraction:
    """What one task says of one text. `label` and `confidence`, which is the label's, are None where no
    label was asked for or the text is empty; a label below a threshold is None and keeps its confidence.

    `truncated`: an output ran out of tokens, so words may be missing. `pieces`: how many the text was
    cut into; their text labels are put to the vote, weighted by characters, and the confidence is the mean
    of the pieces that voted for the winner, weighted alike. `problems` is empty under constrained decoding.
    """

    task: str
    level: Level
    label: str | None
    confidence: float | None
    words: tuple[Extracted, ...]
    truncated: bool
    problems: tuple[Problem, ...]
    pieces: int

    def at_least(self, minimum: float) -> TaskExtraction:
        """The same without the words of a confidence below `minimum`, and without such a text label."""
        def stays(confidence: float | None) -> bool:
            return confidence is None or round(confidence, PLACES) >= minimum

        return replace(self, label=self.label if stays(self.confidence) else None,
                       words=tuple(w for w in self.words if stays(w.confidence)))


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

    def at_least(self, minimum: float) -> Extraction:
        """The same without what is less confident than `minimum` (0 to 1)."""
        return replace(self, results=tuple(r.at_least(minimum) for r in self.results))

    def to_json(self) -> dict[str, Any]:
        """{"text", "tasks": {name: {"level", "label", "confidence", "words", "truncated", "problems",
        "pieces"}}}; confidences, of the label and of each word, to four places."""
        tasks = {r.task: asdict(r) for r in self.results}
        for result in tasks.values():
            del result["task"]
            for said in (result, *result["words"]):
                if said["confidence"] is not None:
                    said["confidence"] = round(said["confidence"], PLACES)
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
