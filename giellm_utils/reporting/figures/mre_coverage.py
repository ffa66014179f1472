"""How often each kind of 95 % interval holds the truth in simulated experiments of this shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from giellm_utils.core.mre_report import CoverageCase, CoverageReport
from giellm_utils.reporting.figures.style import BLUE, canvas, FAINT, INK, ORANGE, wrap
from giellm_utils.reporting.mre_tables import METHODS
from giellm_utils.reporting.titles import metric_title

FILE = "mre/coverage.json"
COLOURS = (ORANGE, BLUE)
MARKERS = {"tl": "o", "f1": "D"}
#: How far the dots of one row are apart.
SPREAD = 0.28


def draw(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    yield "coverage", coverage(CoverageReport.model_validate(result))


def coverage(report: CoverageReport) -> Figure:
    """One panel a number of seeds, one row a method, one dot a case; worst and best in numbers."""
    sds = sorted({c.seed_sd for c in report.cases})
    source = (f"results/mre/coverage.json, {report.repetitions:,} simulated experiments a dot; small to "
              f"large: sd between seeds of {', '.join(f'{100 * sd:g}' for sd in sds)} points")
    seeds = sorted({c.seeds for c in report.cases})
    documents = sorted({c.documents for c in report.cases})
    with canvas(10.5, 4.4, "How often a 95 % interval holds the truth, per cent", source) as fig:
        axes = fig.subplots(1, len(seeds), sharey=True, squeeze=False)[0]
        for ax, n in zip(axes, seeds, strict=True):
            _panel(ax, [c for c in report.cases if c.seeds == n], documents, sds)
            ax.set_title(f"{n} seeds")
        handles = [Line2D([], [], ls="", marker=marker, color=colour, ms=6,
                          label=f"{metric_title(metric)}, {n:,} documents")
                   for metric, marker in MARKERS.items()
                   for n, colour in zip(documents, COLOURS, strict=False)]
        fig.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8.5)
    return fig


def _panel(ax: Axes, cases: list[CoverageCase], documents: list[int], sds: list[float]) -> None:
    methods = [m for m in METHODS if m in cases[0].methods]
    ax.axvline(95, color=INK, lw=1, zorder=1)
    for y, method in enumerate(methods):
        found = [100 * c.methods[method].coverage for c in cases]
        for i, (c, value) in enumerate(zip(cases, found, strict=True)):
            offset = SPREAD * (2 * i / max(1, len(cases) - 1) - 1)
            ax.plot(value, y + offset, MARKERS[c.metric], ms=3 + 1.8 * sds.index(c.seed_sd), alpha=0.85,
                    color=COLOURS[documents.index(c.documents)])
        ax.text(1.02, y, f"{min(found):.1f} to {max(found):.1f}", transform=ax.get_yaxis_transform(),
                va="center", fontsize=8.5, color=FAINT)
    ax.set_yticks(range(len(methods)), [wrap(METHODS[m], 26) for m in methods], fontsize=8.5)
    ax.set(ylim=(len(methods) - 0.5, -0.5), xlim=(50, 101))
