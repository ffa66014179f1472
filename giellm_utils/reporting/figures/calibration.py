"""How far confidences agree with what is right: reliability diagrams of text labels and of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.core.calibration_report import (
    CalibrationReport,
    FOLDER,
    Reliability,
    temperatures_line,
)
from giellm_utils.reporting.figures.style import BLUE, canvas, FAINT, GREEN, GREY, INK

__all__ = ["draw", "FOLDER"]
#: Level -> its title, colour and marker.
LOOKS = {"label": ("text label", BLUE, "o"), "words": ("words", GREEN, "s")}


def draw(result: Mapping[str, Any]) -> Figure:
    return reliability(CalibrationReport.model_validate(result))


def reliability(report: CalibrationReport) -> Figure:
    """Of each dataset and level: the share that is right in each bin of confidence over the mean confidence
    there, and below how many the bin holds. On the diagonal a confidence is what it says."""
    panels = [(task, level, found) for task, both in report.tasks.items()
              for level in LOOKS if (found := getattr(both, level))]
    at = temperatures_line(report.temperatures)
    source = (f"{report.source} · run {report.run}, {report.condition}, {report.split}"
              + (f" · at temperatures fitted on dev: {at}" if at else ""))
    columns = min(2, max(1, len(panels)))
    rows = -(-len(panels) // columns)
    with canvas(4.6 * columns, 5.4 * rows + 0.8, "Confidence and what is right, per cent", source) as fig:
        fig.get_layout_engine().set(w_pad=0.1)
        grid = fig.add_gridspec(2 * rows, columns, height_ratios=(3, 1) * rows)
        for k, (task, level, found) in enumerate(panels):
            row, column = divmod(k, columns)
            upper = fig.add_subplot(grid[2 * row, column])
            _shares(upper, found, level)
            upper.set_title(f"{task}, {LOOKS[level][0]}  (n = {found.n:,})", pad=50)
            _counts(fig.add_subplot(grid[2 * row + 1, column], sharex=upper), found, level)
    return fig


def _shares(ax: Axes, found: Reliability, level: str) -> None:
    """Share right over mean confidence of the bins that hold something, a mark's area by how much; above,
    what sums them up."""
    _, colour, marker = LOOKS[level]
    ax.plot([0, 100], [0, 100], color=GREY, lw=1.2, ls="--", zorder=1)
    top = max(b.n for b in found.bins)
    for b in found.bins:
        if b.n:
            ax.plot(100 * b.confidence, 100 * b.right, marker, ms=max(3, 13 * (b.n / top) ** 0.5),
                    color=colour, alpha=0.8, mew=0, clip_on=False)
    ax.set(xlim=(0, 100), ylim=(0, 100), ylabel="right")
    ax.grid(axis="both")
    ax.tick_params(axis="x", labelbottom=False)
    ax.text(0, 1.03, _said(found), transform=ax.transAxes, fontsize=8.5, color=INK, linespacing=1.5)


def _said(found: Reliability) -> str:
    gap, error, temperature = found.gap, found.error, found.temperature
    lines = [f"right {100 * found.right.value:.1f}, mean confidence {100 * found.confidence.value:.1f}, "
             f"gap {100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
             f"expected calibration error (ECE) {100 * error.value:.1f} "
             f"[{100 * error.low:.1f}, {100 * error.high:.1f}]"]
    if temperature and not temperature.fitted:
        lines.append(f"at temperature {temperature.value:.2f}; without it ECE "
                     f"{100 * temperature.before.value:.1f}")
    elif temperature:
        lines.append(f"temperature {temperature.value:.2f} of one half; ECE of the other "
                     f"{100 * temperature.before.value:.1f} → {100 * temperature.after.value:.1f}")
    return "\n".join(lines).replace("-", "−")


def _counts(ax: Axes, found: Reliability, level: str) -> None:
    """How many each bin holds, in numbers over its bar."""
    top = max(b.n for b in found.bins)
    for b in found.bins:
        middle = 50 * (b.low + b.high)
        ax.bar(middle, b.n, width=9.2, color=LOOKS[level][1], alpha=0.55)
        if b.n:
            ax.text(middle, b.n + 0.04 * top, f"{b.n:,}", ha="center", fontsize=7.5, color=FAINT)
    ax.set(ylim=(0, 1.25 * top), xlabel="confidence", ylabel="n", xticks=range(0, 101, 20), yticks=[])
    ax.grid(visible=False)
