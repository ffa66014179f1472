"""Gold text labels against predicted ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from giellm_utils.core.artifacts import Confusion
from giellm_utils.reporting.figures.style import canvas, INK, PAPER, shown_system
from giellm_utils.reporting.results import RunResults

READS = ("scores.json",)


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    for task, systems in results.scores.tasks.items():
        if found := shown_system(systems, "confusion"):
            yield f"confusion-{task}", confusion(found.confusion, task, results.source(task))


def confusion(confusion: Confusion, title: str, source: str) -> Figure:
    """Gold text labels (rows) against predicted ones, coloured by share of the row, counts written in.

    A further last column counts texts for which no label was predicted, whether `labels` names it or not.
    """
    counts = np.asarray(confusion.matrix)
    names = list(confusion.labels)
    names += ["no label"] * (counts.shape[1] - len(names))
    if counts.shape[0] == len(names) and names[-1] == "no label" and not counts[-1].any():
        counts = counts[:-1]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 0.72 * len(names)
    with canvas(max(5.2, size + 1.9), 0.72 * len(counts) + 2.0, title, source) as fig:
        ax = fig.add_subplot(xlabel="predicted", ylabel="gold")
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        # Full-width characters are about 0.14 inch, a cell is 0.72.
        crowded = any(len(name) > 5 for name in names if name != "no label")
        names = [n if crowded else n.replace("no label", "no\nlabel") for n in names]
        ax.set_xticks(range(len(names)), names, rotation=40 if crowded else 0,
                      ha="right" if crowded else "center", rotation_mode="anchor" if crowded else "default")
        ax.tick_params(axis="x", labelcolor=INK)
        ax.set_yticks(range(len(counts)), [f"{n}  ({c:,})" for n, c in zip(names, counts.sum(axis=1),
                                                                          strict=False)])
        for (i, j), count in np.ndenumerate(counts):
            if count:
                ax.text(j, i, f"{count:,}\n{100 * shares[i, j]:.0f} %", ha="center", va="center",
                        fontsize=8.5, color=PAPER if shares[i, j] > 0.55 else INK)
    return fig
