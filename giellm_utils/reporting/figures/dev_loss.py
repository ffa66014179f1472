"""What each lever of training does to the dev loss, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import BLUE, canvas, GREEN, INK, ORANGE, wrap

#: Folder below results/ whose files this draws.
FOLDER = "dev-loss"
#: Of the seeds, in their order; colours repeat after the third.
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "D"))


def draw(result: Mapping[str, Any]) -> Figure:
    """Each lever's loss at every seed and their mean. `result`: a file of results/dev-loss."""
    levers = result["levers"]
    source = (f"{result['source']} · {result['texts']} texts, {result['epochs']} epochs, joint, LoRA, "
              f"{result['dtype']} · loss of {result['dev']} dev texts over the whole vocabulary")
    with canvas(9.6, 0.62 * len(levers) + 2.0, "Dev loss with one thing changed, nats a target token",
                source) as fig:
        ax = fig.add_subplot()
        for i, seed in enumerate(result["seeds"]):
            colour, marker = LOOKS[i % len(LOOKS)]
            ax.plot([lever["losses"][str(seed)] for lever in levers.values()], range(len(levers)), marker,
                    color=colour, ms=6, label=f"seed {seed}")
        for y, lever in enumerate(levers.values()):
            middle = mean(lever["losses"].values())
            ax.plot([middle, middle], [y - 0.28, y + 0.28], color=INK, lw=1.4)
            ax.annotate(f"mean {middle:.4f}", (middle, y + 0.28), (0, -2), textcoords="offset points",
                        ha="center", va="top", fontsize=8, color=INK)
        ax.set_yticks(range(len(levers)), [wrap(lever["title"], 30) for lever in levers.values()], fontsize=9)
        ax.set(ylim=(len(levers) - 0.4, -0.6))
        ax.margins(x=0.08)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(result["seeds"]), fontsize=8.5)
    return fig
