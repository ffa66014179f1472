"""Every system that was scored on a dataset side by side, one figure for each kind of data.

Our trained models and floors come from runs, the others from results/systems. Systems of one panel were
asked the same documents, or where the label says so the first of them by text hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from giellm_utils.data.registry import TASKS
from giellm_utils.reporting.beside_paper import measured, Ours
from giellm_utils.reporting.figures.style import bounded, canvas, dots, Row, TEXT_METRICS
from giellm_utils.reporting.titles import FEW_METRICS, METRIC_TITLES
from giellm_utils.systems import registry

#: Folder below figures/.
ALL = "systems"
#: Kinds of data by their worth in beside_paper: the name of the figure, and what its title says.
KINDS = (("mmm", "the authors' MMM data"), ("authors", "the authors' data"), ("open", "open data"),
         ("embedded", "the embedded mini corpus"))


def draw(results: Path) -> Iterator[tuple[str, Figure]]:
    """(kind of data, Figure), for those on which a system of results/systems was scored."""
    found = measured(results)
    for worth, (kind, title) in enumerate(KINDS):
        mine = [o for o in found if o.worth == worth]
        panels = {task: kept for task in TASKS if (kept := _once([o for o in mine if o.task == task]))}
        if any(not o.format and o.entry not in _floors() for kept in panels.values() for o in kept):
            yield kind, systems(panels, title)


def _floors() -> set[str]:
    return {name for name, entry in registry.entries().items() if entry.floor}


def _once(found: Sequence[Ours]) -> list[Ours]:
    """Each system once, on the most documents, in the order of tables."""
    best: dict[str, Ours] = {}
    for ours in sorted(found, key=lambda o: -o.scores.n):
        best.setdefault(_label(ours), ours)
    order = registry.ordered({o.entry: None for o in best.values()})
    return sorted(best.values(), key=lambda o: order.index(o.entry))


def _label(ours: Ours) -> str:
    """How a system is called: of a run its model, without what the source line says of it, the datasets it
    learned together, and its format."""
    if not ours.format:
        return ours.title
    mixed = "" if ours.mixed < 2 else f", {ours.mixed} datasets in one"
    written = "" if ours.format == "giellm" else f", format {ours.format}"
    return f"{_model(ours)}, joint{mixed}{written}"


def _model(ours: Ours) -> str:
    return ours.title.partition(",")[0]


def _rows(panel: Sequence[Ours], metric: str) -> list[Row]:
    """A row for each system that has the metric; at word level the majority class is always empty."""
    most, rows = max(o.scores.n for o in panel), []
    for ours in panel:
        score = ours.scores.all.get(metric)
        if score is None or score.value is None:
            continue
        empty = ours.entry == "majority" and metric not in TEXT_METRICS
        label = registry.title("always_empty") if empty else _label(ours)
        fewer = f" (n = {ours.scores.n:,})" if ours.scores.n < most else ""
        look = registry.look(ours.entry)
        rows.append(Row(label + fewer, *bounded(score), look.colour, look.marker))
    return rows


def systems(panels: Mapping[str, Sequence[Ours]], kind: str) -> Figure:
    """The four main metrics of every system with 95 % intervals over documents, one panel a dataset."""
    groups = {task: [(METRIC_TITLES[m], rows) for m in FEW_METRICS if (rows := _rows(panel, m))]
              for task, panel in panels.items()}
    columns = min(2, len(panels))
    lines = [sum(len(rows) + 1.3 for _, rows in found) for found in groups.values()]
    heights = [0.2 * max(lines[i:i + columns]) + 0.75 for i in range(0, len(lines), columns)]
    with canvas(6.9 * columns + 0.4, sum(heights) + 0.9,
                f"Systems side by side on {kind}, per cent on test, with 95 % intervals",
                _source(panels)) as fig:
        grid = fig.add_gridspec(len(heights), columns, height_ratios=heights)
        for i, (task, found) in enumerate(groups.items()):
            n = max(o.scores.n for o in panels[task])
            ax = fig.add_subplot(grid[divmod(i, columns)], title=f"{TASKS[task].title}  (n = {n:,})")
            dots(ax, found)
            ax.set_xlim(-2, 102)
    return fig


def _source(panels: Mapping[str, Sequence[Ours]]) -> str:
    """The data and, in full, the models that the labels shorten."""
    every = [o for panel in panels.values() for o in panel]
    data = list(dict.fromkeys(o.data for o in every))
    models = list(dict.fromkeys(o.title for o in every if o.format))
    return " · ".join([*data, *models])
