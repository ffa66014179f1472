"""The answer: joint minus single-level models with intervals over documents and seeds; other conditions
beside joint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.core.cells import MAIN
from giellm_utils.core.mre_report import MreReport, TrialEffect, TrialVerdict
from giellm_utils.evaluation.trials import GROUPS, PRIMARY
from giellm_utils.reporting.figures.style import BLUE, canvas, dots, FAINT, GREEN, GREY, INK, RED, Row
from giellm_utils.reporting.mre_titles import condition_title, look, p_text, task_title, verdict, when
from giellm_utils.reporting.titles import metric_title

FILE = "mre/analysis.json"
BASES = ("text", "words", "text+words")
#: What the forest shows beside the primary outcomes, and what the conditions are shown by.
SHOWN = ("tl", "f1", "wl_exact", "all")
OUTCOMES = ("tl", "f1")
#: Seeds of a condition that is drawn beside others.
FEWEST = 3
#: Of the verdicts; the marker repeats what the colour says.
LOOKS = {"higher": (BLUE, "o", False), "lower": (RED, "s", False), "equivalent": (GREEN, "D", False),
         "undecided": (GREY, "o", True)}


def draw(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    report = MreReport.model_validate(result)
    main = [e for e in report.effects
            if e.arm == MAIN and e.decoding == "constrained" and e.b in BASES]
    # Datasets of a group have it speak for them, once it is whole.
    grouped = {t for e in main for t in GROUPS.get(e.task, ())}
    main = [e for e in main if e.task not in grouped]
    if joint := [e for e in main if e.a == "joint" and e.metric in SHOWN]:
        yield "forest", forest(joint, report)
    others = {e.a for e in main} - {"joint"}
    # A t-interval over two seeds is so wide that it hides all others.
    several = [e for e in main if len(e.seeds) >= FEWEST]
    if beside := [e for e in several if e.metric in OUTCOMES and others & _compared(several, e)]:
        yield "conditions", conditions(beside, report)


def _compared(effects: Sequence[TrialEffect], effect: TrialEffect) -> set[str]:
    """The conditions that are held against the same one, on the same outcome and dataset."""
    return {e.a for e in effects if (e.task, e.metric, e.b) == (effect.task, effect.metric, effect.b)}


def source(report: MreReport, effects: Sequence[TrialEffect]) -> str:
    """Of the cells that `effects` of the main arm are made from."""
    drawn = {(task, side, seed) for e in effects for task in GROUPS.get(e.task, (e.task,))
             for side in (e.a, *e.b.split("+")) for seed in e.seeds}
    cells = [r for r in report.runs if r.arm == MAIN and (r.task, r.condition, r.seed) in drawn]
    seeds = sorted({r.seed for r in cells})
    look = f"compared {when(report.look)}" if report.look else "results"
    look = "what stood then" if report.partial else look
    return (f"{look}: {len(cells)} cells, seeds {', '.join(map(str, seeds))}; constrained decoding, the same "
            "texts in every condition")


def forest(effects: Sequence[TrialEffect], report: MreReport) -> Figure:
    """Joint minus single-level, one row an outcome; the band is the equivalence margin, ticks are seeds."""
    groups: dict[str, list[tuple[Row, TrialEffect]]] = {}
    for e in _ordered(effects):
        title = metric_title(e.metric)
        if e.role == "primary":
            row = _row(e, f"{title} *", f"   {verdict(e)}, {_p(e)}", e.verdict)
        else:
            row = Row(title, e.value, e.low, e.high, FAINT, ".", False, f"   p {p_text(e.p_value)}, alone")
        groups.setdefault(task_title(e.task), []).append((row, e))
    made = sum(e.role == "primary" for e in effects)
    both = {"scnm", "tcree"} <= {e.task for e in effects}
    shared = ".\nThe texts of TCREE are among those of SCNM" if both else ""
    return _figure("Joint minus single-level models, percentage points (right: joint better)", groups, report,
                   f"* primary: verdict by Holm over {report.planned} planned tests, {made} of them made, "
                   "the others counted as p = 1;\nhollow: undecided, even within the band (margin of "
                   "equivalence). Points: secondary, no verdict.\nBar: 95 % over documents and seeds, each "
                   f"alone; thin marks: single seeds{shared}")


def _p(e: TrialEffect) -> str:
    """Holm-adjusted: of the test that the verdict rests on; equivalence is what the undecided lack too."""
    if e.verdict in ("undecided", "equivalent"):
        return f"equivalence p {p_text(e.tost_holm_p)}"
    return f"p {p_text(e.holm_p)}"


def conditions(effects: Sequence[TrialEffect], report: MreReport) -> Figure:
    """Every condition minus the same single-level model: what joint gains, and what its controls do."""
    groups: dict[str, list[tuple[Row, TrialEffect]]] = {}
    for e in _ordered(effects):
        header = f"{task_title(e.task)}, {metric_title(e.metric)}: minus {condition_title(e.b)}"
        own, star = look(e.a), " *" if e.role == "primary" else ""
        row = Row(condition_title(e.a) + star, e.value, e.low, e.high, own.colour, own.marker,
                  bool(star) and e.verdict == "undecided", f"   {len(e.seeds)} seeds")
        groups.setdefault(header, []).append((row, e))
    return _figure("Conditions minus single-level models, percentage points", groups, report,
                   "bar: 95 % over documents and seeds, each comparison alone; thin marks: single seeds; "
                   "band: margin of equivalence;\n* primary, hollow where Holm leaves it undecided; the "
                   "others are secondary and have no verdict")


def _ordered(effects: Sequence[TrialEffect]) -> list[TrialEffect]:
    """By task, those of the primary tests first, then by outcome; the order within these is kept."""
    tasks = list(dict.fromkeys([*PRIMARY, *(e.task for e in effects)]))
    return sorted(effects, key=lambda e: (tasks.index(e.task), SHOWN.index(e.metric)))


def _row(e: TrialEffect, title: str, note: str, verdict: TrialVerdict) -> Row:
    colour, marker, hollow = LOOKS[verdict]
    return Row(title, e.value, e.low, e.high, colour, marker, hollow, note)


def _figure(title: str, groups: Mapping[str, Sequence[tuple[Row, TrialEffect]]], report: MreReport,
            legend: str) -> Figure:
    rows = [pair for group in groups.values() for pair in group]
    said = source(report, [e for _, e in rows])
    with canvas(10.5, 0.25 * (len(rows) + 1.3 * len(groups)) + 2.0, title, said) as fig:
        ax = fig.add_subplot()
        dots(ax, [(header, [row for row, _ in group]) for header, group in groups.items()], signed=True)
        for y, (_, e) in zip(ax.get_yticks(), rows, strict=True):
            ax.plot([100 * d for d in e.differences], [y] * len(e.seeds), "|", color=INK, ms=9, mew=0.8,
                    alpha=0.6)
        _axis(ax, [e for _, e in rows], report.margin)
        ax.set_xlabel(legend)
    return fig


def _axis(ax: Axes, effects: Sequence[TrialEffect], margin: float) -> None:
    """Zero in the middle, the margin as a band."""
    reach = 108 * max(margin, *(abs(x) for e in effects for x in (e.low, e.high, *e.differences)))
    ax.axvspan(-100 * margin, 100 * margin, color=INK, alpha=0.06, lw=0, zorder=0)
    ax.axvline(0, color=INK, lw=1, zorder=1)
    ax.set_xlim(-reach, reach)
    ax.xaxis.set_major_formatter(
        ticker.FuncFormatter(lambda v, _: f"{v:+g}".replace("-", "−") if v else "0"))
