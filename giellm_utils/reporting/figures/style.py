"""The look that all figures share: font, colours, canvas, saving, bars and dots with intervals.

Colours are Okabe-Ito's; marker shapes or labels repeat what a colour says. Japanese glyphs come
from IPAexGothic, which matplotlib-fontja installs.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib_fontja
import numpy as np
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, FontEntry, fontManager

from giellm_utils.core.artifacts import Score, SystemScores
from giellm_utils.core.markup import FAINT, INK, PAPER, RULE
from giellm_utils.systems import registry

FONT = "IPAexGothic"
fontManager.addfont(matplotlib_fontja.get_font_ttf_path())
FONT_FILE = findfont(FONT, fallback_to_default=False)
#: For characters that the Japanese font lacks, the mark ‹ of giellm-card among them.
FALLBACK = "DejaVu Sans"
FALLBACK_FILE = findfont(FALLBACK, fallback_to_default=False)
#: Japanese text first; elsewhere figures take the fallback first.
FAMILY = (FONT, FALLBACK)
# The font has one weight; naming it bold too keeps matplotlib from warning at every bold title.
fontManager.ttflist.append(FontEntry(fname=FONT_FILE, name=FONT, weight=700, size="scalable"))
BLUE, ORANGE, GREEN, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00"
GREY = "#9aa2ab"
#: Metrics of the text label, alone or with the words.
TEXT_METRICS = ("tl", "tl_balanced", "all", "all_set")
SPLIT_COLOURS = {"train": BLUE, "dev": ORANGE, "test": SKY}
STYLE = {
    "font.family": [FALLBACK, FONT], "font.size": 9.5, "text.color": INK, "axes.labelcolor": FAINT,
    "axes.edgecolor": RULE, "axes.facecolor": PAPER, "figure.facecolor": PAPER, "axes.titlesize": 10.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True, "axes.grid.axis": "x",
    "grid.color": "#e9ecef", "xtick.color": FAINT, "ytick.color": RULE, "xtick.labelcolor": FAINT,
    "ytick.labelcolor": INK, "ytick.major.size": 0, "xtick.major.size": 0, "legend.frameon": False,
    "axes.unicode_minus": True, "axes.labelsize": 9, "figure.constrained_layout.h_pad": 0.08,
}


def save(fig: Figure, folder: str | Path, name: str) -> list[Path]:
    """Writes `fig` as name.png (150 dpi) and name.svg (text as paths) into `folder`; the paths.

    Atomic, and the same bytes for the same figure: no date, no version, a fixed salt for SVG ids.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with plt.rc_context({**STYLE, "svg.fonttype": "path", "svg.hashsalt": "giellm"}):
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            buffer = io.BytesIO()
            fig.savefig(buffer, format=suffix, dpi=150, metadata=metadata)
            drawn = buffer.getvalue() if suffix == "png" else _named_by_content(buffer.getvalue())
            path = folder / f"{name}.{suffix}"
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                part.write_bytes(drawn)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
            paths.append(path)
    return paths


def _named_by_content(svg: bytes) -> bytes:
    """Every clip path named by what is written of it. matplotlib hashes the unrounded numbers, whose last
    bits the layout's solver leaves differing now and then: other names for the same drawing."""
    for name, inside in re.findall(rb'<clipPath id="(p[0-9a-f]+)">\s*(.*?)\s*</clipPath>', svg, re.DOTALL):
        new = b"c" + hashlib.sha1(inside).hexdigest()[:10].encode()
        for before, after in ((b'"', b'"'), (b"#", b")")):
            svg = svg.replace(before + name + after, before + new + after)
    return svg


def wrap(text: str, columns: int) -> str:
    """`text` broken at spaces to lines of `columns` half-width cells (East Asian wide ones count two)."""
    lines, room = [""], columns
    for word in text.split(" "):
        cells = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in word) + 1
        if cells > room and lines[-1]:
            lines.append("")
            room = columns
        lines[-1] += word + " "
        room -= cells
    return "\n".join(line.rstrip() for line in lines)


@contextmanager
def canvas(width: float, height: float, title: str, source: str, *, layout: str = "constrained",
           margin: float = 0.012) -> Iterator[Figure]:
    """A figure of inches `width` x `height` with its title and source line, in STYLE.

    `margin` is where both begin, as a share of the width.
    It is laid out once, while STYLE holds, and then frozen: ticks made later would lose the Japanese
    font, and a second layout could move things by a fraction of a pixel. Closing it keeps pyplot from
    showing it twice in a notebook.
    """
    with plt.rc_context(STYLE):
        fig = plt.figure(figsize=(width, height), layout=layout)
        if title:
            fig.suptitle(wrap(title, int(width * 9)), x=margin, ha="left", fontsize=13, fontweight="bold")
        fig.supxlabel(wrap(f"Source: {source}", int(width * 15)), x=margin, ha="left", fontsize=7.5,
                      color=FAINT)
        try:
            yield fig
            fig.draw_without_rendering()
            fig.set_layout_engine("none")
        finally:
            plt.close(fig)


