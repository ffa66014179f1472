"""TODO"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import BLUE, GREEN, ORANGE, Row, canvas, dots


def per_label_f1(per_word_label: Mapping[str, Mapping[str, Any]], source: str) -> Figure:
    """F1 with its 95 % interval for each word label, the most frequent on top; P and R beside it.

    `per_word_label`: {label: {"f1": {"value", "low", "high"}, "precision", "recall", "support"}}, where
    precision and recall may be numbers or dicts with "value".
    """
    ranked = sorted(per_word_label.items(), key=lambda kv: -kv[1]["support"])
    rows, marks = [], []
    for label, score in ranked:
        p, r = (v["value"] if isinstance(v, Mapping) else v for v in (score["precision"], score["recall"]))
        value, low, high = (score["f1"].get(k) for k in ("value", "low", "high"))
        value = math.nan if value is None else value
        rows.append(Row(label, value, value if low is None else low, value if high is None else high, BLUE,
                        note=f"   {score['support']:,} gold"))
        marks.append((p, r))
    with canvas(8.6, 0.27 * len(rows) + 1.75, "F1 of each word label, per cent", source) as fig:
        ax = fig.add_subplot(xlim=(-2, 102))
        for y, (p, r) in enumerate(marks):
            for value, (marker, colour) in ((p, ("<", ORANGE)), (r, (">", GREEN))):
                if value is not None:
                    ax.plot(100 * value, y, marker, color=colour, ms=5, alpha=0.9)
        dots(ax, [("", rows)])
        for name, look, colour in (("precision", "<", ORANGE), ("recall", ">", GREEN),
                                   ("F1, 95 % interval", "o-", BLUE)):
            ax.plot([], [], look, color=colour, label=name)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8.5)
    return fig
