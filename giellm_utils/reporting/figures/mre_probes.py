"""What telling joint models more of one level does to the other: gold, their own or a wrong one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.core.mre_report import ProbeDifference, ProbeReport
from giellm_utils.reporting.figures.style import BLUE, canvas, dots, GREEN, INK, ORANGE, RED, Row
from giellm_utils.reporting.mre_titles import condition_title, task_title
from giellm_utils.reporting.titles import metric_title

FILE = "mre/probes.json"
#: What is told minus what -> colour and marker.
LOOKS = {("gold", "predicted"): (GREEN, "D"), ("predicted", "wrong"): (BLUE, "o"),
         ("gold", "wrong"): (RED, "s"), ("label and gold words", "label alone"): (ORANGE, "D")}


def draw(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    report = ProbeReport.model_validate(result)
    if report.differences:
        yield "probes", probes(report)


def probes(report: ProbeReport) -> Figure:
    """One group a dataset, condition and outcome, one row a difference; ticks are seeds."""
    groups: dict[str, list[tuple[Row, ProbeDifference]]] = {}
    for found in report.differences:
        groups.setdefault(_header(found), []).append((_row(found), found))
    rows = [pair for group in groups.values() for pair in group]
    height = 0.25 * (len(rows) + 1.3 * len(groups)) + 1.6
    with canvas(10, height, "One level when more or less of the other is told, percentage points",
                f"results/mre/probes.json; {max(d.n for _, d in rows):,} test documents a model") as fig:
        ax = fig.add_subplot()
        dots(ax, [(header, [row for row, _ in group]) for header, group in groups.items()], signed=True)
        for y, (_, d) in zip(ax.get_yticks(), rows, strict=True):
            ax.plot([100 * v for v in d.differences], [y] * len(d.seeds), "|", color=INK, ms=9, mew=0.8,
                    alpha=0.6)
        ax.axvline(0, color=INK, lw=1, zorder=1)
        ax.set_xlabel("bar: 95 % over documents and seeds, each alone; thin marks: single seeds; secondary")
    return fig


def _header(found: ProbeDifference) -> str:
    what = "by the likelihood of" if found.a.startswith("label") else "told"
    model = f"{task_title(found.task)}, {condition_title(found.condition)}"
    return f"{model}: {metric_title(found.metric)}, {what}"


def _row(found: ProbeDifference) -> Row:
    return Row(f"{found.a} minus {found.b}", found.value, found.low, found.high,
               *LOOKS[found.a, found.b], note=f"   {len(found.seeds)} seeds")
