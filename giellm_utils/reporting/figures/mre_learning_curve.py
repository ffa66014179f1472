"""Scores by the number of training texts, joint against single-level models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.core.cells import FEWER, MAIN
from giellm_utils.core.mre_report import MreReport, TrialScore
from giellm_utils.reporting.figures.style import canvas
from giellm_utils.reporting.mre_titles import condition_title, look, task_title
from giellm_utils.reporting.titles import metric_title

FILE = "mre/analysis.json"
METRICS = ("tl", "f1", "wl_exact")


def draw(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    report = MreReport.model_validate(result)
    points = [s for s in report.scores if s.decoding == "constrained" and s.metric in METRICS
              and (s.arm == MAIN or s.arm.startswith(FEWER))]
    for task in dict.fromkeys(s.task for s in points if s.arm != MAIN):
        mine = [s for s in points if s.task == task]
        fewer = {s.condition for s in mine if s.arm != MAIN}
        yield f"learning-curve-{task}", learning_curve(task, [s for s in mine if s.condition in fewer])


def learning_curve(task: str, scores: list[TrialScore]) -> Figure:
    """One panel a metric; lines join means over seeds, small marks are single seeds."""
    metrics = [m for m in METRICS if any(s.metric == m for s in scores)]
    trainings = {(s.condition, s.texts, seed) for s in scores for seed in s.seeds}
    source = (f"results/mre, {len(trainings)} trainings; {max(s.n for s in scores):,} test documents, "
              "constrained decoding")
    with canvas(3.6 * len(metrics) + 0.6, 4.2, f"{task_title(task)}: score by training texts, per cent",
                source) as fig:
        axes = fig.subplots(1, len(metrics), squeeze=False)[0]
        for ax, metric in zip(axes, metrics, strict=True):
            _panel(ax, [s for s in scores if s.metric == metric])
            ax.set_title(metric_title(metric))
        handles = {h.get_label(): h for ax in axes for h in ax.get_legend_handles_labels()[0]}
        fig.legend(handles=list(handles.values()), loc="outside upper right", ncols=len(handles), fontsize=9)
    return fig


def _panel(ax: Axes, scores: list[TrialScore]) -> None:
    for condition in dict.fromkeys(s.condition for s in scores):
        mine = sorted((s for s in scores if s.condition == condition), key=lambda s: s.texts)
        own = look(condition)
        ax.plot([s.texts for s in mine], [100 * s.mean for s in mine], color=own.colour, marker=own.marker,
                ms=6, lw=1.8, label=condition_title(condition))
        for s in mine:
            ax.plot([s.texts] * len(s.values), [100 * v for v in s.values], "_", color=own.colour, ms=9,
                    alpha=0.6)
    texts = sorted({s.texts for s in scores})
    ax.set_xscale("log")
    ax.set_xticks(texts, [f"{n:,}" for n in texts])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.margins(x=0.12)
    ax.set_xlabel("training texts")
    ax.grid(axis="y")
