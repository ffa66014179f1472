"""What a dataset holds: labels by split, text lengths, words per text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.core.artifacts import Composition
from giellm_utils.reporting.figures.style import (
    bars,
    canvas,
    FAINT,
    GREEN,
    GREY,
    INK,
    PAPER,
    SKY,
    SPLIT_COLOURS,
)
from giellm_utils.reporting.results import RunResults

READS = ("composition.json", "provenance.json")
#: Word labels shown in one panel; the rest are summed in one bar.
MOST_LABELS = 32


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    provenance = results.provenance
    for task, stats in results.composition.items():
        yield f"composition-{task}", composition(task, stats, provenance[task].title)


def composition(task_name: str, stats: Composition, source: str) -> Figure:
    """Text labels by split, word labels, text lengths in characters, words per text."""
    texts = sorted(stats.text_labels.items(), key=lambda kv: -sum(kv[1].values()))
    words = sorted(stats.word_labels.items(), key=lambda kv: -kv[1])
    if len(words) > MOST_LABELS:
        rest = words[MOST_LABELS - 1:]
        words = [*words[:MOST_LABELS - 1], (f"{len(rest)} more labels", sum(n for _, n in rest))]
    text_rows = max(0.3 * len(texts), 0.9) + 0.8
    few = len(words) <= len(texts) + 6
    height = text_rows + 3.0 + 0.7 if few else max(text_rows + 4.4, 0.27 * len(words) + 1.6)
    splits = " · ".join(f"{name} {n:,}" for name, n in stats.splits.items())
    with canvas(11, height, f"{task_name}: {splits}", source) as fig:
        # Many word labels take the whole right side; few of them leave its lower half to the last panel.
        grid = fig.add_gridspec(2, 2, height_ratios=(text_rows, 2.4)) if few else fig.add_gridspec(
            3, 2, height_ratios=(text_rows, 2, 2))
        ax = fig.add_subplot(grid[0, 0], title="Text labels: texts by split")
        bars(ax, [label for label, _ in texts],
             {s: ([n.get(s, 0) for _, n in texts], SPLIT_COLOURS.get(s, GREY)) for s in stats.splits})
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8.5, handlelength=1,
                  borderaxespad=0.2, columnspacing=1.2)
        ax = fig.add_subplot(grid[0 if few else slice(None), 1], title="Word labels: words in all splits")
        bars(ax, [label for label, _ in words], {"words": ([n for _, n in words], GREEN)})
        _lengths(fig.add_subplot(grid[1, 0], title="Length of a text", xlabel="characters", ylabel="texts"),
                 stats.lengths)
        _counts(fig.add_subplot(grid[1, 1] if few else grid[2, 0], title="Words in a text", xlabel="words",
                                ylabel="texts"), stats.items_per_text)
    return fig


def _lengths(ax: Axes, lengths: Sequence[int]) -> None:
    """Histogram of characters a text, with the median."""
    median = np.median(lengths)
    ax.hist(np.asarray(lengths), bins=min(30, max(5, len(set(lengths)))), color=SKY, edgecolor=PAPER)
    ax.axvline(median, color=INK, lw=1)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.18)
    ax.text(median, 0.98, f"  median {median:.0f}", va="top", fontsize=8.5,
            transform=ax.get_xaxis_transform())
    ax.grid(axis="y")


def _counts(ax: Axes, items_per_text: Sequence[int]) -> None:
    """Columns of words a text; those without any are grey."""
    counts = Counter(items_per_text)
    columns = ax.bar(list(counts), list(counts.values()), width=0.8,
                     color=[GREY if n == 0 else GREEN for n in counts])
    if len(counts) <= 12:
        ax.bar_label(columns, fontsize=8, color=FAINT, padding=1)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.12)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    ax.grid(visible=False)
