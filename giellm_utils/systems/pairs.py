"""Relations between spans: logistic regression over ordered pairs (scikit-learn), no relation as a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any, NamedTuple, TYPE_CHECKING

from giellm_utils.core.schema import Span
from giellm_utils.systems.choice import Setting
from giellm_utils.systems.tagger import kind_of

if TYPE_CHECKING:
    from giellm_utils.data.word_rules import Token

#: Inverse regularisation; chosen on dev, the first in ties and without dev.
GRID: tuple[Setting, ...] = tuple({"C": c} for c in (10.0, 1.0))
NONE = ""
#: Longest text between two spans that is a feature as a whole.
SHORT = 6


class Related(NamedTuple):
    """Head, relation, tail."""

    head: Span
    label: str
    tail: Span


class PairClassifier:
    """A classifier of ordered pairs, fitted with one setting of GRID."""

    def __init__(self, setting: Setting) -> None:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        self._model: Any = make_pipeline(
            DictVectorizer(), LogisticRegression(C=setting["C"], max_iter=1000))
        self._nothing = False

    def fit(self, texts: Sequence[str], relations: Sequence[Sequence[Related]]) -> PairClassifier:
        """Learn from the pairs of spans that take part in a relation; other pairs of them are NONE.

        Returns itself. Without two classes there is nothing to learn, and it finds no relation.
        """
        seen, labels = [], []
        for text, found in zip(texts, relations, strict=True):
            known = {(r.head, r.tail): r.label for r in found}
            spans = sorted({span for pair in known for span in pair})
            for pair, row in _pairs(text, spans):
                seen.append(row)
                labels.append(known.get(pair, NONE))
        self._nothing = len(set(labels)) < 2
        if not self._nothing:
            self._model.fit(seen, labels)
        return self

    def predict(self, text: str, spans: Sequence[Span]) -> list[Related]:
        """The relations between `spans` of one text."""
        pairs = list(_pairs(text, sorted(set(spans))))
        if self._nothing or not pairs:
            return []
        labels = self._model.predict([row for _, row in pairs])
        return [Related(head, str(label), tail)
                for ((head, tail), _), label in zip(pairs, labels, strict=True) if label != NONE]


def _pairs(text: str, spans: Sequence[Span]) -> Iterator[tuple[tuple[Span, Span], dict[str, int]]]:
    """Every ordered pair of spans with its features."""
    from giellm_utils.data.word_rules import tokens

    words = tokens(text)
    ends = {(name, span): _end(name, text, span, words) for name in ("head", "tail") for span in spans}
    for head, tail in permutations(spans, 2):
        between = _between(text, head, tail, spans, words)
        yield (head, tail), dict.fromkeys([*ends["head", head], *ends["tail", tail], *between], 1)


def _end(name: str, text: str, span: Span, words: Sequence[Token]) -> list[str]:
    """Of a head or tail: its surface, its script, its morphemes and what stands around it."""
    surface = span.of(text)
    inside = [w for w in words if span.start <= w.start and w.end <= span.end]
    found = [f"is {surface}", f"scripts {'-'.join(dict.fromkeys(map(kind_of, surface)))}",
             *(f"ends {surface[-n:]}" for n in (1, 2)),
             *(f"after {text[span.end:span.end + n]}" for n in (1, 2)),
             f"before {text[max(0, span.start - 2):span.start]}", *(f"has {w.base}" for w in inside),
             *(f"class {'-'.join(w.pos)}" for w in inside)]
    return [f"{name} {feature}" for feature in found]


def _between(text: str, head: Span, tail: Span, spans: Sequence[Span], words: Sequence[Token]) -> list[str]:
    """Which comes first, and what stands between the two."""
    first, last = sorted((head, tail))
    inside = [w.base for w in words if first.end <= w.start and w.end <= last.start]
    gap = text[first.end:last.start]
    others = sum(first.end <= s.start and s.end <= last.start for s in spans)
    scripts = "/".join(kind_of(s.of(text)[-1]) for s in (head, tail))
    found = [f"between {base}" for base in inside]
    found += [f"gap {gap if len(gap) <= SHORT else '...'}", f"words {min(len(inside), 12) // 2}",
              f"spans {min(others, 4)}", f"scripts {scripts}"]
    order = "head first" if head == first else "tail first"
    return [order, *(f"{order} {feature}" for feature in found)]
