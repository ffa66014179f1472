"""Surfaces -> offsets: the one rule by which words given as strings find their place.

Spans: the k-th item with the same surface stands for its k-th occurrence, counted from the left
without overlap. Relations: the head's first occurrence, for one head often carries several
relations, and the tail's nearest to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from giellm_utils.core.schema import Item, Span, Word


def locate(items: Iterable[Item], text: str) -> list[Word | None]:
    """One Word an item; None where a surface is empty or not in `text`.

    Items of each kind count their occurrences apart. An item too many stands for the last occurrence,
    which is then taken twice.
    """
    last: dict[tuple[str, str], Span] = {}
    words: list[Word | None] = []
    for item in items:
        if len(item.surfaces) == 2:
            spans: Sequence[Span] | None = locate_relation(item.surfaces[0], item.surfaces[1], text)
        else:
            key = (item.kind, item.surfaces[0])
            span = _next(item.surfaces[0], text, last.get(key)) or last.get(key)
            if span:
                last[key] = span
            spans = span and (span,)
        words.append(Word(item.kind, item.label, *spans) if spans else None)
    return words


def locate_spans(surfaces: Iterable[str], text: str) -> list[Span | None]:
    """A span for each surface, in order; None where its k-th occurrence does not exist."""
    last: dict[str, Span] = {}
    spans = []
    for surface in surfaces:
        span = _next(surface, text, last.get(surface))
        if span:
            last[surface] = span
        spans.append(span)
    return spans


def _next(surface: str, text: str, last: Span | None) -> Span | None:
    """The first occurrence of `surface` that begins where `last` ends or later; None for an empty surface."""
    at = text.find(surface, last.end if last else 0) if surface else -1
    return Span(at, at + len(surface)) if at >= 0 else None


def locate_relation(head: str, tail: str, text: str) -> tuple[Span, Span] | None:
    """Head and tail of one relation; None when either is empty or not in `text`."""
    heads, tails = (_occurrences(surface, text) if surface else [] for surface in (head, tail))
    if not heads or not tails:
        return None
    first = Span(heads[0], heads[0] + len(head))

    def gap(at: int) -> int:
        return max(at - first.end, first.start - (at + len(tail)), 0)

    at = min(tails, key=lambda t: (t == first.start, gap(t), t))
    return first, Span(at, at + len(tail))


def _occurrences(surface: str, text: str) -> list[int]:
    """Start of every occurrence of `surface` in `text`, overlapping ones too."""
    found, at = [], text.find(surface)
    while at >= 0:
        found.append(at)
        at = text.find(surface, at + 1)
    return found
