"""The peak memory of trainings as it was planned, part by part, beside the peak that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.core.plan_record import GIB, MemoryFile, METHODS
from giellm_utils.reporting.figures.plan import legend, LOOKS
from giellm_utils.reporting.figures.style import canvas, INK, PAPER
from giellm_utils.reporting.plan_tables import gib, grouped, TENTH, TOLERANCE, within

#: Folder below results/ whose files this draws.
FOLDER = "memory"


def draw(result: Mapping[str, Any]) -> Figure:
    """One bar a training, as planned; over it the measured peak and what is within TOLERANCE of it.

    `result`: a file of results/memory.
    """
    file = MemoryFile.model_validate(result)
    source = (f"{file.source} · the longest sequences of train, joint · {file.dtype}, {file.threads} threads "
              "on a CPU · giellm bench memory")
    top = max(case.predicted.total for case in file.cases) / GIB
    height = 0.34 * len(file.cases) + 0.5
    with canvas(10.5, height + 1.6, "Peak memory: planned (bars) and measured (diamonds)", source) as fig:
        fig.get_layout_engine().set(w_pad=0.13)
        ax = fig.add_subplot(xlabel=f"GiB (line: the measured peak ± {TENTH})")
        for y, case in enumerate(file.cases):
            left, measured = 0.0, case.measured / GIB
            for head, size in grouped(case.predicted).items():
                colour, ink, letter = LOOKS[head]
                ax.barh(y, size, left=left, color=colour, height=0.7, edgecolor=PAPER, lw=0.6)
                # Not where the measured peak is drawn.
                if size > 0.04 * top and left + size < (1 - TOLERANCE) * measured:
                    ax.text(left + size / 2, y, letter, ha="center", va="center", fontsize=8, color=ink)
                left += size
            ax.plot([(1 - TOLERANCE) * measured, (1 + TOLERANCE) * measured], [y, y], color=INK, lw=1.6)
            ax.plot(measured, y, "D", color=INK, ms=6, mfc=PAPER, mew=1.5)
            ax.annotate(f"{gib(case.predicted.total)} planned, {gib(case.measured)} measured"
                        f"{'' if within(case) else f' (not within {TENTH})'}",
                        (max(left, (1 + TOLERANCE) * measured), y), (6, 0), textcoords="offset points",
                        va="center", fontsize=8.5, annotation_clip=False)
        ax.set_yticks(range(len(file.cases)), [
            f"{c.model.split(',')[0]}, {METHODS[c.method]}, batch {c.batch}" for c in file.cases])
        ax.set_ylim(len(file.cases) - 0.5, -0.6)
        ax.set_xlim(left=0)
        legend(ax, 1 + 0.1 / height)
    return fig
