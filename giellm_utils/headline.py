"""The README's opening picture: one sentence with its labels, and how well the joint model does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import FancyBboxPatch

from giellm_utils.plotting import BLUE, FONT, FONT_FILE, INK, canvas, dots, system_rows
from giellm_utils.views import FAINT, METRIC_TITLES, PAPER, RULE, TINTS, tints

_WIDTH, _HEIGHT = 768, 432  # points: 1600 x 900 pixels at 150 dpi
_LEFT, _COLUMN = 26, 372
_BLUE_TINT = TINTS[0]
#: Characters that must not begin a line (kinsoku).
_NO_START = "、。，．」』）)？！ー・：；"


class Ink(NamedTuple):
    """How a range of characters looks: text colour, background (or none), a tag below (or none)."""

    start: int
    end: int
    colour: str
    background: str | None = None
    tag: str | None = None


@cache
def _advance(char: str) -> float:
    """Width of `char` in em."""
    font = get_font(FONT_FILE)
    font.set_size(100, 72)
    return font.load_char(ord(char), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 100


def _lines(text: str, em: float) -> list[tuple[int, int]]:
    """`text` broken into [start, end) ranges of at most `em` em; closing marks hang over the edge."""
    lines, start, room = [], 0, em
    for i, char in enumerate(text):
        room -= _advance(char)
        if room < 0 and char not in _NO_START and i > start:
            lines.append((start, i))
            start, room = i, em - _advance(char)
    return [*lines, (start, len(text))]


def _flow(ax: Axes, text: str, inks: Sequence[Ink], x: float, y: float, width: float, size: float,
          pitch: float) -> float:
    """Draws `text` from baseline `y` downwards in lines of `width` points; the last baseline.

    Tags that would touch the tag before them move one step down.
    """
    ink_of = [next((k for k, ink in enumerate(inks) if ink.start <= i < ink.end), -1)
              for i in range(len(text))]
    tagged: set[int] = set()
    for n, (start, end) in enumerate(_lines(text, width / size)):
        line, at, tags_end = y - n * pitch, x, [x - 99, x - 99]
        for k, group in groupby(range(start, end), key=ink_of.__getitem__):
            run = [text[i] for i in group]
            wide = sum(map(_advance, run)) * size
            ink = inks[k] if k >= 0 else Ink(0, 0, INK)
            if ink.background:
                ax.add_patch(FancyBboxPatch((at + 1, line - 0.24 * size), wide - 2, 1.26 * size, fc=ink.background,
                                            ec="none", boxstyle=f"round,pad=0,rounding_size={0.18 * size}"))
            ax.text(at, line, "".join(run), fontsize=size, color=ink.colour, family=FONT, va="baseline")
            if ink.tag and k not in tagged:
                tagged.add(k)
                level = 0 if at > tags_end[0] + 4 else 1
                tags_end[level] = at + 7.5 * sum(map(_advance, ink.tag))
                ax.text(at + 1, line - 0.24 * size - 9.5 - 8.5 * level, ink.tag, fontsize=7.5, color=ink.colour,
                        family=FONT, va="baseline")
            at += wide
    return y - (len(_lines(text, width / size)) - 1) * pitch


def _output_inks(examples: Mapping[str, Any], colours: Mapping[str, tuple[str, str]]) -> list[Ink]:
    """The label and every `type;surface` of the output in the colours of the sentence above."""
    output, inks = examples["output"], []
    head = re.match(r"[<‹].+?>", output)
    if head:
        inks.append(Ink(0, head.end(), *_BLUE_TINT[::-1]))
    at = head.end() if head else 0
    for start, end, label in examples["spans"]:
        item = f"{label};{examples['text'][start:end]}"
        found = output.find(item, at)
        if found >= 0:
            at = found + len(item)
            inks.append(Ink(found, at, *colours[label][::-1]))
    return inks


def _left(ax: Axes, examples: Mapping[str, Any]) -> None:
    text, prompt = examples["text"], examples["prompt"]
    colours = tints(label for *_, label in examples["spans"])
    # Blue stands for the text label, so the words start at the second tint.
    colours = {label: TINTS[1 + i % (len(TINTS) - 1)] for i, label in enumerate(colours)}
    spans = [Ink(start, end, colours[label][1], colours[label][0], label)
             for start, end, label in sorted(examples["spans"])]

    size = next((s for s in (17, 15, 13, 12) if len(_lines(text, _COLUMN / s)) <= 3), 11)
    y = _flow(ax, text, spans, _LEFT, 322, _COLUMN, size,
              size + 24)
    chip = examples["label"]
    ax.text(_LEFT, 350, "text label", fontsize=8.5, color=FAINT, va="baseline")
    _flow(ax, chip, [Ink(0, len(chip), *_BLUE_TINT[::-1])], _LEFT + 56, 350, _COLUMN, 12, 14)

    y -= 52
    inks = [Ink(len(text), len(prompt), _BLUE_TINT[1])] if prompt.startswith(text) else []
    y = _block(ax, "prompt: what the model reads", prompt, inks, y)
    ax.annotate("", (_LEFT + _COLUMN / 2, y - 17), (_LEFT + _COLUMN / 2, y - 1),
                arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 1.6})
    _block(ax, "output: what it writes, both levels at once", examples["output"],
           _output_inks(examples, colours), y - 30)


def _block(ax: Axes, title: str, text: str, inks: Sequence[Ink], y: float) -> float:
    """A framed text of its own; `y` is the title's baseline, the result the frame's lower edge."""
    size, pitch = 10.5, 17
    ax.text(_LEFT, y, title, fontsize=8.5, color=FAINT, va="baseline")
    lines = len(_lines(text, (_COLUMN - 16) / size))
    bottom = y - 9 - lines * pitch - 5
    ax.add_patch(FancyBboxPatch((_LEFT, bottom), _COLUMN, y - 6 - bottom, fc="#f6f8fa", ec=RULE, lw=0.8,
                                boxstyle="round,pad=0,rounding_size=5"))
    _flow(ax, text, inks, _LEFT + 8, y - 7 - pitch + 2, _COLUMN - 16, size, pitch)
    return bottom


def _right(fig: Figure, tasks: Mapping[str, Any]) -> None:
    """One task: four metrics by system. Several: TL and F1 of the joint model, a single-level one, a floor."""
    if len(tasks) == 1:
        ((_, systems),) = tasks.items()
        ax = fig.add_axes((0.655, 0.125, 0.2, 0.71))
        dots(ax, [(METRIC_TITLES[m], rows) for m in ("tl", "wl_exact", "all", "f1")
                  if (rows := system_rows(systems, m))])
        ax.set_xlim(-3, 103)
        return
    for left, metric, single, floor in ((0.635, "tl", "text", "majority"), (0.835, "f1", "words", "always_empty")):
        names = {"joint": "joint", single: "one level", floor: "baseline"}
        ax = fig.add_axes((left, 0.125, 0.115, 0.685), title=METRIC_TITLES[metric])
        groups = []
        for task, systems in tasks.items():
            by_name = {row.label: row for row in system_rows({n: systems.get(s, {}) for s, n in names.items()}, metric)}
            groups.append((task, list(by_name.values())))
        dots(ax, groups, intervals=False)
        ax.set_xlim(-3, 103)


def headline(scores: Mapping[str, Any], examples: Mapping[str, Any], source: str) -> Figure:
    """1600 x 900 pixels at 150 dpi: left one sentence as the model sees it, right the accuracies.

    `scores` as in `accuracy`, one task or several; `examples`: {"text", "label", "spans": [[start, end,
    label], ...] (code points), "prompt", "output"}.
    """
    tasks = scores["tasks"]
    with canvas(_WIDTH / 72, _HEIGHT / 72, "", source, layout="none") as fig:
        ax = fig.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
        ax.set_axis_off()
        ax.text(_LEFT, 394, "One prompt in; the class of the text and its words out", fontsize=16,
                fontweight="bold")
        _left(ax, examples)
        sizes = [s["n"] for systems in tasks.values() for by in systems.values()
                 for s in by.get("all", {}).values() if s and s.get("n")]
        ax.text(0.535 * _WIDTH, 368, f"Test accuracy, per cent, 95 % intervals, n = {max(sizes):,}" if len(tasks) == 1
                and sizes else "Test accuracy, per cent, 95 % intervals", fontsize=9.5, color=FAINT)
        _right(fig, tasks)
    return fig
