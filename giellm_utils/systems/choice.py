"""Choosing a setting on dev: the one way in which the fitted systems of this room pick hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any

from giellm_utils.core.schema import Record

Setting = dict[str, Any]


def halves(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """(records to fit on, records to choose on): those outside dev, and dev."""
    return ([r for r in records if r.split != "dev"], [r for r in records if r.split == "dev"])


def choose(grid: Sequence[Setting], score: Callable[[Setting], float], possible: bool) -> Setting:
    """The setting of `grid` with the highest score, the first of equals, with "dev" added: that score.

    Where nothing can be compared (`possible` false: no dev records, or none to fit on), the grid's first,
    with "dev" None.
    """
    if not possible:
        return {**grid[0], "dev": None}
    scored = [(score(setting), setting) for setting in grid]
    best, setting = max(scored, key=lambda pair: pair[0])
    return {**setting, "dev": round(best, 4)}


def f1(gold: Iterable[Collection[Hashable]], found: Iterable[Collection[Hashable]]) -> float:
    """Micro-F1 of sets of things, a pair of sets a text; 0 where there is nothing at all."""
    both = total = 0
    for mine, theirs in ((set(a), set(b)) for a, b in zip(gold, found, strict=True)):
        both += len(mine & theirs)
        total += len(mine) + len(theirs)
    return 2 * both / total if total else 0.0
