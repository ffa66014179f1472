"""What the first answer of `giellm extract` takes, part after part."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import BLUE, canvas, INK, wrap

#: Folder below results/ whose files this draws.
FOLDER = "extract"


def draw(result: Mapping[str, Any]) -> Figure:
    """Each part's median seconds where it begins, with the smallest and largest behind it, and the command's.

    `result`: a file of results/extract.
    """
    whole, times = median(result["command"]), len(result["command"])
    source = (f"{result['model']} ({result['source']}) · {result['characters']} characters, {times} times, "
              f"each in a new process, warm caches · {result['processors']} processors")
    with canvas(9.6, 0.55 * len(result["parts"]) + 1.7,
                f"The first answer of giellm extract, seconds: {whole:.1f} in all", source) as fig:
        ax, begin = fig.add_subplot(), 0.0
        for y, seconds in enumerate(result["parts"].values()):
            value = median(seconds)
            ax.barh(y, value, left=begin, color=BLUE, height=0.6)
            ax.annotate(f"{value:.2f}  ({min(seconds):.2f} to {max(seconds):.2f})", (begin + value, y),
                        (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
            begin += value
        ax.set_yticks(range(len(result["parts"])),
                      [wrap(result["titles"][name], 34) for name in result["parts"]], fontsize=9)
        ax.set(ylim=(len(result["parts"]) - 0.5, -0.5), xlim=(0, 1.25 * begin))
    return fig
