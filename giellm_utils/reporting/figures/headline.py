"""The README's opening picture: one sentence with its labels, and how well the joint model does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import cycle, groupby
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import FancyBboxPatch

from giellm_utils.core.artifacts import Example, ScoresFile, SystemScores
from giellm_utils.core.markup import FAINT, RULE, TINTS
from giellm_utils.reporting.figures.style import (
    canvas,
    dots,
    FALLBACK_FILE,
    FAMILY,
    FONT_FILE,
    INK,
    Row,
    system_rows,
)
from giellm_utils.reporting.results import RunResults
from giellm_utils.reporting.results import system_rows as committed_rows
from giellm_utils.reporting.titles import METRIC_TITLES
from giellm_utils.systems import registry

READS = ("scores.json", "example.json")
_WIDTH, _HEIGHT = 768, 432  # points: 1600 x 900 pixels at 150 dpi
_LEFT, _COLUMN, _TOP = 26, 372, 374
_BOTTOM = 50
#: Blue stands for the text label, so words take the others.
_BLUE_TINT, *_WORD_TINTS = TINTS
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
    if not font.get_char_index(ord(char)):
        font = get_font(FALLBACK_FILE)
    font.set_size(100, 72)
    return font.load_char(ord(char), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 100


def broken(text: str, inks: Sequence[Ink], em: float) -> list[tuple[int, int]]:
    """`text` broken into [start, end) ranges of at most `em` em.

    A short coloured range is kept on one line; closing marks hang over the edge.
    """
    kept = {i: ink.start for ink in inks if sum(map(_advance, text[ink.start:ink.end])) <= 0.6 * em
            for i in range(ink.start + 1, ink.end)}
    lines, start, room = [], 0, em
    for i, char in enumerate(text):
        room -= _advance(char)
        if room < 0 and char not in _NO_START and i > start:
            cut = kept.get(i, i)
            cut = i if cut <= start else cut
            lines.append((start, cut))
            start, room = cut, em - sum(map(_advance, text[cut:i + 1]))
    return [*lines, (start, len(text))]


def _flow(ax: Axes, text: str, inks: Sequence[Ink], x: float, y: float, width: float, size: float,
          pitch: float) -> None:
    """Draws `text` from baseline `y` downwards in lines of `width` points, `pitch` apart.

    Tags that would touch the tag before them move one step down.
    """
    ink_of = [next((k for k, ink in enumerate(inks) if ink.start <= i < ink.end), -1)
              for i in range(len(text))]
    tagged: set[int] = set()
    for n, (start, end) in enumerate(broken(text, inks, width / size)):
        line, at, tags_end = y - n * pitch, x, [x - 99, x - 99]
        for k, group in groupby(range(start, end), key=ink_of.__getitem__):
            run = [text[i] for i in group]
            wide = sum(map(_advance, run)) * size
            ink = inks[k] if k >= 0 else Ink(0, 0, INK)
            if ink.background:
                ax.add_patch(FancyBboxPatch(
                    (at + 1, line - 0.24 * size), wide - 2, 1.26 * size, fc=ink.background, ec="none",
                    boxstyle=f"round,pad=0,rounding_size={0.18 * size}"))
            ax.text(at, line, "".join(run), fontsize=size, color=INK if ink.background else ink.colour,
                    family=FAMILY, va="baseline")
            if ink.tag and k not in tagged:
                tagged.add(k)
                level = 0 if at > tags_end[0] + 4 else 1
                tags_end[level] = at + 7.5 * sum(map(_advance, ink.tag))
                ax.text(at + 1, line - 0.24 * size - 9.5 - 8.5 * level, ink.tag, fontsize=7.5,
                        color=ink.colour, family=FAMILY, va="baseline")
            at += wide


def _output_inks(example: Example, colours: Mapping[str, tuple[str, str]]) -> list[Ink]:
    """The label and every item of the output in the colours of the sentence above."""
    return [Ink(*example.label_span, *_BLUE_TINT[::-1]),
            *(Ink(start, end, *colours[label][::-1]) for start, end, label in example.item_spans)]


def _left(ax: Axes, example: Example) -> None:
    """The sentence with its labels, the prompt and the output, spread over the left half."""
    text, prompt, chip = example.text, example.prompt, example.label
    labels = dict.fromkeys(label for *_, label in [*sorted(example.spans), *example.item_spans])
    colours = dict(zip(labels, cycle(_WORD_TINTS), strict=False))
    spans = [Ink(start, end, colours[label][1], colours[label][0], label)
             for start, end, label in sorted(example.spans)]
    asked = [Ink(start, end, _BLUE_TINT[1]) for start, end in example.prompt_spans]
    written = _output_inks(example, colours)
    # The largest letters that leave a gap between the three parts; a long sentence gets smaller ones.
    for size, block in ((20, 12.5), (18, 11.5), (16.5, 11), (15, 10.5), (13.5, 10), (12, 9), (10, 8)):
        pitch = size + 24
        heights = (len(broken(text, spans, _COLUMN / size)) * pitch, _block_height(prompt, asked, block),
                   _block_height(example.output, written, block))
        gap = (_TOP - 24 - _BOTTOM - sum(heights)) / 2
        if gap >= 12:
            break
    gap = min(gap, 40)

    ax.text(_LEFT, _TOP - 12, "text label", fontsize=8.5, color=FAINT, va="baseline")
    _flow(ax, chip, [Ink(0, len(chip), *_BLUE_TINT[::-1])], _LEFT + 52, _TOP - 12, _COLUMN, 12, 14)
    _flow(ax, text, spans, _LEFT, _TOP - 24 - size, _COLUMN, size, pitch)
    y = _TOP - 24 - heights[0] - gap
    _block(ax, "prompt: what the model reads", prompt, asked, y, block)
    y -= heights[1]
    middle, half = y - gap / 2, min(gap / 2 - 1, 10)
    ax.annotate("", (_LEFT + _COLUMN / 2, middle - half), (_LEFT + _COLUMN / 2, middle + half),
                arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 1.6, "shrinkA": 0, "shrinkB": 0})
    # One sentence is no evidence: when it was got right, the caption says that it is such a one.
    right = (chip in example.output[slice(*example.label_span)]
             and sorted(i[-1] for i in example.item_spans) == sorted(i[-1] for i in example.spans))
    _block(ax, "output: what it wrote" + (", here all right; how often, see the scores" if right else ""),
           example.output, written, y - gap, block)


def _block_height(text: str, inks: Sequence[Ink], size: float) -> float:
    return 17 + len(broken(text, inks, (_COLUMN - 16) / size)) * 1.66 * size


def _block(ax: Axes, title: str, text: str, inks: Sequence[Ink], top: float, size: float) -> None:
    """A framed text under its title, from `top` down by _block_height points."""
    bottom, pitch = top - _block_height(text, inks, size), 1.66 * size
    ax.text(_LEFT, top - 8, title, fontsize=8.5, color=FAINT, va="baseline")
    ax.add_patch(FancyBboxPatch((_LEFT, bottom), _COLUMN, top - 13 - bottom, fc="#f6f8fa", ec=RULE, lw=0.8,
                                boxstyle="round,pad=0,rounding_size=5"))
    _flow(ax, text, inks, _LEFT + 8, top - 15 - 0.5 * pitch - 0.36 * size, _COLUMN - 16, size, pitch)


def _right(fig: Figure, tasks: Mapping[str, Mapping[str, SystemScores]], titles: Mapping[str, str]) -> None:
    """One task: four metrics by system. Several: TL and F1 of joint, single-level, CRF where every task has
    one, and the majority class, which finds no word."""
    if len(tasks) == 1:
        ((_, systems),) = tasks.items()
        ax = fig.add_axes((0.655, 0.115, 0.2, 0.71))
        dots(ax, [(METRIC_TITLES[m], rows) for m in ("tl", "wl_exact", "all", "f1")
                  if (rows := system_rows(systems, m))])
        ax.set_xlim(-3, 103)
        return
    # Where no task has a single-level system, or one has no CRF, neither panel has its row.
    singles = any({"text", "words"} & set(systems) for systems in tasks.values())
    crf = all("crf" in systems for systems in tasks.values())
    for left, metric, single, floor in ((0.64, "tl", "text", "majority"),
                                        (0.825, "f1", "words", "always_empty")):
        ax = fig.add_axes((left, 0.115, 0.115, 0.665), title=METRIC_TITLES[metric])
        groups = []
        for task, systems in tasks.items():
            rows = {row.label: row for row in system_rows(systems, metric)}
            # A missing system keeps its row, so that the two panels stay level.
            groups.append((titles.get(task, task), [
                rows.get(registry.title(s), Row(name, *[math.nan] * 3, FAINT))._replace(label=name)
                for s, name, there in (("joint", "joint", True), (single, "one level", singles),
                                       ("crf", "CRF", crf), (floor, "majority", True)) if there]))
        dots(ax, groups, intervals=False)
        ax.set_xlim(-3, 103)
        if metric == "f1":
            ax.set_yticklabels([])


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    scores = results.scores
    if len(scores.tasks) > 1:
        scores = scores.model_copy(update={"tasks": {
            task: {**systems, **_crf(results, task, systems)} for task, systems in scores.tasks.items()}})
    titles = {name: task.title for name, task in results.tasks.root.items()} if results.tasks else {}
    yield "headline", headline(scores, results.example, results.source(), titles)


def _crf(results: RunResults, task: str, systems: Mapping[str, SystemScores]) -> dict[str, SystemScores]:
    """The CRF's committed scores on the very documents of `results`, by its name, where there are some."""
    provenance, n = results.provenance[task], max(s.n for s in systems.values())
    rows = [row for row in committed_rows(results.folder.parent)
            if (row.entry, row.task, row.n_test) == ("crf", task, n) and row.provenance == provenance]
    return {"crf": rows[0].scores} if rows else {}


def headline(scores: ScoresFile, example: Example, source: str,
             titles: Mapping[str, str] | None = None) -> Figure:
    """1600 x 900 pixels at 150 dpi: left one sentence as the model sees it, right the accuracies of the
    tasks, called by their `titles`."""
    tasks = scores.tasks
    with canvas(_WIDTH / 72, _HEIGHT / 72, "", source, layout="none", margin=_LEFT / _WIDTH) as fig:
        ax = fig.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
        ax.set_axis_off()
        ax.text(_LEFT, 394, "One prompt in; the class of the text and its words out", fontsize=16,
                fontweight="bold")
        _left(ax, example)
        n = f", n = {max(s.n for s in next(iter(tasks.values())).values()):,}" if len(tasks) == 1 else ""
        ax.text(0.55 * _WIDTH, _TOP - 12, f"Scores on test, per cent, 95 % intervals{n}", fontsize=9.5,
                color=FAINT)
        _right(fig, tasks, titles or {})
    return fig
