"""HTML for the notebooks: records, prompts, scores and predictions, escaped and without scripts.

GitHub's notebook page drops <style> and scripts and may be dark, so every element carries inline
styles, and colour always comes with background. Colour is never the only cue: a span also shows
its label. Invisible characters (controls, bidi overrides, zero-width) are shown by their number,
so that a text cannot hide anything or reorder the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

from giellm_utils.core.answer import Answer, items_from_json
from giellm_utils.core.artifacts import Decodings, Score, SystemScores
from giellm_utils.core.markup import FAINT, highlight, Html, INK, Mark, PAPER, RULE, safe, tints
from giellm_utils.core.schema import Item, Record, Task, Word
from giellm_utils.data.offsets import locate
from giellm_utils.evaluation.score import COMPARED
from giellm_utils.reporting.titles import FEW_METRICS, MAIN_METRICS, metric_title
from giellm_utils.systems import registry

#: Which documents a table counts: fields of SystemScores.
Group = Literal["all", "with_words", "empty_gold"]
#: Problems that carry no detail of their own.
_EXPLAINED = {"truncated": "the budget of new tokens ran out"}
_BASE = f"color:{INK};background:{PAPER};"
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


def _item(item: Item) -> str:
    if len(item.surfaces) == 2:
        return f"{safe(item.surfaces[0])} –[<b>{safe(item.label)}</b>]→ {safe(item.surfaces[1])}"
    return f"<b>{safe(item.label)}</b> {safe(item.surfaces[0])}"


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
        lines = _by_part(tuple(record.items()), task) if listed else ""
        out.append(f'<div style="{_BASE}border-bottom:1px solid {RULE};padding:4px 0;">{_chip(record.label)}'
                   f'{highlight(record.text, _marks(record.words), colours)}{lines}'
                   f'<div style="{_SMALL}">{safe(record.id)} · {safe(record.split)}</div></div>')
    return _page([*out, _count(len(out), len(records), "records")])


def answer(text: str, answer: Answer, task: Task) -> Html:
    """What a system says of one text: its label, its items where they stand and part by part, problems."""
    colours = tints([*(label for part in task.parts for label in part.labels),
                     *(item.label for item in answer.items)])
    problems = "".join(f'<div style="{_SMALL}">{_problem(p.name, p.detail)}</div>' for p in answer.problems)
    raw = f'<div style="{_SMALL}">raw output: {safe(answer.raw)}</div>' if answer.raw else ""
    return _page([_chip(answer.label) if answer.label else "",
                  highlight(text, _marks(locate(answer.items, text)), colours),
                  _by_part(answer.items, task), problems, raw])


def _by_part(items: Sequence[Item], task: Task) -> str:
    """A line for each part of the task with its items; the task's word for none where it has none."""
    return "".join(
        f'<div style="{_SMALL}padding-left:16px;">{safe(part.instruction)}: '
        f'{" · ".join(_item(i) for i in items if i.kind == part.kind) or safe(task.none)}</div>'
        for part in task.parts)


def _marks(words: Iterable[Word | None]) -> list[Mark]:
    """The spans of words; None, an item that is not in the text (data.offsets.locate), has no mark."""
    return [Mark(s.start, s.end, w.label, w.tail is not None) for w in words if w for s in w.spans]


def _problem(name: str, detail: str) -> str:
    return f"{safe(name)}: {safe(detail or _EXPLAINED.get(name, ''))}"


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


def scores_table(systems: Mapping[str, SystemScores], group: Group = "all",
                 metrics: Sequence[str] = MAIN_METRICS) -> Html:
    """Systems by metrics of one task, each cell "value [low, high]" in per cent (95 % interval).

    `group` names the documents: all, those with gold words or those without. Metrics that no system has
    are left out.
    """
    return _scores([((), name, system) for name, system in _in_order(systems)], (), group, metrics)


def datasets_table(tasks: Mapping[str, Mapping[str, SystemScores]], group: Group = "all",
                   metrics: Sequence[str] = FEW_METRICS) -> Html:
    """Several tasks in one table: `scores_table` with few metrics and the dataset in the first column."""
    return _scores([((f"<b>{safe(task)}</b>",), name, system) for task, systems in tasks.items()
                    for name, system in _in_order(systems)], ("dataset",), group, metrics)


def _in_order(systems: Mapping[str, SystemScores]) -> list[tuple[str, SystemScores]]:
    return [(name, systems[name]) for name in registry.ordered(systems)]


def _scores(rows: Sequence[tuple[tuple[str, ...], str, SystemScores]], head: tuple[str, ...], group: Group,
            metrics: Sequence[str]) -> Html:
    """Rows (leading cells, system, its scores) as a table; `n` is the number of documents in `group`."""
    metrics = [m for m in metrics if any(getattr(system, group).get(m) for *_, system in rows)]
    cells = []
    for leading, name, system in rows:
        n = {"all": system.n, "empty_gold": system.n_empty_gold}.get(group, system.n - system.n_empty_gold)
        cells.append((*leading, f"<b>{safe(registry.title(name))}</b>",
                      *(_score(getattr(system, group).get(m)) for m in metrics), f"{n:,}"))
    return _numbers((*head, "per cent", *(safe(metric_title(m)) for m in metrics), "n"), cells, len(head) + 1)


