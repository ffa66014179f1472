"""Surfaces -> offsets: the two conventions by which words given as strings find their place.

Spans: the k-th item with the same surface stands for its k-th occurrence. Relations: the head's
first occurrence, for one head often carries several relations, and the tail's nearest to it.
"""

from __future__ import annotations

from giellm_utils.core.schema import Span


def occurrences(surface: str, text: str) -> list[int]:
    """Start of every occurrence of `surface` in `text`, overlapping ones too."""
    found, at = [], text.find(surface)
    while at >= 0:
        found.append(at)
        at = text.find(surface, at + 1)
    return found


def locate_spans(surfaces: list[str], text: str) -> list[Span | None]:
    """A span for each surface, in order; None where its k-th occurrence does not exist."""
    after: dict[str, int] = {}
    spans: list[Span | None] = []
    for surface in surfaces:
        at = text.find(surface, after.get(surface, 0))
        spans.append(Span(at, at + len(surface)) if at >= 0 else None)
        if at >= 0:
            after[surface] = at + len(surface)
    return spans


def locate_relation(head: str, tail: str, text: str) -> tuple[Span, Span] | None:
    """Head and tail of one relation; None when either is empty or not in `text`."""
    heads, tails = (occurrences(surface, text) if surface else [] for surface in (head, tail))
    if not heads or not tails:
        return None
    first = Span(heads[0], heads[0] + len(head))

    def gap(at: int) -> int:
        return max(at - first.end, first.start - (at + len(tail)), 0)

    at = min(tails, key=lambda t: (t == first.start, gap(t), t))
    return first, Span(at, at + len(tail))
