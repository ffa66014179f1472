"""Results of extraction as one page to look at: spans with labels and confidences, filters, nothing external.

The page is a file by itself: no address is fetched, its Content-Security-Policy forbids that and allows no
script but its own. Colours are core.markup's (Okabe-Ito); a span always shows its label too.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from giellm_utils.core import markup
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import write_bytes
from giellm_utils.core.schema import Task

#: How a page of ours begins: nothing else is written over.
MARKER = "<!DOCTYPE html>\n<!-- a page of giellm extract --html, which writes it anew without asking -->\n"


class PageError(GiellmError, ValueError):
    """A file that the page would destroy; the message names it and says what to do."""


class Piece(NamedTuple):
    """A piece of the text between two borders of words: `over` numbers those that cover it, the innermost
    first; `ending` those whose tag stands behind it."""

    html: Markup
    over: tuple[int, ...]
    look: str
    ending: tuple[dict[str, Any], ...]


def check_page(path: Path) -> None:
    """Raises PageError where `path` holds something that is no page of ours."""
    if path.is_dir():
        raise PageError(f"{path} is a folder; give --html the name of a file, such as {path / 'report.html'}")
    if not path.exists():
        return
    with path.open("rb") as file:
        start = file.read(len(MARKER.encode()))
    if start != MARKER.encode():
        raise PageError(f"{path} exists and is no page of giellm extract, so it is not written over; give "
                        "--html another name")


def write_page(path: Path, rows: Iterable[Mapping[str, Any]], tasks: Mapping[str, Task], source: str) -> Path:
    """Write the page of `rows` ({"line"?, "id"?, "text", "tasks"}, as extraction writes them) to `path`.

    `tasks`: those of the rows, for their labels and the order of these; `source`: one line on what was read
    with what. Rows are taken one by one, the page is put together in memory and written at once. Raises
    PageError as check_page does.
    """
    check_page(path)
    labels = {name: dict.fromkeys(label for part in task.parts for label in part.labels)
              for name, task in tasks.items()}
    colours = {name: {label: str(i % len(markup.TINTS)) for i, label in enumerate(found)}
               for name, found in labels.items()}
    page = _template().generate(
        rows=(_view(number, row, colours) for number, row in enumerate(rows, 1)), tasks=tasks.values(),
        source=source, tints=markup.TINTS, ink=markup.INK, paper=markup.PAPER, faint=markup.FAINT,
        rule=markup.RULE)
    # Lone surrogates, which UTF-8 cannot hold, could only stand in names of a user's own.
    return write_bytes(path, (MARKER + "".join(page)).encode("utf-8", "backslashreplace"))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters |= {"safe_text": _safe, "digest": _digest, "share": _share}
    return environment.from_string(resources.files(__package__).joinpath("page.html").read_text("utf-8"))


def _safe(text: Any) -> Markup:
    return Markup(markup.safe(str(text)))


def _digest(script: str) -> str:
    """What a Content-Security-Policy calls an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()


def _share(confidence: float | None) -> str:
    """Two places, cut and not rounded: 1.00 is sure; "" where it is not known."""
    return "" if confidence is None else f"{math.floor(round(100 * confidence, 6)) / 100:.2f}"


# -- one text --------------------------------------------------------------------------------------


def _view(number: int, row: Mapping[str, Any], colours: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What the template shows of one row."""
    return {"name": row.get("id", row.get("line", number)), "tasks": [
        {"name": name, **_task(row["text"], name, result, colours[name])}
        for name, result in row["tasks"].items()]}


def _task(text: str, task: str, result: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    words = [{"number": i, "label": w["label"], "key": word_key(task, w["kind"], w["label"]),
              "sure": w["confidence"], "places": [(m["start"], m["end"]) for m in (
                  (w["head"], w["tail"]) if "head" in w else (w,))],
              "look": "p" if "head" in w else colours[w["label"]], "word": w}
             for i, w in enumerate(result["words"])]
    notes = [*(["truncated: words may be missing"] if result["truncated"] else []),
             *([f"cut into {result['pieces']} pieces"] if result["pieces"] > 1 else []),
             *(f"{p['name']}: {p['detail']}" for p in result["problems"])]
    return {"label": result["label"], "sure": result["confidence"], "notes": notes,
            "key": label_key(task, result["label"]), "pieces": list(_pieces(text, words)),
            "relations": [w for w in words if w["look"] == "p"]}


def label_key(task: str, label: str | None) -> str:
    """A text label as the page's filter names it, "" where there is none."""
    return f"text {task} {label}" if label else ""


def word_key(task: str, kind: str, label: str) -> str:
    """A word label as the page's filter names it."""
    return f"word {task} {kind} {label}"


def _pieces(text: str, words: Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
    """`text` cut at every border of a word; words may nest and cross. Heads and tails of relations have a
    line but no tag."""
    starting: dict[int, list[tuple[int, int, Mapping[str, Any]]]] = defaultdict(list)
    for word in words:
        for start, end in word["places"]:
            starting[start].append((start, end, word))
    borders = sorted({0, len(text), *(b for marks in starting.values() for a, e, _ in marks for b in (a, e))})
    over: list[tuple[int, int, Mapping[str, Any]]] = []
    for start, end in pairwise(borders):
        over = sorted((m for m in (*over, *starting[start]) if m[1] > start),
                      key=lambda m: (m[2]["look"] == "p", m[1] - m[0], m[2]["number"]))
        looks = {m[2]["number"]: m[2]["look"] for m in over}
        yield Piece(_safe(text[start:end]), tuple(looks), _classes([*looks.values()]),
                    tuple(m[2] for m in over if m[1] == end and m[2]["look"] != "p"))


def _classes(looks: Sequence[str]) -> str:
    """Of a piece, as the page's script chooses them: the ground of the innermost word, the line of the
    outermost where there are several."""
    return "" if not looks else f"b{looks[0]}" + (f" u{looks[-1]}" if len(looks) > 1 else "")
