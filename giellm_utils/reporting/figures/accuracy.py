"""Accuracies of every system with their intervals, one panel a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator

from matplotlib.figure import Figure

from giellm_utils.core.artifacts import ScoresFile
from giellm_utils.reporting.figures.style import canvas, dots, system_rows
from giellm_utils.reporting.results import RunResults
from giellm_utils.reporting.titles import METRIC_TITLES

READS = ("scores.json",)
METRICS = ("tl", "wl_exact", "wl_set", "wl_words", "all", "f1")


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    yield "accuracy", accuracy(results.scores, results.source())


def accuracy(scores: ScoresFile, source: str) -> Figure:
    """Every metric of every system with its 95 % interval, one panel a task."""
    tasks = scores.tasks
    panels = {task: [(METRIC_TITLES[m], rows) for m in METRICS if (rows := system_rows(systems, m))]
              for task, systems in tasks.items()}
    columns = min(2, len(panels))
    n_rows = math.ceil(len(panels) / columns)
    lines = max(sum(len(rows) + 1.3 for _, rows in groups) for groups in panels.values())
    title = "Accuracy on test, per cent, with 95 % intervals"
    with canvas(6.6 * columns + 0.4, n_rows * (0.2 * lines + 0.75) + 0.7, title, source) as fig:
        for i, (task, groups) in enumerate(panels.items()):
            n = max(system.n for system in tasks[task].values())
            ax = fig.add_subplot(n_rows, columns, i + 1, title=f"{task}  (n = {n:,})")
            dots(ax, groups)
            ax.set_xlim(-2, 102)
    return fig