def decodings_table(tasks: Mapping[str, Mapping[str, Decodings]], condition: str) -> Html:
    """Free against constrained decoding of one condition, a row a task and way of decoding; metrics in
    per cent."""
    rows = []
    for task, conditions in tasks.items():
        for name in ("free", "constrained"):
            if found := getattr(conditions.get(condition), name, None):
                speed = found.items_per_second
                rows.append((f"<b>{safe(task)}</b>", name, *(_score(found.scores.get(m)) for m in COMPARED),
                             "–" if speed is None else f"{speed:.1f}"))
    return _numbers(("dataset", "decoding", *(safe(metric_title(m)) for m in COMPARED), "items/s"), rows, 2)


def _numbers(head: Sequence[str], rows: Iterable[Sequence[str]], names: int) -> Html:
    """A table of ready cells: `names` columns of names, then columns of numbers."""
    name = _CELL + "white-space:nowrap;"
    return _page([_table(head, rows, [name] * names + [name + "text-align:right;"] * (len(head) - names))])


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = (),
               code: int | None = None) -> Html:
    """A table of texts, their line ends kept, notes below; the column with index `code` in code type."""
    styles = [_CELL + "font-family:monospace;" * (i == code) for i in range(len(head))]
    cells = (["<br>".join(map(safe, cell.split("\n"))) for cell in row] for row in rows)
    below = [f'<div style="{_SMALL}">{safe(note)}</div>' for note in notes]
    return _page([_table([safe(h) for h in head], cells, styles), *below])


def _score(score: Score | None) -> str:
    if score is None or score.value is None:
        return "–"
    interval = ""
    if score.low is not None and score.high is not None:
        interval = f' <span style="{_SMALL}">[{100 * score.low:.1f}, {100 * score.high:.1f}]</span>'
    return f"{100 * score.value:.1f}{interval}"


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
    """Gold against answer, as `wl_set` and TL see it, for what the row's level asks."""
    gold, answer = row["gold"], row["answer"]
    wanted, given = (Counter(items_from_json(side["items"]) if row["level"] != "text" else ())
                     for side in (gold, answer))
    right = None if row["level"] == "words" else answer["label"] == gold["label"]
    return Diff(right, wanted - given, given - wanted)


def predictions(rows: Iterable[Mapping[str, Any]], limit: int = 20,
                only: Literal["right", "wrong"] | None = None) -> Html:
    """A list of predictions to open and close: gold and answered, missing and spurious items.

    `rows` are those of inference.predictions: {"id", "level", "text", "gold": {"label", "items"},
    "answer": {"label", "items", "problems", "raw"}}. "right" is TL and the items as a multiset, where asked.
    Raises ValueError for an unknown `only`.
    """
    if only not in ("right", "wrong", None):
        raise ValueError(f'only is {only!r}; give "right", "wrong" or None')
    compared = [(row, compare(row)) for row in rows]
    kept = [(row, diff) for row, diff in compared if only is None or diff.right == (only == "right")]
    labels = (i["label"] for row, _ in kept for side in ("gold", "answer") for i in row[side]["items"])
    colours = tints(sorted(set(labels)))
    shown = [_prediction(row, diff, colours) for row, diff in islice(kept, limit)]
    head = (f'<div style="{_SMALL}">{sum(d.right for _, d in compared)} of {len(compared)} right'
            f'{f"; only the {only} ones are listed" if only else ""}</div>')
    return _page([head, *shown, _count(len(shown), len(kept), "listed")])


def _prediction(row: Mapping[str, Any], diff: Diff, colours: Mapping[str, tuple[str, str]]) -> str:
    text, gold, answer = row["text"], row["gold"], row["answer"]
    sign, colour = ("✓", _RIGHT) if diff.right else ("✗", _WRONG)
    lines = [("gold", _side(gold, text, row["level"], colours)),
             ("predicted", _side(answer, text, row["level"], colours))]
    if diff.label_right is False:
        lines.append(("text label", f'{safe(answer["label"] or "none")} instead of {safe(gold["label"])}'))
    for name, items in (("missing", diff.missing), ("spurious", diff.spurious)):
        if items:
            lines.append((name, " · ".join(_item(item) + (f" ×{n}" if n > 1 else "")
                                           for item, n in items.items())))
    if problems := [_problem(**p) for p in answer["problems"]]:
        lines.append(("problems", " · ".join(problems)))
    if answer["raw"]:
        lines.append(
            ("raw output", f'<code style="{_BASE}word-break:break-all;">{safe(answer["raw"])}</code>'))
    table = _table(("", safe(str(row["id"]))), [(f"<b>{n}</b>", c) for n, c in lines],
                   (_CELL + "white-space:nowrap;", _CELL))
    return (f'<details style="{_BASE}border-bottom:1px solid {RULE};padding:2px 0;">'
            f'<summary style="{_BASE}cursor:pointer;">'
            f'<b style="color:{colour};background:{PAPER};">{sign}</b> {safe(text)}</summary>'
            f'{table}</details>')


def _side(side: Mapping[str, Any], text: str, level: str, colours: Mapping[str, tuple[str, str]]) -> str:
    """The text with gold's or the answer's label and items at the row's level, each where it is scored;
    relations listed below."""
    items = items_from_json(side["items"]) if level != "text" else ()
    label = side["label"] if level != "words" else None
    relations = [_item(item) for item in items if len(item.surfaces) == 2]
    return ((_chip(label) if label else "") + highlight(text, _marks(locate(items, text)), colours)
            + (f'<div style="{_SMALL}">{" · ".join(relations)}</div>' if relations else ""))
