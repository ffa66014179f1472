"""Texts -> labels and words with character offsets: `Extractor.from_pretrained(folder).extract(texts)`.

Decoding is constrained (decoding.py), so every word stands in its text: text[start:end] == surface.
Offsets are Unicode code points, end exclusive. Texts that pass the model's context are cut at sentence
ends and put together again; a relation across a cut is lost. Memory holds one window of texts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from giellm_utils import views
from giellm_utils.card import CARD, Card, ExtractionError, card_for, find_weights, write_card
from giellm_utils.converter import Converter, Problem
from giellm_utils.schema import Level, Span, Word

__all__ = ["Card", "Extraction", "ExtractionError", "Extractor", "write_card"]

#: Texts decoded together, and the characters they may hold together. Results come in the order of the texts,
#: the window is decoded by length: what a kill costs is at most a window, 256 texts or half a minute on 2 cores.
WINDOW, WINDOW_CHARACTERS = 256, 1_000_000
#: Instruction Words in one piece at most: the grammar grows by one copy of the text with each.
MOST_INSTRUCTIONS = 20
#: Tokens set aside for the beginning of sequence and for merges that a cut undoes.
_SLACK = 8
_SENTENCE = re.compile(r"[。！？!?\n]+[」』）)\]\"”’]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


# -- results ---------------------------------------------------------------------------------------


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
    words: tuple[ExtractedWord | ExtractedRelation, ...]
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

    def to_json(self) -> dict[str, Any]:
        """{"text", "tasks": {name: {"level", "label", "words", "truncated", "problems", "pieces"}}}"""
        tasks = {r.task: asdict(r) for r in self.results}
        for result in tasks.values():
            del result["task"]
        return {"text": self.text, "tasks": tasks}

    def _repr_html_(self) -> str:
        out = []
        for result in self.results:
            colours = views.tints(self.labels[result.task])
            marks, relations = [], []
            for word in result.words:
                if isinstance(word, ExtractedWord):
                    marks.append(views.Mark(word.start, word.end, word.label))
                    continue
                marks += [views.Mark(m.start, m.end, word.label, True) for m in (word.head, word.tail)]
                relations.append(f"{views.safe(word.head.surface)} –[<b>{views.safe(word.label)}</b>]→ "
                                 f"{views.safe(word.tail.surface)}")
            notes = [*(["truncated: words may be missing"] if result.truncated else []),
                     *([f"cut into {result.pieces} pieces"] if result.pieces > 1 else []),
                     *(f"{views.safe(p.name)}: {views.safe(p.detail)}" for p in result.problems)]
            below = "".join(f"<div>{' · '.join(lines)}</div>" for lines in (relations, notes) if lines)
            out.append(f"<div><b>{views.safe(result.task)}</b> {views.safe(result.label or '–')}: "
                       f"{views.highlight(self.text, marks, colours)}{below}</div>")
        style = f"color:{views.INK};background:{views.PAPER};padding:8px;line-height:1.9;text-align:left;"
        return f'<div style="{style}">{"".join(out)}</div>'


# -- cutting ---------------------------------------------------------------------------------------


def cut(text: str, count_tokens: Callable[[list[str]], list[int]], limit: int,
        instructions: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Ranges [start, end) that tile `text`, each of at most `limit` tokens and MOST_INSTRUCTIONS of
    `instructions`; cut at sentence ends, and within a sentence only where it is too long by itself."""
    def words(piece: str) -> int:
        return sum(piece.count(w) for w in instructions)

    def tokens(pieces: list[str]) -> list[int]:
        return count_tokens([_SURROGATE.sub("\ufffd", p) for p in pieces])

    # No tokenizer here writes more tokens than bytes: most texts need no count.
    if words(text) <= MOST_INSTRUCTIONS and (len(text) * 4 <= limit or tokens([text])[0] <= limit):
        return [(0, len(text))] if text else []
    ends = [m.end() for m in _SENTENCE.finditer(text)]
    borders = sorted({0, *ends, len(text)})
    sentences = list(zip(borders, borders[1:], strict=False))
    # Slices so short that they fit whatever they hold, and are packed closely afterwards.
    most = MOST_INSTRUCTIONS * min(map(len, instructions), default=limit)
    step = max(1, min(limit // 8, most))
    parts = []
    for (start, end), n in zip(sentences, tokens([text[a:b] for a, b in sentences]), strict=True):
        if n <= limit and words(text[start:end]) <= MOST_INSTRUCTIONS:
            parts.append((start, end))
        else:
            parts += [(at, min(at + step, end)) for at in range(start, end, step)]
    pieces, spent, held = [], limit + 1, 0
    for (start, end), n in zip(parts, tokens([text[a:b] for a, b in parts]), strict=True):
        k = words(text[start:end])
        if spent + n <= limit and held + k <= MOST_INSTRUCTIONS:
            pieces[-1] = (pieces[-1][0], end)
            spent, held = spent + n, held + k
        else:
            pieces.append((start, end))
            spent, held = n, k
    return pieces


# -- the extractor ---------------------------------------------------------------------------------


class Decoder(Protocol):
    """decoding.ConstrainedDecoder, or what stands in for it."""

    def decode(self, requests: Iterable[Any], on_error: Callable[[int, str], None] | None = None,
               ) -> Iterator[tuple[int, Mapping[str, Any]]]: ...


class _Job(NamedTuple):
    """One piece of the text at `at` in the window, for one task."""

    at: int
    task: str
    start: int
    end: int


class Extractor:
    """A trained model that reads texts. `tokenizer` counts the tokens of texts that may be too long."""

    def __init__(self, decoder: Decoder, tokenizer: Any, card: Card, batch_size: int = 16) -> None:
        self.decoder, self.tokenizer, self.card, self.batch_size = decoder, tokenizer, card, batch_size
        self.converters = card.converters()

    @classmethod
    def from_pretrained(cls, folder_or_id: str | Path, *, base: str | None = None,
                        tasks: Sequence[str] | None = None, marks: str | None = None,
                        batch_size: int = 16) -> Extractor:
        """The model in a folder that training.py wrote (adapter or full model), or of a Hub id.

        `base`, `tasks` and `marks` replace what its giellm.json says; without that file `tasks` are
        needed and, for an adapter, `base`. Raises ExtractionError, and models.ModelError where weights
        cannot be loaded.
        """
        from giellm_utils.decoding import ConstrainedDecoder
        from giellm_utils.grammar import constraints
        from giellm_utils.models import load_model, load_tokenizer

        folder = find_weights(str(folder_or_id))
        card = card_for(folder, str(folder_or_id), base, tasks, marks)
        tokenizer, model = load_tokenizer(card.base, folder), load_model(card.base, folder)
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", card.context)
        context = min(card.context, longest)
        grammars = constraints(tokenizer, card.converters(), {name: task.max_items for name, task in card.tasks.items()},
                               model.get_output_embeddings().weight.shape[0])
        decoder = ConstrainedDecoder(model, tokenizer, grammars, batch_size=batch_size)
        return cls(decoder, tokenizer, card.model_copy(update={"context": context}), batch_size)

    def extract(self, texts: Iterable[str], tasks: str | Sequence[str] | None = None, level: Level = "joint",
                on_error: Callable[[int, str], None] | None = None) -> Iterator[Extraction]:
        """Results in the order of `texts`, which is read one window ahead at most.

        `tasks`: names of the card's tasks (all of them where None). A text that cannot be read goes to
        `on_error(its number, reason)`, or raises ExtractionError where that is None.
        """
        if isinstance(texts, str):
            raise ExtractionError("texts is one string; give a list of texts, [text] for one")
        names = [tasks] if isinstance(tasks, str) else list(tasks if tasks is not None else self.converters)
        unknown = [n for n in names if n not in self.converters]
        if unknown or not names or len(set(names)) != len(names):
            raise ExtractionError(f"tasks {names} must be distinct names of what this model was trained on: "
                                  f"{', '.join(self.converters)}")
        if level not in self.card.levels:
            raise ExtractionError(f"level {level!r} is not one that this model was trained at; "
                                  f"give {' or '.join(map(repr, self.card.levels))}")
        return self._stream(texts, {name: self._limit(name, level) for name in names}, level, on_error)

    def _limit(self, name: str, level: Level) -> int:
        """Tokens that a piece of text may have beside the options and the output."""
        used = len(self.tokenizer([self.converters[name].prompt("", level)]).input_ids[0]) + _SLACK
        limit = self.card.context - self.card.tasks[name].budgets[level] - used
        if limit < 16:
            raise ExtractionError(f"a context of {self.card.context} tokens leaves {limit} for the text of task "
                                  f"{name}; raise context or lower the budget in its {CARD}")
        return limit

    def _stream(self, texts: Iterable[str], limits: Mapping[str, int], level: Level,
                on_error) -> Iterator[Extraction]:
        first, source = 0, iter(texts)
        while window := self._read(source):
            yield from self._window(first, window, limits, level, on_error)
            first += len(window)

    def _window(self, first: int, window: Sequence[str], limits: Mapping[str, int], level: Level,
                on_error) -> Iterator[Extraction]:
        """Results of a window of texts in their order, each as soon as those before it are there."""
        failed = {at: f"it is {type(text).__name__}, not str; give a string"
                  for at, text in enumerate(window) if not isinstance(text, str)}
        jobs = [_Job(at, name, start, end) for at, text in enumerate(window) if at not in failed
                for name, limit in limits.items()
                for start, end in cut(text, self._count, limit,
                                      [p.instruction for p in self.converters[name].task.parts])]
        left = Counter(job.at for job in jobs)
        done: dict[int, list[tuple[_Job, Mapping[str, Any]]]] = defaultdict(list)
        turn = 0

        def ready() -> Iterator[Extraction]:
            nonlocal turn
            while turn < len(window) and (turn in failed or not left[turn]):
                at, turn = turn, turn + 1
                if at not in failed:
                    yield self._extraction(first + at, window[at], limits, level, done.pop(at, []))
                elif on_error is None:
                    raise ExtractionError(f"text {first + at}: {failed[at]}")
                else:
                    on_error(first + at, failed[at])

        decoded = self.decoder.decode(self._requests(window, jobs, level),
                                      lambda number, reason: failed.setdefault(jobs[number].at, reason))
        yield from ready()
        for number, output in decoded:
            done[jobs[number].at].append((jobs[number], output))
            left[jobs[number].at] -= 1
            yield from ready()
        yield from ready()
        if turn < len(window):
            raise ExtractionError(f"text {first + turn}: the decoder gave no output for it; report this")

    def _read(self, source: Iterator[str]) -> list[str]:
        window, characters = [], 0
        for text in source:
            window.append(text)
            characters += len(text) if isinstance(text, str) else 0
            if len(window) >= max(WINDOW, self.batch_size) or characters >= WINDOW_CHARACTERS:
                break
        return window

    def _count(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False).input_ids]

    def _requests(self, window: Sequence[str], jobs: Sequence[_Job], level: Level) -> Iterator[Any]:
        from giellm_utils.decoding import Request

        for job in jobs:
            piece = window[job.at][job.start:job.end]
            # A tokenizer takes no lone surrogate; one for one, so that offsets stay.
            prompt = self.converters[job.task].prompt(_SURROGATE.sub("\ufffd", piece), level)
            yield Request(prompt, piece, job.task, level, self.card.tasks[job.task].budgets[level])

    def _extraction(self, index: int, text: str, names: Iterable[str], level: Level, done) -> Extraction:
        results = []
        for name in names:
            mine = sorted((pair for pair in done if pair[0].task == name), key=lambda pair: pair[0].start)
            results.append(self._together(text, self.converters[name], level, mine))
        parts = {name: self.converters[name].task.parts for name in names}
        return Extraction(index, text, tuple(results), {
            name: tuple(label for part in parts[name] for label in part.labels) for name in names})

    @staticmethod
    def _together(text: str, converter: Converter, level: Level, done) -> TaskExtraction:
        """One result from the outputs of a text's pieces."""
        votes: Counter[str] = Counter()
        words, problems = [], []
        for job, output in done:
            piece = text[job.start:job.end]
            parsed = converter.parse(output["output"], level, piece)
            problems += parsed.problems
            if parsed.label is not None:
                votes[parsed.label] += len(piece)
            words += [Word(w.kind, w.label, *(Span(s.start + job.start, s.end + job.start) for s in w.spans))
                      for w in converter.locate(parsed.items, piece)
                      if w and w.label in converter.task.part(w.kind).labels]
        # An item said twice says nothing new.
        ordered = [w for part in converter.task.parts
                   for w in sorted({w for w in words if w.kind == part.kind}, key=lambda w: w.order)]
        return TaskExtraction(converter.task.name, level, max(votes, key=votes.__getitem__, default=None),
                              tuple(_word(w, text) for w in ordered), any(o["truncated"] for _, o in done),
                              tuple(problems), len(done))


def _word(word: Word, text: str) -> ExtractedWord | ExtractedRelation:
    mentions = [Mention(s.of(text), s.start, s.end) for s in word.spans]
    if len(mentions) == 2:
        return ExtractedRelation(word.kind, word.label, *mentions)
    return ExtractedWord(word.kind, word.label, mentions[0].surface, mentions[0].start, mentions[0].end)
