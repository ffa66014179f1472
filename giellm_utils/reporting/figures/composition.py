"""Every figure, one function each: plain dicts and DataFrames read from result files in, a Figure out.

Shares (accuracy, F1, differences) come in as numbers in [0, 1] and are drawn in per cent. Every
figure ends with its source line; `save` writes it as PNG and SVG.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import (
    FAINT, GREEN, GREY, INK, PAPER, SKY, SPLIT_COLOURS, bars, canvas)

#: Word labels shown in one panel; the rest are summed in one bar.
MOST_LABELS = 32


def composition(task_name: str, stats_of_task: Mapping[str, Any], source: str) -> Figure:
    """What a dataset holds: text labels by split, word labels, text lengths, words per text.

    `stats_of_task`: {"splits": {split: n}, "text_labels": {label: {split: n}}, "word_labels": {label: n},
    "lengths": [characters of each text], "items_per_text": [words of each text]}.
    """
    stats = stats_of_task
    texts = sorted(stats["text_labels"].items(), key=lambda kv: -sum(kv[1].values()))
    words = sorted(stats["word_labels"].items(), key=lambda kv: -kv[1])
    if len(words) > MOST_LABELS:
        rest = words[MOST_LABELS - 1:]
        words = [*words[:MOST_LABELS - 1], (f"{len(rest)} more labels", sum(n for _, n in rest))]
    text_rows = max(0.3 * len(texts), 0.9) + 0.8
    few = len(words) <= len(texts) + 6
    height = text_rows + 3.0 + 0.7 if few else max(text_rows + 4.4, 0.27 * len(words) + 1.6)
    splits = " · ".join(f"{name} {n:,}" for name, n in stats["splits"].items())
    with canvas(11, height, f"{task_name}: {splits}", source) as fig:
        # Many word labels take the whole right side; few of them leave its lower half to the last panel.
        grid = fig.add_gridspec(2, 2, height_ratios=(text_rows, 2.4)) if few else fig.add_gridspec(
            3, 2, height_ratios=(text_rows, 2, 2))
        ax = fig.add_subplot(grid[0, 0], title="Text labels: texts by split")
        bars(ax, [label for label, _ in texts],
              {s: ([n.get(s, 0) for _, n in texts], SPLIT_COLOURS.get(s, GREY)) for s in stats["splits"]})
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8.5, handlelength=1,
                  borderaxespad=0.2, columnspacing=1.2)
        ax = fig.add_subplot(grid[0 if few else slice(None), 1], title="Word labels: words in all splits")
        bars(ax, [label for label, _ in words], {"words": ([n for _, n in words], GREEN)})

        ax = fig.add_subplot(grid[1, 0], title="Length of a text", xlabel="characters", ylabel="texts")
        lengths = np.asarray(stats["lengths"])
        ax.hist(lengths, bins=min(30, max(5, len(set(stats["lengths"])))), color=SKY, edgecolor=PAPER)
        ax.axvline(np.median(lengths), color=INK, lw=1)
        ax.set_ylim(0, ax.get_ylim()[1] * 1.18)
        ax.text(np.median(lengths), 0.98, f"  median {np.median(lengths):.0f}", va="top", fontsize=8.5,
                transform=ax.get_xaxis_transform())
        ax.grid(axis="y")

        place = grid[1, 1] if few else grid[2, 0]
        ax = fig.add_subplot(place, title="Words in a text", xlabel="words", ylabel="texts")
        counts = Counter(stats["items_per_text"])
        columns = ax.bar(list(counts), list(counts.values()), width=0.8,
                         color=[GREY if n == 0 else GREEN for n in counts])
        if len(counts) <= 12:
            ax.bar_label(columns, fontsize=8, color=FAINT, padding=1)
        ax.set_ylim(0, ax.get_ylim()[1] * 1.12)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
        ax.grid(visible=False)
    return fig
