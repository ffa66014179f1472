"""Texts -> labels and words with character offsets: `Extractor.from_pretrained(folder).extract(texts)`.

Decoding is constrained, so every word stands in its text: text[start:end] == surface. Offsets are Unicode
code points, end exclusive; confidences are as results.py says. Texts longer than those of training are cut
at sentence ends and put together again; a relation across a cut is lost. Memory holds one window of texts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from giellm_utils.core.calibration_report import at_temperature, Temperatures
from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.schema import Level, Span, Word
from giellm_utils.data.offsets import locate
from giellm_utils.formats.base import Format
from giellm_utils.inference.cut import cut, Limits
from giellm_utils.inference.results import extracted, Extraction, TaskExtraction
from giellm_utils.models.bundle import Bundle, CARD, Card, open_bundle

#: Texts decoded together, and the characters they may hold together. Results come in the order of the
#: texts, the window is decoded by length: what a kill costs is at most a window.
WINDOW, WINDOW_CHARACTERS = 256, 1_000_000
#: Tokens set aside for the beginning of sequence and for merges that a cut undoes.
_SLACK = 8

OnError = Callable[[int, str], None]
#: A confidence, None where the decoder does not know it.
Sure = float | None


class ExtractionError(GiellmError, ValueError):
    """A task, level or text that cannot be used; the message says which, why, and what to do."""


class Decoder(Protocol):
    """constrained.ConstrainedDecoder, or what stands in for it."""

    def decode(self, requests: Iterable[Any], on_error: OnError | None = None,
               ) -> Iterator[tuple[int, Mapping[str, Any]]]: ...


class _Job(NamedTuple):
    """One piece of the text at `at` in the window, for one task."""

    at: int
    task: str
    start: int
    end: int


#: A piece and its output.
_Done = tuple[_Job, Mapping[str, Any]]


class Extractor:
    """A trained model that reads texts. `tokenizer` counts the tokens of texts that may be too long.

    Raises ExtractionError for a model that wants the other level in its prompt, or learned a placebo.
    """

    def __init__(self, decoder: Decoder, tokenizer: Any, card: Card, batch_size: int = 16) -> None:
        condition = CONDITIONS.get(card.condition or "")
        if condition and condition.given != "nothing":
            raise ExtractionError(f"this model was trained as {condition.name} and wants the other level of "
                                  "a text in its prompt, which a new text has not; take one trained as joint")
        if condition and condition.partner != "gold":
            raise ExtractionError(f"this model was trained as {condition.name}, a control of the experiment "
                                  "with made-up labels; take one trained as joint")
        self.decoder, self.tokenizer, self.card, self.batch_size = decoder, tokenizer, card, batch_size
        self.formats = card.formats()

    @classmethod
    def from_pretrained(cls, folder_or_id: str | Path, *, base: str | None = None,
                        tasks: Sequence[str] | None = None, format_name: str | None = None,
                        batch_size: int = 16) -> Extractor:
        """The model in a training's folder (adapter or full model), or of a Hub id.

        `base`, `tasks` and `format_name` replace what its giellm.json says; without that file `tasks` are
        needed and, for an adapter, `base`. Raises BundleError, ModelError where weights cannot be loaded,
        and FormatError for a format without a grammar.
        """
        return cls.of(open_bundle(folder_or_id, base=base, tasks=tasks, format_name=format_name, light=True),
                      batch_size)

    @classmethod
    def of(cls, bundle: Bundle, batch_size: int = 16) -> Extractor:
        """The extractor of a model that is loaded already."""
        # Here, for torch takes seconds to load, and the command line shows its help without it.
        from giellm_utils.inference.constrained import ConstrainedDecoder, context
        from giellm_utils.inference.matcher import constraints

        card = bundle.card
        grammars = constraints(bundle.tokenizer, bundle.formats, bundle.max_items, bundle.rows)
        make = ConstrainedDecoder
        if hasattr(bundle.model, "config"):  # a model of transformers, which is loaded then
            from giellm_utils.inference.seq2seq import grammar_decoder as make
        decoder = make(bundle.model, bundle.tokenizer, grammars, batch_size=batch_size)
        card = card.model_copy(update={"context": min(card.context, context(bundle.model) or card.context)})
        return cls(decoder, bundle.tokenizer, card, batch_size)

    def extract(self, texts: Iterable[str], tasks: str | Sequence[str] | None = None,
                level: Level = "joint", on_error: OnError | None = None) -> Iterator[Extraction]:
        """Results in the order of `texts`, which is read one window ahead at most.

        `tasks`: names of the card's tasks (all of them where None). A text that cannot be read goes to
        `on_error(its number, reason)`, or raises ExtractionError where that is None.
        """
        if isinstance(texts, str):
            raise ExtractionError("texts is one string; give a list of texts, [text] for one")
        names = [tasks] if isinstance(tasks, str) else list(self.formats if tasks is None else tasks)
        unknown = [n for n in names if n not in self.formats]
        if unknown or not names or len(set(names)) != len(names):
            raise ExtractionError(f"tasks {names} must be distinct names of what this model was trained on: "
                                  f"{', '.join(self.formats)}")
        if level not in self.card.levels:
            raise ExtractionError(f"level {level!r} is not one that this model was trained at; "
                                  f"give {' or '.join(map(repr, self.card.levels))}")
        return self._stream(texts, {name: self._limits(name, level) for name in names}, level, on_error)

    def _limits(self, name: str, level: Level) -> Limits:
        """What a piece of text may hold: tokens beside those of the options and the output, characters as
        in training."""
        fmt, task = self.formats[name], self.card.tasks[name]
        used = len(self.tokenizer([fmt.prompt("", level)]).input_ids[0]) + _SLACK
        # Some formats give the text twice.
        limit = (self.card.context - task.budgets[level] - used) // fmt.prompt("\0", level).count("\0")
        if limit < 16:
            raise ExtractionError(f"a context of {self.card.context} tokens leaves {limit} for the text of "
                                  f"task {name}; raise context or lower the budget in its {CARD}")
        return Limits.of(limit, task.lengths, [p.instruction for p in fmt.task.parts])

    def _stream(self, texts: Iterable[str], limits: Mapping[str, Limits], level: Level,
                on_error: OnError | None) -> Iterator[Extraction]:
        first, source = 0, iter(texts)
        while window := self._read(source):
            yield from self._window(first, window, limits, level, on_error)
            first += len(window)

    def _window(self, first: int, window: Sequence[str], limits: Mapping[str, Limits], level: Level,
                on_error: OnError | None) -> Iterator[Extraction]:
        """Results of a window of texts in their order, each as soon as those before it are there."""
        failed = {at: f"it is {type(text).__name__}, not str; give a string"
                  for at, text in enumerate(window) if not isinstance(text, str)}
        jobs = [_Job(at, name, start, end) for at, text in enumerate(window) if at not in failed
                for name, bounds in limits.items() for start, end in cut(text, self._count, bounds)]
        left = Counter(job.at for job in jobs)
        done: dict[int, list[_Done]] = defaultdict(list)
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
        from giellm_utils.inference.constrained import Request

        for job in jobs:
            piece = window[job.at][job.start:job.end]
            yield Request(self.formats[job.task].prompt(piece, level), piece, job.task, level,
                          self.card.tasks[job.task].budgets[level])

    def _extraction(self, index: int, text: str, names: Iterable[str], level: Level,
                    done: Sequence[_Done]) -> Extraction:
        results = []
        for name in names:
            mine = sorted((pair for pair in done if pair[0].task == name), key=lambda pair: pair[0].start)
            results.append(_together(text, self.formats[name], level, mine,
                                     self.card.tasks[name].temperatures))
        parts = {name: self.formats[name].task.parts for name in names}
        return Extraction(index, text, tuple(results), {
            name: tuple(label for part in parts[name] for label in part.labels) for name in names})


def confidences(fmt: Format, output: Mapping[str, Any], level: Level) -> tuple[Sure, list[Sure]]:
    """(of the text label, None where none was asked for; of each item, as Answer.items) of one output of a
    decoder: the product of the probabilities of the tokens that were chosen and write any of it.

    Forced tokens count 1; one that writes the end of one item and the beginning of the next counts in both.
    All are None where the decoder does not know its probabilities.
    """
    places = fmt.places(output["output"], level)
    if output["choices"] is None:
        return None, [None] * len(places.items)

    def product(place: tuple[int, int]) -> float:
        return math.exp(sum(c.log_probability for c in output["choices"]
                            if c.start < place[1] and place[0] < c.end))

    return places.label and product(places.label), [product(place) for place in places.items]


def _together(text: str, fmt: Format, level: Level, done: Sequence[_Done],
              temperatures: Temperatures) -> TaskExtraction:
    """One result from the outputs of a text's pieces, in their order."""
    def said(sure: Sure, what: Literal["label", "words"]) -> Sure:
        return sure if sure is None or what not in temperatures else at_temperature(sure, temperatures[what])

    votes: dict[str, list[tuple[int, Sure]]] = defaultdict(list)
    words: dict[Word, Sure] = {}
    problems = []
    for job, output in done:
        piece = text[job.start:job.end]
        answer = fmt.parse(output["output"], level, piece)
        problems += answer.problems
        label_sure, items_sure = confidences(fmt, output, level)
        if answer.label is not None:
            votes[answer.label].append((len(piece), label_sure))
        for w, sure in zip(locate(answer.items, piece), items_sure, strict=True):
            if w and w.label in fmt.task.part(w.kind).labels:
                word = Word(w.kind, w.label, *(Span(s.start + job.start, s.end + job.start) for s in w.spans))
                # An item said twice says nothing new.
                words[word] = max((x for x in (sure, words.get(word)) if x is not None), default=None)
    label, sure = _winner(votes)
    ordered = [w for part in fmt.task.parts
               for w in sorted((w for w in words if w.kind == part.kind), key=lambda w: w.order)]
    return TaskExtraction(fmt.task.name, level, label, said(sure, "label"),
                          tuple(extracted(w, text, said(words[w], "words")) for w in ordered),
                          any(o["truncated"] for _, o in done), tuple(problems), len(done))


def _winner(votes: Mapping[str, Sequence[tuple[int, Sure]]]) -> tuple[str | None, Sure]:
    """The text label of most characters, and the mean confidence of the pieces that say so; `votes`: label
    -> (characters, confidence) of each of its pieces."""
    if not votes:
        return None, None
    label = max(votes, key=lambda name: sum(size for size, _ in votes[name]))
    if any(sure is None for _, sure in votes[label]):
        return label, None
    return label, sum(size * sure for size, sure in votes[label]) / sum(size for size, _ in votes[label])
