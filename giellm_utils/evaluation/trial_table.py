"""The MRE experiment's cells side by side: one dataset's documents in one order, metrics as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from giellm_utils.core.artifacts import Decoding
from giellm_utils.core.cells import Cell, Counts, MAIN
from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.core.errors import GiellmError
from giellm_utils.evaluation.pairs import Pairs
from giellm_utils.evaluation.score import ratio_columns

#: The two single-level models side by side, each answering its level: what ALL of joint is held against.
SINGLES = "text+words"


class TrialError(GiellmError, ValueError):
    """Cells that cannot be compared; the message names them and says what to do."""


class Trials:
    """All cells by task, arm and condition, whatever order they came in.

    Raises TrialError for two cells of one address and for cells of one dataset that do not hold the same
    documents.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells: dict[tuple[str, str, str], dict[int, Cell]] = {}
        first: dict[str, Cell] = {}
        for cell in sorted(cells, key=lambda c: (c.task, c.arm != MAIN, c.arm, condition_place(c.condition),
                                                 c.seed)):
            seeds = self.cells.setdefault((cell.task, cell.arm, cell.condition), {})
            if cell.seed in seeds:
                raise TrialError(f"cell {cell.address} is given twice: keep one of the two files")
            seeds[cell.seed] = cell
            _same_documents(first.setdefault(cell.task, cell), cell)
        self.frame = lru_cache(maxsize=None)(self._frame)

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(task for task, _, _ in self.cells))

    def arms(self, *tasks: str) -> list[str]:
        return list(dict.fromkeys(arm for task, arm, _ in self.cells if task in tasks))

    def conditions(self, arm: str, *tasks: str) -> list[str]:
        """Those that every one of `tasks` has in this arm, in the registry's order."""
        found = [{c for t, a, c in self.cells if (t, a) == (task, arm)} for task in tasks]
        return sorted(set.intersection(*found), key=condition_place)

    def seeds(self, task: str, arm: str, condition: str) -> set[int]:
        """The seeds of a condition; of "text+words" those that both have, of "NAME@ARM" that arm's."""
        condition, _, other = condition.partition("@")
        found = [set(self.cells.get((task, other or arm, c), {})) for c in condition.split("+")]
        return set.intersection(*found)

    def precisions(self, task: str, arm: str, condition: str, seed: int) -> set[str]:
        """What a seed's cells were computed in; conditions as for `seeds`."""
        condition, _, other = condition.partition("@")
        return {self.cells[task, other or arm, c][seed].precision for c in condition.split("+")}

    def texts(self, task: str, arm: str, condition: str) -> set[int]:
        """How many texts its trainings learned from."""
        return {cell.texts for cell in self.cells[task, arm, condition].values()}

    def measures(self, task: str, arm: str, condition: str, way: Decoding, metric: str) -> bool:
        """Whether all cells of a condition have this metric under this way of decoding."""
        seeds = self.seeds(task, arm, condition)
        return bool(seeds) and all(
            (frame := self.frame(task, arm, condition, seed, way)) is not None
            and ratio_columns(frame, metric) is not None for seed in seeds)

    def columns(self, task: str, arm: str, condition: str, way: Decoding, metric: str,
                seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of a metric, each [documents by id, seeds]."""
        both = [ratio_columns(self.frame(task, arm, condition, seed, way), metric) for seed in seeds]
        return np.column_stack([above for above, _ in both]), np.column_stack([below for _, below in both])

    def pairs(self, task: str, arm: str, a: str, b: str, way: Decoding, metric: str,
              seeds: Sequence[int]) -> Pairs:
        """Condition `a` and condition `b` on the same documents and seeds, by id."""
        cell = self._any_of(task)
        clusters = tuple(c for _, c in sorted(zip(cell.ids, cell.clusters, strict=True)))
        return Pairs(clusters, *self.columns(task, arm, a, way, metric, seeds),
                     *self.columns(task, arm, b, way, metric, seeds))

    def gold(self, task: str) -> list[int]:
        """Gold words of each document, by id."""
        cell = self._any_of(task)
        return [g for _, g in sorted(zip(cell.ids, cell.gold, strict=True))]

    def _any_of(self, task: str) -> Cell:
        return next(cell for (t, _, _), seeds in self.cells.items() if t == task for cell in seeds.values())

    def _frame(self, task: str, arm: str, condition: str, seed: int, way: Decoding) -> pd.DataFrame | None:
        """The columns that score.ratio_columns reads, by id; None where it was not decoded this way."""
        condition, _, other = condition.partition("@")
        frames = [cell_frame(self.cells[task, other or arm, c][seed], way) for c in condition.split("+")]
        if any(f is None for f in frames):
            return None
        frame = frames[0]
        for more in frames[1:]:
            frame = frame.combine_first(more)
        return frame.assign(all=frame["tl"] * frame["wl_exact"], all_set=frame["tl"] * frame["wl_set"])


def cell_frame(cell: Cell, way: Decoding) -> pd.DataFrame | None:
    """One cell's documents by id, in the order of ids; None where it was not decoded this way."""
    counts = cell.decoded.get(way)
    return None if counts is None else counts_frame(counts, cell.ids, cell.gold).sort_index()


def counts_frame(counts: Counts, ids: Sequence[str], gold: Sequence[int]) -> pd.DataFrame:
    """Documents under the column names of evaluation.score, by id; NaN where the level has none."""
    nothing = [np.nan] * len(ids)
    matched, predicted = (np.array(c if c is not None else nothing, float)
                          for c in (counts.matched, counts.predicted))
    return pd.DataFrame(
        {"tl": counts.tl or nothing, "wl_exact": counts.wl_exact or nothing,
         "wl_set": counts.wl_set or nothing, "tp": matched, "fp": predicted - matched,
         "fn": np.array(gold, float) - matched, "well_formed": counts.well_formed,
         "truncated": counts.truncated}, index=list(ids), dtype=float)


def condition_place(name: str) -> tuple[int, str]:
    """As the conditions are registered, then by name."""
    known = list(CONDITIONS)
    return known.index(name) if name in known else len(known), name


def _same_documents(first: Cell, cell: Cell) -> None:
    a, b = ({i: (c, g) for i, c, g in zip(x.ids, x.clusters, x.gold, strict=True)} for x in (first, cell))
    if a == b:
        return
    if different := set(a) ^ set(b):
        raise TrialError(f"cells {first.address} and {cell.address} hold different documents "
                         f"({len(different)} stand in one only, for example {min(different)}): "
                         "score both on the same records")
    example = min(i for i in a if a[i] != b[i])
    raise TrialError(f"cells {first.address} and {cell.address} differ in the cluster or the gold items of "
                     f"{example}: they were made from different data, score both again")
