"""HTML for the notebooks: records, prompts, scores and predictions, escaped and without scripts.

GitHub's notebook page drops <style> and scripts and may be dark, so every element carries inline
styles, and colour always comes with background. Colour is never the only cue: a span also shows
its label. Invisible characters (controls, bidi overrides, zero-width) are shown by their number,
so that a text cannot hide anything or reorder the page.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

from giellm_utils.core.markup import (
    FAINT, INK, PAPER, RULE, Html, Mark, _BASE, highlight, safe, tints)
from giellm_utils.core.schema import Record, Task
from giellm_utils.data.offsets import locate_relation, locate_spans
from giellm_utils.evaluation.score import COMPARED
from giellm_utils.reporting.titles import MAIN_METRICS, METRIC_TITLES, SYSTEM_TITLES

_RIGHT, _WRONG = "#00785A", "#B84A00"
_SMALL = f"color:{FAINT};background:{PAPER};font-size:85%;"
#: Of a table cell; its colours are its row's, said once there, for a notebook must stay below 1 MB.
_CELL = f"border:1px solid {RULE};padding:4px 8px;text-align:left;vertical-align:top;"
_CODE = _CELL + "font-family:monospace;white-space:normal;word-break:break-all;"


def _chip(label: str) -> str:
    return (f'<span style="color:{INK};background:#eaeef2;border:1px solid {RULE};border-radius:3px;'
            f'padding:0 5px;margin-right:6px;font-size:85%;">{safe(label)}</span>')


def _page(parts: Iterable[str]) -> Html:
    return Html(f'<div style="{_BASE}padding:8px;line-height:1.9;text-align:left;">{"".join(parts)}</div>')


def _item(label: str, surfaces: Sequence[str]) -> str:
    if len(surfaces) == 2:
        return f"{safe(surfaces[0])} –[<b>{safe(label)}</b>]→ {safe(surfaces[1])}"
    return f"<b>{safe(label)}</b> {safe(surfaces[0])}"


def _count(shown: int, total: int, what: str) -> str:
    return f'<div style="{_SMALL}">{shown} of {total} {what}</div>' if shown < total else ""


def records(records: Sequence[Record], task: Task, limit: int = 20) -> Html:
    """The first `limit` records, their spans highlighted and tagged with the label.

    Where a task has relations or several parts, each part's words also stand on a line of their own.
    """
    colours = tints(label for part in task.parts for label in part.labels)
    listed = len(task.parts) > 1 or any(part.shape == "relation" for part in task.parts)
    out = []
    for record in records[:limit]:
        marks = [Mark(s.start, s.end, w.label, w.tail is not None) for w in record.words for s in w.spans]
        lines = []
        for part in task.parts if listed else ():
            items = [_item(w.label, [s.of(record.text) for s in w.spans])
                     for w in record.words if w.kind == part.kind]
            lines.append(f'<div style="{_SMALL}padding-left:16px;">{safe(part.instruction)}: '
                         f'{" · ".join(items) or safe(task.none)}</div>')
        out.append(f'<div style="{_BASE}border-bottom:1px solid {RULE};padding:4px 0;">{_chip(record.label)}'
                   f'{highlight(record.text, marks, colours)}{"".join(lines)}'
                   f'<div style="{_SMALL}">{safe(record.id)} · {safe(record.split)}</div></div>')
    return _page([*out, _count(len(out), len(records), "records")])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], style: Sequence[str]) -> str:
    """A table of ready HTML cells; `style` per column."""
    def row(cells: Sequence[str], tag: str) -> str:
        styles = [_CELL + "font-weight:bold;"] * len(cells) if tag == "th" else style
        return f'<tr style="{_BASE}">' + "".join(
            f'<{tag} style="{s}">{c}</{tag}>' for c, s in zip(cells, styles, strict=True)) + "</tr>"

    return (f'<table style="{_BASE}border-collapse:collapse;">{row(head, "th")}'
            f'{"".join(row(r, "td") for r in rows)}</table>')


def side_by_side(rows: Iterable[Mapping[str, str]]) -> Html:
    """Prompt and target of each level beside each other; rows {"level", "prompt", "target"}."""
    cells = [(safe(r["level"]), safe(r["prompt"]), safe(r["target"])) for r in rows]
    return _page([_table(("level", "prompt: what the model reads", "target: what it should write"), cells,
                         (_CELL + "white-space:nowrap;", _CODE, _CODE))])


def scores_table(scores_of_task: Mapping[str, Mapping[str, Any]], group: str = "all",
                 metrics: Sequence[str] = MAIN_METRICS) -> Html:
    """Systems by metrics of one task, each cell "value [low, high]" in per cent (95 % interval).

    `scores_of_task` is {system: {group: {metric: {"value", "low", "high", "n"} or None}}} with values
    in [0, 1]; `group` names the documents: "all", "with_words", "empty_gold". Metrics that no system
    has are left out.
    """
    found = {s: {m: v for m in metrics if (v := scores.get(group, {}).get(m)) is not None}
             for s, scores in scores_of_task.items()}
    metrics = [m for m in metrics if any(m in scores for scores in found.values())]
    systems = sorted(found, key=lambda s: list(SYSTEM_TITLES).index(s) if s in SYSTEM_TITLES else 99)
    rows = []
    for system in systems:
        sizes = sorted({v["n"] for v in found[system].values() if v.get("n") is not None})
        rows.append((f"<b>{safe(SYSTEM_TITLES.get(system, system))}</b>",
                     *(_score(found[system].get(m)) for m in metrics), ", ".join(map(str, sizes)) or "–"))
    style = _CELL + "white-space:nowrap;text-align:right;"
    head = ("per cent", *(safe(METRIC_TITLES.get(m, m)) for m in metrics), "n")
    return _page([_table(head, rows, (_CELL + "white-space:nowrap;", *[style] * (len(metrics) + 1)))])


def decodings_table(tasks: Mapping[str, Mapping[str, Mapping[str, Any]]], job: str) -> Html:
    """Free against constrained decoding of one job, a row a task and way of decoding, as
    evaluation.compare_decodings gives them ({task: {job: {decoding: ...}}}); metrics in per cent."""
    rows, metrics = [], COMPARED
    for task, jobs in tasks.items():
        for decoding in ("free", "constrained"):
            if found := jobs.get(job, {}).get(decoding):
                speed = found["items_per_second"]
                rows.append((f"<b>{safe(task)}</b>", safe(decoding), *(_score(found[m]) for m in metrics),
                             "–" if speed is None else f"{speed:.1f}"))
    style = _CELL + "white-space:nowrap;text-align:right;"
    head = ("dataset", "decoding", *(safe(METRIC_TITLES[m]) for m in metrics), "items/s")
    return _page([_table(head, rows, (*[_CELL + "white-space:nowrap;"] * 2, *[style] * (len(metrics) + 1)))])


def _score(score: Mapping[str, Any] | None) -> str:
    if score is None or score["value"] is None:
        return "–"
    interval = ""
    if score.get("low") is not None and score.get("high") is not None:
        interval = f' <span style="{_SMALL}">[{100 * score["low"]:.1f}, {100 * score["high"]:.1f}]</span>'
    return f'{100 * score["value"]:.1f}{interval}'


# -- predictions ---------------------------------------------------------------------------------


class Diff(NamedTuple):
    """What one prediction got wrong; `label_right` is None where no text label was asked for."""

    label_right: bool | None
    missing: Counter
    spurious: Counter

    @property
    def right(self) -> bool:
        return self.label_right is not False and not self.missing and not self.spurious


def compare(row: Mapping[str, Any]) -> Diff:
    """Gold against parsed, as `wl_set` and TL see it, for the levels that the gold target holds."""
    gold, parsed = row["gold"], row["parsed"]
    label = gold.get("label") or ""
    # A target is "<label>" + words, "<label>" or words alone; marks are one character each.
    with_label = bool(label) and gold["target"][1:1 + len(label)] == label
    with_words = not with_label or len(gold["target"]) > len(label) + 2
    wanted, given = ([_key(i) for i in side["items"]] if with_words else [] for side in (gold, parsed))
    return Diff(parsed["label"] == label if with_label else None,
                Counter(wanted) - Counter(given), Counter(given) - Counter(wanted))


def _key(item: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    return item["kind"], item["label"], tuple(item["surfaces"])


def _marks(items: Sequence[Mapping[str, Any]], text: str) -> list[Mark]:
    """Places of `items` in `text`, part by part; what is not in the text has none."""
    marks: list[Mark] = []
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        if len(item["surfaces"]) == 1:
            by_kind[item["kind"]].append(item)
        elif places := locate_relation(*item["surfaces"], text):
            marks += [Mark(s.start, s.end, item["label"], True) for s in places]
    for group in by_kind.values():
        places = locate_spans([item["surfaces"][0] for item in group], text)
        marks += [Mark(s.start, s.end, item["label"]) for item, s in zip(group, places, strict=True) if s]
    return marks


def predictions(rows: Iterable[Mapping[str, Any]], limit: int = 20,
                only: Literal["right", "wrong"] | None = None) -> Html:
    """A list of predictions to open and close: gold and predicted, missing and spurious items.

    `rows` are the dicts of predictions.jsonl; "right" is TL and the items as a multiset, where asked.
    Raises ValueError for an unknown `only`.
    """
    if only not in ("right", "wrong", None):
        raise ValueError(f'only is {only!r}; give "right", "wrong" or None')
    compared = [(row, compare(row)) for row in rows]
    kept = [(row, diff) for row, diff in compared if only is None or diff.right == (only == "right")]
    labels = (i["label"] for row, _ in kept for side in ("gold", "parsed") for i in row[side]["items"])
    colours = tints(sorted(set(labels)))
    shown = [_prediction(row, diff, colours) for row, diff in islice(kept, limit)]
    head = (f'<div style="{_SMALL}">{sum(d.right for _, d in compared)} of {len(compared)} right'
            f'{f"; only the {only} ones are listed" if only else ""}</div>')
    return _page([head, *shown, _count(len(shown), len(kept), "listed")])


def _prediction(row: Mapping[str, Any], diff: Diff, colours: Mapping[str, tuple[str, str]]) -> str:
    text, gold, parsed = row["text"], row["gold"], row["parsed"]
    sign, colour = ("✓", _RIGHT) if diff.right else ("✗", _WRONG)
    lines = []
    for name, side in (("gold", gold), ("predicted", parsed)):
        relations = [_item(i["label"], i["surfaces"]) for i in side["items"] if len(i["surfaces"]) == 2]
        lines.append((name, (_chip(side["label"]) if side["label"] else "")
                      + highlight(text, _marks(side["items"], text), colours)
                      + (f'<div style="{_SMALL}">{" · ".join(relations)}</div>' if relations else "")))
    if diff.label_right is False:
        lines.append(("text label", f'{safe(parsed["label"] or "none")} instead of {safe(gold["label"])}'))
    for name, items in (("missing", diff.missing), ("spurious", diff.spurious)):
        if items:
            lines.append((name, " · ".join(_item(label, surfaces) + (f" ×{n}" if n > 1 else "")
                                           for (_, label, surfaces), n in items.items())))
    problems = [f'{safe(p["name"])}: {safe(p["detail"])}' for p in row["problems"]]
    if row.get("truncated"):
        problems.append("truncated: the budget of new tokens ran out")
    if problems:
        lines.append(("problems", " · ".join(problems)))
    lines.append(("raw output", f'<code style="{_BASE}word-break:break-all;">{safe(row["output"])}</code>'))
    table = _table(("", safe(str(row["id"]))), [(f"<b>{n}</b>", c) for n, c in lines],
                   (_CELL + "white-space:nowrap;", _CELL))
    return (f'<details style="{_BASE}border-bottom:1px solid {RULE};padding:2px 0;">'
            f'<summary style="{_BASE}cursor:pointer;">'
            f'<b style="color:{colour};background:{PAPER};">{sign}</b> {safe(text)}</summary>'
            f'{table}</details>')
