"""The paper's two drawings made anew: what the Mutual Reinforcement Effect claims, and the workflow.

Both show one text of the embedded corpus (machine-written) with its gold labels as a joint target.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from giellm_utils.core.schema import Record
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.formats.base import Format
from giellm_utils.formats.registry import make_format
from giellm_utils.reporting.figures.headline import broken, Ink
from giellm_utils.reporting.figures.style import BLUE, canvas, FAINT, FAMILY, GREEN, INK, PAPER, RULE

#: Folder below figures/.
ALL = "paper"
SOURCE = "a text of the embedded corpus (machine-written) with its gold labels; format giellm"
_LINE = 1.55


class Box(NamedTuple):
    """A frame from (x, y), its lower left corner in points, with a title above its lines."""

    x: float
    y: float
    wide: float
    high: float
    colour: str = RULE

    def at(self, right: float, up: float) -> tuple[float, float]:
        """A point on or in it, as shares of its width and height."""
        return self.x + right * self.wide, self.y + up * self.high


def draw(results: Path) -> Iterator[tuple[str, Figure]]:
    """(name, Figure) of both; nothing of `results` is read, for they show no result."""
    yield "mutual-reinforcement", mutual_reinforcement()
    yield "workflow", workflow()


def shown_example(name: str) -> tuple[Record, Format]:
    """The embedded dataset's first test text with two words or more, and the format that writes it."""
    dataset = load_dataset(name, "embedded")
    record = next(r for r in dataset.split("test") if len(r.words) > 1)
    return record, make_format("giellm", dataset.task)


def mutual_reinforcement() -> Figure:
    """One text, its two levels, and the claim as arrows between them."""
    record, fmt = shown_example("scnm")
    with canvas(9.2, 3.7, "The claim: each level of a text helps to learn the other", SOURCE,
                layout="none") as fig:
        ax = _sheet(fig, 662, 266)
        text, words = Box(20, 158, 240, 40, BLUE), Box(402, 158, 240, 40, GREEN)
        _box(ax, text, "text level: what is it about?", [fmt.target(record, "text")], 11)
        _box(ax, words, "word level: which spans are what?", _broken(fmt.target(record, "words"), 20), 11)
        below = Box(120, 44, 422, 34)
        _box(ax, below, "one text", _broken(record.text, 36), 11)
        for box, side in ((text, 0.25), (words, 0.75)):
            _arrow(ax, below.at(side, 1.5), box.at(0.5, -0.03))
        _arrow(ax, text.at(1.01, 0.66), words.at(-0.01, 0.66), BLUE)
        _arrow(ax, words.at(-0.01, 0.3), text.at(1.01, 0.3), GREEN)
        ax.text(331, 189, "the class tells which words", fontsize=8, color=BLUE, ha="center")
        ax.text(331, 157, "the words tell the class", fontsize=8, color=GREEN, ha="center")
        ax.text(331, 120, "claimed; whether it holds is what notebook 05 asks", fontsize=8.5, color=FAINT,
                ha="center")
    return fig


def workflow() -> Figure:
    """From the six mix datasets through the Format Converter and one model to scores."""
    record, fmt = shown_example("scnm")
    with canvas(11.5, 3.3, "From a text with labels at two levels to scores", SOURCE, layout="none") as fig:
        ax = _sheet(fig, 828, 238)
        data = Box(16, 36, 132, 144)
        _box(ax, data, "six mix datasets", [f"{t.title}, {t.paper_train:,}" for t in TASKS.values()]
             + ["", "texts trained on", "in the paper"])
        converter = Box(184, 36, 236, 144)
        _box(ax, converter, "Format Converter", [
            "prompt", *_broken(fmt.prompt(record.text, "joint"), 21), "",
            "target", *_broken(fmt.target(record, "joint"), 21)])
        model = Box(456, 36, 122, 144)
        _box(ax, model, "one model", [
            "learns to write", "the target after", "the prompt", "",
            "at test: freely,", "or only what the", "grammar allows"])
        scores = Box(614, 36, 198, 144)
        _box(ax, scores, "read back and scored", [
            "TL: text label right", "WL: all words right", "ALL: both right", "word micro-F1", "",
            "joint, text only and words", "only side by side: the", "Mutual Reinforcement Effect"])
        for a, b in ((data, converter), (converter, model), (model, scores)):
            _arrow(ax, a.at(1, 0.5), b.at(0, 0.5), shrink=3)
    return fig


def _sheet(fig: Figure, wide: float, high: float) -> Axes:
    ax = fig.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(0, high))
    ax.set_axis_off()
    return ax


def _box(ax: Axes, box: Box, title: str, lines: Sequence[str], size: float = 9) -> None:
    """Frame, title above it and lines in it, from the top."""
    ax.add_patch(FancyBboxPatch((box.x, box.y), box.wide, box.high, fc=PAPER, ec=box.colour, lw=1.4,
                                boxstyle="round,pad=0,rounding_size=6"))
    ax.text(box.x + 2, box.y + box.high + 6, title, fontsize=9, fontweight="bold", color=INK)
    for i, line in enumerate(lines):
        faint = line in ("prompt", "target", "texts trained on", "in the paper")
        ax.text(box.x + 9, box.y + box.high - 9 - size * (1 + _LINE * i), line, fontsize=size,
                family=FAMILY, color=FAINT if faint else INK)


def _broken(text: str, em: float) -> list[str]:
    """`text` in lines of at most `em` em; a text label of the format stays on one line."""
    kept = [Ink(m.start(), m.end(), INK) for m in re.finditer("<[^>]+>", text)]
    return [text[start:end] for start, end in broken(text, kept, em)]


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = FAINT,
           shrink: float = 0) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6,
                                            "shrinkA": shrink, "shrinkB": shrink})
