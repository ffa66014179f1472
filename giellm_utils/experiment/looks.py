"""Looks at test: which stages of an experiment are compared together, and whether that is due.

A look takes the cells and probes of its stages alone, so that what else is trained by then stays unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from giellm_utils.core.cells import Cell, MAIN
from giellm_utils.core.paths import shown
from giellm_utils.core.probe import Probe
from giellm_utils.experiment.cells import read_cell, read_probes
from giellm_utils.experiment.grid import Address, Grid, QueueError, status


class Due(NamedTuple):
    """A look that may be taken, and what it compares; without a name where it is not planned."""

    name: str | None
    stages: list[str]
    cells: list[Cell]
    probes: list[Probe]


def due(grid: Grid, cells: Path, name: str | None = None) -> Due:
    """The look called `name`, else the last whose stages are whole.

    Raises QueueError where no look is planned, its cells do not all stand or were scored on another split,
    and as `status` does for cells of other settings.
    """
    if not grid.looks:
        raise QueueError(f"experiment {grid.name} plans no look: name the stages of one under looks in its "
                         "file")
    if name is not None and name not in grid.looks:
        raise QueueError(f"experiment {grid.name} plans no look {name!r}; it has {', '.join(grid.looks)}")
    found = status(grid, cells)
    lacking = {look: [a for a in found.left if a.stage.name in stages] for look, stages in grid.looks.items()}
    whole = [look for look in grid.looks if not lacking[look]]
    chosen = name or (whole[-1] if whole else next(iter(grid.looks)))
    if left := lacking[chosen]:
        raise QueueError(f"look {chosen} is not due: of its stages {', '.join(grid.looks[chosen])} "
                         f"{len(left)} cells are left, the next is {left[0]}; go on with giellm mre run, or "
                         "take what stands with --partial, which counts as a look all the same")
    stages = grid.looks[chosen]
    return _of(grid, cells, chosen, stages, [a for a in found.done if a.stage.name in stages])


def standing(grid: Grid, cells: Path) -> Due:
    """What stands of the experiment, whatever is planned. Raises QueueError as `due` does, and where nothing
    stands."""
    if not (done := status(grid, cells).done):
        raise QueueError(f"no cell of experiment {grid.name} stands in {shown(cells)}: run it first")
    return _of(grid, cells, None, list(dict.fromkeys(a.stage.name for a in done)), done)


def _of(grid: Grid, cells: Path, name: str | None, stages: list[str], addresses: Sequence[Address]) -> Due:
    compared = [read_cell(a.path(cells)) for a in addresses]
    if other := next((c for c in compared if c.split != grid.split), None):
        raise QueueError(f"cell {other.address} was scored on {other.split}, the experiment on {grid.split}: "
                         "move it away and run it again")
    probed = {(a.dataset, a.condition, a.seed) for a in addresses if a.stage.arm == MAIN}
    return Due(name, stages, compared,
               [p for p in read_probes(cells) if (p.task, p.condition, p.seed) in probed])
