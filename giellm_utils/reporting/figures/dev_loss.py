"""What each lever of training does to the dev loss, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import BLUE, canvas, GREEN, INK, ORANGE, wrap

#: Folder below results/ whose files this draws.
FOLDER = "dev-loss"
#: As experiment.benchmarks.dev_loss names them -> title.
OVER = {"whole": "over the whole vocabulary", "rows": "over the rows that a grammar could allow"}
#: Of the seeds, in their order; colours repeat after the third.
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "D"))


def draw(result: Mapping[str, Any]) -> Figure:
    """Each lever's loss at every seed and their mean, a panel for each set of output rows that it is over.

    `result`: a file of results/dev-loss.
    """
    levers = result["levers"]
    source = (f"{result['source']} · {result['texts']} texts, {result['epochs']} epochs, joint, LoRA, "
              f"{result['dtype']} · loss of {result['dev']} dev texts")
    with canvas(11, 0.62 * len(levers) + 2.2, "Dev loss with one thing changed, nats a target token",
                source) as fig:
        panels = fig.subplots(1, len(OVER), sharey=True)
        for ax, (over, title) in zip(panels, OVER.items(), strict=True):
            ax.set_title(title)
            _panel(ax, [lever["losses"][over] for lever in levers.values()], result["seeds"])
        panels[0].set_yticks(range(len(levers)), [wrap(v["title"], 30) for v in levers.values()], fontsize=9)
        panels[0].set_ylim(len(levers) - 0.4, -0.6)
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5)
    return fig


def _panel(ax: Axes, losses: Sequence[Mapping[str, float]], seeds: Sequence[int]) -> None:
    for i, seed in enumerate(seeds):
        colour, marker = LOOKS[i % len(LOOKS)]
        ax.plot([found[str(seed)] for found in losses], range(len(losses)), marker, color=colour, ms=6,
                label=f"seed {seed}")
    for y, found in enumerate(losses):
        middle = mean(found.values())
        ax.plot([middle, middle], [y - 0.28, y + 0.28], color=INK, lw=1.4)
        ax.annotate(f"mean {middle:.4f}", (middle, y + 0.28), (0, -2), textcoords="offset points",
                    ha="center", va="top", fontsize=8, color=INK)
    ax.margins(x=0.12)
