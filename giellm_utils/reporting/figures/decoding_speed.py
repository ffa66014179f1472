"""How fast each way of decoding is, and how that grows with the batch and the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import BLUE, canvas, FAINT, GREEN, GREY, INK, ORANGE, wrap
from giellm_utils.reporting.measurements import BASES, factors

#: Folder below results/ whose files this draws.
FOLDER = "bench"
COLOURS = {"one_at_a_time": GREY, "sorted_batches": ORANGE, "corpus_rows": GREEN, "ours": BLUE}
#: Ours with one lever off: a tint of its blue.
PALE = "#B5D6EA"
#: The systems whose growth is measured: legend entry and marker.
GROWTH_LOOKS = {"sorted_batches": ("(b)", "s"), "ours": ("(c) ours", "o")}
#: A longer title takes two lines of about the same length.
TITLE_COLUMNS = 31


def draw(result: Mapping[str, Any]) -> Figure:
    return speed(result)


def speed(result: Mapping[str, Any]) -> Figure:
    """Texts a second of every system with its factors against (b) and (a); beside it, where it was
    measured, texts a second by batch size and by mean characters of a text.

    `result`: a file of results/bench.
    """
    systems, growth = result["systems"], result["growth"]
    threads = f"{result['threads']} thread{'s' if result['threads'] != 1 else ''}"
    source = (f"{result['source']} · {result['items']:,} texts of {result['split']}, joint, "
              f"batch {result['batch_size']} · {result['dtype']} on {result['device']}, {threads} · "
              f"run {result['run']}")
    width, height = (12, max(0.42 * len(systems) + 1.7, 5.2)) if growth else (8.4, 0.42 * len(systems) + 1.7)
    with canvas(width, height, "How fast each way of decoding is, texts a second", source) as fig:
        grid = fig.add_gridspec(2, 2 if growth else 1)
        ax = fig.add_subplot(grid[:, 0], title=f"{result['items']:,} texts" if growth else "")
        _systems(ax, result)
        if growth:
            top = 1.12 * max(row["items_per_second"] for row in growth)
            upper, lower = (fig.add_subplot(grid[i, 1], ylim=(0, top)) for i in range(2))
            sizes = _lines(upper, growth, "batch_size")
            upper.set_title("by batch size")
            upper.set_xscale("log", base=2)
            upper.set_xticks(sizes, [f"{size:g}" for size in sizes])
            upper.xaxis.set_minor_locator(ticker.NullLocator())
            upper.set_xlabel(f"rows a batch ({_texts(growth, 'batch_size')} texts)")
            upper.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9, borderaxespad=0.1)
            _lines(lower, growth, "characters")
            lower.set_title("by length")
            lower.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
            lower.set_xlabel(f"mean characters of a text (groups of {_texts(growth, 'characters')} texts)")
    return fig


def _systems(ax: Axes, result: Mapping[str, Any]) -> None:
    """One bar a system, the first on top; its number and factors at the bar's end."""
    systems = result["systems"]
    for y, (name, system) in enumerate(systems.items()):
        value = system["items_per_second"]
        ax.barh(y, value, color=COLOURS.get(name, PALE), height=0.68)
        note = "".join(f"    {factor} × {letter}" for letter, factor in factors(result, name).items()
                       if BASES[letter] != name)
        three_digits = f"{value:,.{max(0, 2 - int(math.log10(value)))}f}"
        ax.annotate(three_digits + note, (value, y), (4, 0), textcoords="offset points", va="center",
                    fontsize=8.5, color=INK if name in COLOURS else FAINT)
    titles = [s["title"] for s in systems.values()]
    ax.set_yticks(range(len(titles)), [wrap(t, TITLE_COLUMNS if len(t) < TITLE_COLUMNS else len(t) * 3 // 5)
                                       for t in titles], fontsize=9)
    # The layout makes room for the numbers beyond the longest bar: their width does not grow with it.
    ax.set(ylim=(len(systems) - 0.5, -0.5), xlim=(0, max(s["items_per_second"] for s in systems.values())))
    ax.spines["bottom"].set_visible(False)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
    if any(name not in COLOURS for name in systems):
        ax.set_xlabel("pale: (c) with one lever switched off")


def _lines(ax: Axes, growth: Sequence[Mapping[str, Any]], by: str) -> list[float]:
    """One line a system over `by`; returns the values measured at."""
    rows = [row for row in growth if row["by"] == by]
    for system, (label, marker) in GROWTH_LOOKS.items():
        mine = [row for row in rows if row["system"] == system]
        ax.plot([row["value"] for row in mine], [row["items_per_second"] for row in mine], marker=marker,
                ms=5, color=COLOURS[system], lw=1.8, label=label)
    ax.grid(axis="y")
    return sorted({row["value"] for row in rows})


def _texts(growth: Sequence[Mapping[str, Any]], by: str) -> str:
    """How many texts each point over `by` was measured on."""
    return f"{max(row['items'] for row in growth if row['by'] == by):,}"
