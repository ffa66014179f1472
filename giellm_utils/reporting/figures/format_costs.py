"""The token cost of our format beside the peers'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import bars, BLUE, canvas, FAINT, ORANGE, SKY
from giellm_utils.reporting.measurements import by_total

#: Folder below results/ whose files this draws.
FOLDER = "token_costs"


def draw(result: Mapping[str, Any]) -> Figure:
    return peer_costs(result)


def peer_costs(result: Mapping[str, Any]) -> Figure:
    """Mean tokens in and out of one text in every format, the cheapest on top; beside the bars the calls a
    text takes, the tokens out, the 95 % interval of the total and which labels the prompts list.

    `result`: a file of results/token_costs.
    """
    formats = by_total(result)
    source = (f"{result['source']} · {result['n']:,} sentences, text class and all entities · peers' formats "
              "from public descriptions, the text class added by us where they have none")
    with canvas(10.6, 0.33 * len(formats) + 1.75, "Tokens a text costs, in our format and in the peers'",
                source) as fig:
        ax = fig.add_subplot(xlabel="tokens a text, all its calls (mean)")
        bars(ax, [f["title"] for f in formats],
             {"in (prompts)": ([f["tokens_in"]["value"] for f in formats], SKY),
              "out (targets)": ([f["tokens_out"]["value"] for f in formats], ORANGE)})
        for label, found in zip(ax.get_yticklabels(), formats, strict=True):
            if found["title"].startswith("ours"):
                label.set_color(BLUE)
        # A column each, so that a small part and a short bar can be read too; in points from the axes, for
        # the layout to keep room for them.
        for points, side, head, cells in (
                (36, "right", "calls", [f"{f['calls']['value']:g}" for f in formats]),
                (74, "right", "out", [f"{f['tokens_out']['value']:.1f}" for f in formats]),
                (90, "left", "total, 95 %", [f"[{f['total']['low']:.1f}, {f['total']['high']:.1f}]"
                                             for f in formats]),
                (176, "left", "labels in\nthe prompt", [f["offers"] for f in formats])):
            look = {"textcoords": "offset points", "ha": side, "fontsize": 8.5}
            ax.annotate(head, (1, 1), (points, 4), xycoords="axes fraction", va="bottom", color=FAINT, **look)
            for y, cell in enumerate(cells):
                ax.annotate(cell, (1, y), (points, 0), xycoords=ax.get_yaxis_transform(), va="center", **look)
        ax.legend(loc="lower right", bbox_to_anchor=(0.97, 1), ncols=2, fontsize=9, handlelength=1,
                  borderaxespad=0.2)
    return fig
