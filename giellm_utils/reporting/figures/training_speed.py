"""How fast each way of training is, and the loss it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import BLUE, canvas, GREEN, GREY, INK, ORANGE, wrap

#: Folder below results/ whose files this draws.
FOLDER = "training"
#: Others' ways and the whole of ours; what ours was on the way is GREEN.
COLOURS = {"trainer": GREY, "trl": ORANGE, "ours": BLUE}


def draw(result: Mapping[str, Any]) -> Figure:
    """Sequences a second of every way, its multiple of (a), share of the ceiling, memory and loss.

    `result`: a file of results/training.
    """
    ways = result["ways"]
    base = ways.get("trainer", {}).get("sequences_per_second")
    source = (f"{result['source']} · {result['sequences']:,} sequences, joint, LoRA, batch "
              f"{result['batch_size']} · {result['processors']} cores, {result['instructions']} · loss of "
              f"{result['held_out']} held-out texts, one seed")
    with canvas(9.6, 0.62 * len(ways) + 1.7, "How fast each way of training is, sequences a second",
                source) as fig:
        ax = fig.add_subplot()
        for y, (name, way) in enumerate(ways.items()):
            value = way["sequences_per_second"]
            ax.barh(y, value, color=COLOURS.get(name, GREEN), height=0.62)
            times = f"{value / base:.1f} × (a), " if base and name != "trainer" else ""
            ax.annotate(f"{value:.2f}   {times}{100 * way['share_of_ceiling']:.0f} % of the ceiling, "
                        f"{way['peak_gib']:.1f} GiB, loss {way['held_out_loss']:.3f}", (value, y), (4, 0),
                        textcoords="offset points", va="center", fontsize=8.5, color=INK)
        ax.set_yticks(range(len(ways)), [wrap(w["title"], 30) for w in ways.values()], fontsize=9)
        ax.set(ylim=(len(ways) - 0.5, -0.5), xlim=(0, max(w["sequences_per_second"] for w in ways.values())))
        ax.spines["bottom"].set_visible(False)
    return fig