def bars(ax: Axes, labels: Sequence[str], parts: Mapping[str, tuple[Sequence[float], str]],
          decimals: int = 0) -> None:
    """Stacked horizontal bars, first label on top; counts inside where they fit, totals at the end."""
    y = np.arange(len(labels))
    left = np.zeros(len(labels))
    totals = np.sum([values for values, _ in parts.values()], axis=0)
    longest = max(totals.max(initial=0), 1e-9)
    for name, (values, colour) in parts.items():
        ax.barh(y, values, left=left, color=colour, height=0.68, label=name, edgecolor=PAPER, lw=0.6)
        for at, (x, value) in enumerate(zip(left, values, strict=True)):
            if len(parts) > 1 and value / longest > 0.085:
                ax.text(x + value / 2, at, f"{value:,.{decimals}f}", ha="center", va="center", fontsize=8.5,
                        color=PAPER if colour == BLUE else INK)
        left = left + np.asarray(values)
    for at, total in enumerate(totals):
        ax.text(total + longest * 0.012, at, f"{total:,.{decimals}f}", va="center", fontsize=8.5, color=FAINT)
    ax.set_yticks(y, labels)
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlim=(0, longest * 1.13))
    ax.spines["bottom"].set_visible(False)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=decimals == 0))


class Row(NamedTuple):
    """One point of `dots`; shares in [0, 1], NaN where there is none."""

    label: str
    value: float
    low: float
    high: float
    colour: str
    marker: str = "o"
    hollow: bool = False
    note: str = ""


def dots(ax: Axes, groups: Sequence[tuple[str, Sequence[Row]]], signed: bool = False,
         intervals: bool = True) -> None:
    """Points with intervals, one row each under its group's bold header, first row on top.

    The numbers stand in a column right of the axes, so that they meet no mark; all in per cent.
    """
    ticks, y, sign = [], 0.0, "+" if signed else ""
    for header, rows in groups:
        if header:
            ax.text(0.008, y, header, transform=ax.get_yaxis_transform(), va="center", fontweight="bold",
                    fontsize=9)
            y += 1
        for row in rows:
            value, low, high = (100 * v for v in (row.value, row.low, row.high))
            ax.plot([low, high], [y, y], color=row.colour, lw=2.2, alpha=0.55, solid_capstyle="round")
            ax.plot(value, y, row.marker, color=row.colour, ms=7, mew=2.2 if row.marker == "|" else 1.4,
                    mfc=PAPER if row.hollow else row.colour)
            interval = f" [{low:{sign}.1f}, {high:{sign}.1f}]" if intervals else ""
            number = re.sub(r"[+-]0\.0\b", "0.0", f"{value:{sign}.1f}{interval}").replace("-", "−")
            number = "–" if math.isnan(value) else number
            ax.text(1.02, y, number + row.note, transform=ax.get_yaxis_transform(), va="center", fontsize=8,
                    color=FAINT if row.marker == "|" or row.hollow else INK)
            ticks.append((y, row.label))
            y += 1
        y += 0.3
    ax.set_yticks([at for at, _ in ticks], [label for _, label in ticks], fontsize=8.5)
    ax.set_ylim(y - 0.5, -0.7)


def system_rows(systems: Mapping[str, SystemScores], metric: str) -> list[Row]:
    """A row for each system that has `metric`, over all documents, in the registry's order and look.

    The majority baseline predicts no word, so at word level it is the always-empty one and named so.
    """
    rows: dict[str, Row] = {}
    for system in registry.ordered(systems):
        score = systems[system].all.get(metric)
        if score is None or score.value is None:
            continue
        if system == "majority" and metric not in TEXT_METRICS:
            system = "always_empty"
        look = registry.look(system)
        rows[system] = Row(registry.title(system), *bounded(score), look.colour, look.marker)
    return list(rows.values())


def shown_system(systems: Mapping[str, SystemScores], field: str) -> SystemScores | None:
    """The first trained system, in the registry's order, that has `field` (confusion, per_word_label):
    what is shown of one system only is shown of that one."""
    floors = {name for name, entry in registry.entries().items() if entry.floor}
    return next((systems[name] for name in registry.ordered(systems)
                 if name not in floors and getattr(systems[name], field)), None)


def bounded(score: Score) -> tuple[float, float, float]:
    """Value, low and high as numbers: NaN where there is no value, the value where there is no interval."""
    value = math.nan if score.value is None else score.value
    return value, value if score.low is None else score.low, value if score.high is None else score.high
