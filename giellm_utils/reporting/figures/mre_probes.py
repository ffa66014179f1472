"""What joint models make of one level when they are told the other: gold, their own, or a wrong one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.core.mre_report import ProbeReport, ProbeScore
from giellm_utils.reporting.figures.style import BLUE, canvas, dots, GREEN, ORANGE, RED, Row, SKY
from giellm_utils.reporting.mre_titles import condition_title, task_title
from giellm_utils.reporting.titles import metric_title

FILE = "mre/probes.json"
#: What is told -> colour and marker.
LOOKS = {"gold": (GREEN, "D"), "predicted": (BLUE, "o"), "wrong": (RED, "s"),
         "label and gold words": (ORANGE, "D"), "label alone": (SKY, "o")}


def draw(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    report = ProbeReport.model_validate(result)
    if report.scores:
        yield "probes", probes(report)


def probes(report: ProbeReport) -> Figure:
    """One group a dataset, condition and outcome; a bar reaches from the lowest to the highest seed."""
    groups: dict[str, list[Row]] = {}
    for score in report.scores:
        groups.setdefault(_header(score), []).append(_row(score))
    height = 0.25 * sum(len(rows) + 1.3 for rows in groups.values()) + 1.6
    with canvas(10, height, "One level when the other is told", f"results/mre/probes.json; "
                f"{max(s.n for s in report.scores):,} test documents a model") as fig:
        ax = fig.add_subplot()
        dots(ax, list(groups.items()))
        ax.set_xlim(0, 100)
        ax.set_xlabel("per cent, mean over seeds; bar: lowest to highest seed (no interval)")
    return fig


def _header(score: ProbeScore) -> str:
    what = "by the likelihood of" if score.told.startswith("label") else "told"
    model = f"{task_title(score.task)}, {condition_title(score.condition)}"
    return f"{model}: {metric_title(score.metric)}, {what}"


def _row(score: ProbeScore) -> Row:
    values = score.values
    return Row(score.told, sum(values) / len(values), min(values), max(values), *LOOKS[score.told])
