"""How far the text label is predictable from gold words, beside the text: a bound on reinforcement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.core.mre_report import BoundReport
from giellm_utils.reporting.figures.style import BLUE, canvas, dots, GREEN, GREY, ORANGE, Row
from giellm_utils.reporting.mre_titles import task_title

FILE = "mre/bound.json"
#: Source -> label, colour, marker.
LOOKS = {"majority": ("most frequent label", GREY, "|"), "word labels": ("gold word labels", ORANGE, "s"),
         "words": ("gold words with labels", ORANGE, "D"), "text": ("text", BLUE, "o"),
         "text and words": ("text and gold words", GREEN, "o")}


def draw(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    yield "bound", bound(BoundReport.model_validate(result))


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def bound(report: BoundReport) -> Figure:
    """Accuracy of a plain classifier on test, one row a source, one group a dataset."""
    groups = []
    for task in report.tasks:
        rows = []
        for p in task.text_label:
            label, colour, marker = LOOKS[p.source]
            note = f"   {_signed(task.gain.value)} on the text" if p.source == "text and words" else ""
            rows.append(Row(label, p.accuracy, p.low, p.high, colour, marker, note=note))
        header = f"{task_title(task.task)} (n = {task.test:,})"
        if w := task.word_labels:
            header += (f"; a word's label: {w.bits:.2f} bits, {w.bits_given_class:.2f} once the class is "
                       "known")
        groups.append((header, rows))
    height = 0.25 * sum(len(rows) + 1.3 for _, rows in groups) + 1.6
    with canvas(10, height, "Text label from gold words, the text, or both",
                "results/mre/bound.json; logistic regression, penalty by cross-validation on train; bits on "
                "test") as fig:
        ax = fig.add_subplot()
        dots(ax, groups)
        ax.set_xlim(0, 100)
        ax.set_xlabel("accuracy of a plain classifier on test, per cent, with its 95 % interval")
    return fig
