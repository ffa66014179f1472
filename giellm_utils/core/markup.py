"""Escaped HTML for notebooks and reports: highlighted spans, with inline styles and without scripts.

Colour is never the only cue: a span also shows its label. Invisible characters (controls, bidi
overrides, zero-width) are shown by their number, so that a text cannot hide anything or reorder the page.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

#: (light background, dark line) pairs from the Okabe-Ito hues; all carry INK at over 7:1.
TINTS = (("#CFE6F5", "#0072B2"), ("#FBE3B5", "#8A5C00"), ("#C9ECDF", "#00785A"), ("#F6D9E8", "#A84C7F"),
         ("#FBD5C2", "#B84A00"), ("#DDF1FC", "#2C7DA8"), ("#FBF7B8", "#7D7600"), ("#E2E2E2", "#555555"))
INK, PAPER, FAINT, RULE = "#1b1f24", "#ffffff", "#57606a", "#d0d7de"
_BASE = f"color:{INK};background:{PAPER};"


class Html:
    """A piece of HTML that a notebook shows as such."""

    def __init__(self, source: str) -> None:
        self.source = source

    def _repr_html_(self) -> str:
        return self.source

    def __str__(self) -> str:
        return self.source


class Mark(NamedTuple):
    """A highlighted range [start, end) of a text, in code points; `plain` marks get a line, no tag."""

    start: int
    end: int
    label: str
    plain: bool = False


def tints(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A (background, line) pair for each label, by its place; they repeat after eight."""
    return {label: TINTS[i % len(TINTS)] for i, label in enumerate(dict.fromkeys(labels))}


def safe(text: str) -> str:
    """`text` as HTML: escaped, line breaks shown as ↵, invisible characters as their code point."""
    out = []
    for c in text:
        if c == "\n":
            out.append("↵")
        elif _invisible(c):
            out.append(f'<span style="color:{PAPER};background:{FAINT};font-size:75%;">U+{ord(c):04X}</span>')
        else:
            out.append(escape(c))
    return "".join(out)


def _invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _attribute(text: str) -> str:
    """`text` as an attribute's value, where no element can show an invisible character."""
    return escape("".join(f"U+{ord(c):04X}" if _invisible(c) else c for c in text))


def highlight(text: str, marks: Sequence[Mark], colours: Mapping[str, tuple[str, str]]) -> str:
    """`text` with `marks` coloured and tagged; they may nest or cross.

    The text is cut at every border. A piece takes the background of the shortest mark over it and,
    where several lie over it, the line of the longest; the tag stands where its mark ends.
    """
    borders = sorted({0, len(text), *(b for m in marks for b in (m.start, m.end) if b <= len(text))})
    out = []
    for start, end in zip(borders, borders[1:], strict=False):
        over = sorted((m for m in marks if m.start <= start and end <= m.end),
                      key=lambda m: (m.plain, m.end - m.start))
        piece = safe(text[start:end])
        if not over:
            out.append(piece)
            continue
        inner, outer = over[0], over[-1]
        title = _attribute(", ".join(f"{m.label} [{m.start}, {m.end})" for m in over))
        if inner.plain:
            style = f"{_BASE}border-bottom:2px dotted {FAINT};"
        else:
            line = f"2px {'dotted' if outer.plain else 'solid'} {colours[outer.label][1]}"
            style = f"color:{INK};background:{colours[inner.label][0]};" + (
                f"border-bottom:{line};" if len(over) > 1 else "")
        tags = "".join(_tag(m.label, colours) for m in over if m.end == end and not m.plain)
        out.append(f'<span title="{title}" style="{style}">{piece}</span>{tags}')
    return "".join(out)


def _tag(label: str, colours: Mapping[str, tuple[str, str]]) -> str:
    return (f'<span style="color:{PAPER};background:{colours[label][1]};font-size:70%;padding:0 3px;'
            f'margin:0 2px 0 0;border-radius:0 3px 3px 0;">{safe(label)}</span>')
