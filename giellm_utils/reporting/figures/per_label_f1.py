"""F1 of each word label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from giellm_utils.core.artifacts import LabelScores
from giellm_utils.reporting.figures.style import BLUE, bounded, canvas, dots, GREEN, ORANGE, Row, shown_system
from giellm_utils.reporting.results import RunResults

READS = ("scores.json",)


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    for task, systems in results.scores.tasks.items():
        if found := shown_system(systems, "per_word_label"):
            yield f"per-label-f1-{task}", per_label_f1(found.per_word_label, results.source(task))


def per_label_f1(per_word_label: Mapping[str, LabelScores], source: str) -> Figure:
    """F1 with its 95 % interval for each word label, the most frequent on top; P and R beside it."""
    ranked = sorted(per_word_label.items(), key=lambda kv: -kv[1].support)
    rows = [Row(label, *bounded(score.f1), BLUE, note=f"   {score.support:,} gold")
            for label, score in ranked]
    marks = [(score.precision.value, score.recall.value) for _, score in ranked]
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
