"""A plain pipeline without a language model: words by CRF, the text label by logistic regression.

What a user with the same train records would pick instead. Spans come from one CRF a part of the task
(tagger), relations from a CRF over their arguments and a regression over pairs of those (pairs), the label
from character n-grams (text_label). Every hyper-parameter is chosen on dev from one grid for all tasks, then
all records are learned from. On SCPOS the CRF reads the polarity lexicon from which the words of
SCPOS-open were made: there it re-learns a rule, as the lexicon look-up is that rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.schema import Part, Record, Task, Word
from giellm_utils.systems import pairs, tagger, text_label
from giellm_utils.systems.base import answer, Entry, System
from giellm_utils.systems.choice import choose, f1, halves, Setting
from giellm_utils.systems.floors import NotFittedError
from giellm_utils.systems.pairs import PairClassifier, Related
from giellm_utils.systems.tagger import Labelled, SpanTagger

#: Tags of a relation's argument: it is a head, a tail, or one of each.
HEAD, TAIL, BOTH = "head", "tail", "both"


class SpanFinder:
    """The words of a part whose items are spans."""

    def __init__(self, part: Part) -> None:
        self._kind = part.kind
        self._tagger: SpanTagger | None = None
        self.settings: Setting = {}

    def fit(self, records: Sequence[Record]) -> None:
        """Choose the CRF's weights on dev by span F1, then learn from all records."""
        train, dev = halves(records)

        def score(setting: Setting) -> float:
            found = self._fitted(train, setting).predict(_texts(dev))
            return f1(map(self._spans, dev), found)

        self.settings = choose(tagger.GRID, score, bool(train and dev))
        self._tagger = self._fitted(records, self.settings)

    def _spans(self, record: Record) -> list[Labelled]:
        return [Labelled(w.span, w.label) for w in record.words if w.kind == self._kind]

    def _fitted(self, records: Sequence[Record], setting: Setting) -> SpanTagger:
        return SpanTagger(setting).fit(_texts(records), [self._spans(r) for r in records])

    def predict(self, texts: Sequence[str]) -> list[list[Word]]:
        return [[Word(self._kind, label, span) for span, label in found]
                for found in self._tagger.predict(texts)]


class RelationFinder:
    """The words of a part whose items are relations: first their arguments, then the pairs of those."""

    def __init__(self, part: Part) -> None:
        self._kind = part.kind
        self._tagger: SpanTagger | None = None
        self._pairs: PairClassifier | None = None
        self.settings: Setting = {}

    def fit(self, records: Sequence[Record]) -> None:
        """Choose on dev the CRF by the F1 of arguments, then the regression by that of the relations between
        arguments found; learn from all records."""
        train, dev = halves(records)
        possible = bool(train and dev)

        def arguments(setting: Setting) -> float:
            found = self._tag(train, setting).predict(_texts(dev))
            return f1(map(self._arguments, dev), found)

        chosen = choose(tagger.GRID, arguments, possible)
        given = self._tag(train, chosen).predict(_texts(dev)) if possible else []

        def related(setting: Setting) -> float:
            model = self._classify(train, setting)
            return f1(map(self._relations, dev), [model.predict(r.text, [s.span for s in spans])
                                                  for r, spans in zip(dev, given, strict=True)])

        self.settings = {"arguments": chosen, "pairs": choose(pairs.GRID, related, possible)}
        self._tagger = self._tag(records, chosen)
        self._pairs = self._classify(records, self.settings["pairs"])

    def _relations(self, record: Record) -> list[Related]:
        return [Related(w.span, w.label, w.tail) for w in record.words
                if w.kind == self._kind and w.tail is not None]

    def _arguments(self, record: Record) -> list[Labelled]:
        """The spans that take part in a relation, by the end at which they stand."""
        found = self._relations(record)
        heads, tails = {r.head for r in found}, {r.tail for r in found}
        return [Labelled(s, BOTH if s in heads & tails else HEAD if s in heads else TAIL)
                for s in sorted(heads | tails)]

    def _tag(self, records: Sequence[Record], setting: Setting) -> SpanTagger:
        return SpanTagger(setting).fit(_texts(records), [self._arguments(r) for r in records])

    def _classify(self, records: Sequence[Record], setting: Setting) -> PairClassifier:
        return PairClassifier(setting).fit(_texts(records), [self._relations(r) for r in records])

    def predict(self, texts: Sequence[str]) -> list[list[Word]]:
        return [[Word(self._kind, label, head, tail)
                 for head, label, tail in self._pairs.predict(text, [s.span for s in spans])]
                for text, spans in zip(texts, self._tagger.predict(texts), strict=True)]


def _texts(records: Sequence[Record]) -> list[str]:
    return [r.text for r in records]


class CrfPipeline(System):
    """Text label and words of one task, each from a model of its own that knows nothing of the other."""

    name, level = "crf", "joint"

    def __init__(self, task: Task) -> None:
        self._task = task
        self._label = text_label.TextLabel()
        self._finders = {part.kind: (RelationFinder if part.shape == "relation" else SpanFinder)(part)
                         for part in task.parts}
        self._fitted = False

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen, each with its score on dev ("dev": accuracy or F1), and from which grids."""
        return {"text": self._label.settings,
                "words": {kind: finder.settings for kind, finder in self._finders.items()},
                "grids": {"text": text_label.GRID, "crf": tagger.GRID, "pairs": pairs.GRID},
                "crf_iterations": tagger.ITERATIONS, "library": "sklearn-crfsuite, scikit-learn"}

    def fit(self, records: Sequence[Record]) -> None:
        """Choose on the records of split dev, then learn from all; the first of each grid without any.

        Raises ValueError without records.
        """
        self._label.fit(records)
        for finder in self._finders.values():
            finder.fit(records)
        self._fitted = True

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Raises NotFittedError before `fit`."""
        if not self._fitted:
            raise NotFittedError("the CRF pipeline has learned nothing yet: fit it on the train records")
        texts = _texts(records)
        words = [finder.predict(texts) for finder in self._finders.values()]
        return [answer(self._task, text, label, [w for found in mine for w in found])
                for text, label, *mine in zip(texts, self._label.predict(texts), *words, strict=True)]


ENTRIES = (
    Entry("crf", "CRF and logistic regression", Look(colour="#D55E00", marker="v"), "joint", order=40,
          make=CrfPipeline),
)
