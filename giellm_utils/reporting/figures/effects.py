"""The Mutual Reinforcement Effect: joint minus single-level model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib import ticker
from matplotlib.figure import Figure

from giellm_utils.core.artifacts import Effect
from giellm_utils.reporting.figures.style import BLUE, canvas, dots, GREY, INK, RED, Row
from giellm_utils.reporting.results import RunResults
from giellm_utils.reporting.titles import METRIC_TITLES

READS = ("mre.json",)
#: How the verdicts of evaluation.paired read when a is the joint model.
VERDICTS = {"higher": "joint better", "lower": "joint worse"}


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    if found := results.mre.effects:
        yield "effects", effects(found, results.source())


def effects(effects: Sequence[Effect], source: str) -> Figure:
    """Joint minus single-level in percentage points; hollow and grey where the verdict is "undecided".

    Effects without a difference or an interval are left out.
    """
    groups: dict[str, list[Row]] = {}
    effects = [e for e in effects if None not in (e.difference, e.low, e.high)]
    for e in effects:
        open_ = e.verdict == "undecided"
        verdict = VERDICTS.get(e.verdict, e.verdict)
        colour = GREY if open_ else BLUE if e.difference > 0 else RED
        groups.setdefault(e.task, []).append(
            Row(METRIC_TITLES.get(e.metric, e.metric), e.difference, e.low, e.high, colour,
                "o" if open_ or e.difference > 0 else "s", open_, f"   {verdict}"))
    height = 0.25 * sum(len(rows) + 1.3 for rows in groups.values()) + 1.6
    with canvas(9, height, "Joint minus single-level model, percentage points", source) as fig:
        ax = fig.add_subplot()
        dots(ax, list(groups.items()), signed=True)
        reach = 108 * max((max(abs(e.low), abs(e.high)) for e in effects), default=0) or 1
        ax.axvline(0, color=INK, lw=1, zorder=1)
        ax.set_xlim(-reach, reach)
        ax.xaxis.set_major_formatter(
            ticker.FuncFormatter(lambda v, _: f"{v:+g}".replace("-", "−") if v else "0"))
        ax.set_xlabel("← joint worse          joint better →\n"
                      "hollow: undecided, the 95 % interval holds zero")
    return fig
