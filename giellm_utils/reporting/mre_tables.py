"""The MRE experiment's results as Markdown tables, in percentage points and per cent.

A document asks for `table:mre/NAME`, NAME being one of TABLES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from giellm_utils.core import artifacts
from giellm_utils.core.cells import MAIN
from giellm_utils.core.mre_report import (
    BoundReport,
    CoverageReport,
    MreReport,
    PowerReport,
    ProbeReport,
    TailReport,
    TrialEffect,
)
from giellm_utils.reporting import published
from giellm_utils.reporting.mre_titles import condition_title, p_text, task_title, verdict, when
from giellm_utils.reporting.tables import MISSING, rows_to_markdown
from giellm_utils.reporting.titles import metric_title

FOLDER = "mre"
MISSING_YET = "Not measured yet.\n"
METHODS = {"seed_percentile": "percentile bootstrap over seeds", "seed_t": "t over seeds",
           "documents": "bootstrap over documents within seeds", "mixed_wald": "mixed model, normal",
           "satterthwaite": "mixed model, Satterthwaite", "crossed": "documents and seeds, a t each (ours)"}


def points(value: float) -> str:
    """`+1.23`, with a minus sign that is one."""
    return f"{100 * value:+.2f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    return f"[{points(low)}, {points(high)}]"


def primary(report: MreReport) -> str:
    """The primary comparisons under all three intervals, with adjusted p-values and the verdict, under a line
    on how many were made, and over what was left out."""
    found = [e for e in report.effects if e.role == "primary"]
    said = (f"{_look(report)}{len(found)} of {report.planned} planned primary tests are made; Holm counts "
            f"all {report.planned}, those to come as p = 1. The intervals are 95 % each for itself: one that "
            "leaves zero out, or lies within the margin, can stand beside an adjusted p-value that decides "
            "nothing, and what is undecided can be decided by tests to come.\n\n")
    lacking = [f"- not compared: {line}\n" for line in report.missing]
    lacking += [f"- left out: {line}\n" for line in report.left_out]
    if not found:
        return said + "".join(lacking)
    return said + rows_to_markdown(
        ("dataset", "outcome", "joint minus", "seeds", "difference", "95 %, documents and seeds",
         "t over seeds", "documents within seeds", "Holm p", f"equivalence p (±{100 * report.margin:g})",
         "verdict"),
        [(task_title(e.task), metric_title(e.metric), condition_title(e.b), len(e.seeds), points(e.value),
          interval(e.low, e.high), interval(e.seed_low, e.seed_high),
          interval(e.document_low, e.document_high), p_text(e.holm_p), p_text(e.tost_holm_p), verdict(e))
         for e in found]) + "".join(["\n", *lacking] if lacking else [])


def answer(report: MreReport) -> str:
    """The primary differences in a line each."""
    found = [e for e in report.effects if e.role == "primary"]
    if not found:
        return MISSING_YET
    said = (f"{_look(report)}Points, each interval 95 % for itself over documents and seeds; verdicts by "
            f"Holm over {report.planned} planned tests, {len(found)} of them made and the others counted as "
            f"p = 1; margin ±{100 * report.margin:g}. Undecided: neither a difference nor its absence within "
            "the margin was shown so, though the interval may lie within it.\n\n")
    return said + "".join(
        f"- {task_title(e.task)}, {metric_title(e.metric)}, joint minus {condition_title(e.b)}: "
        f"{points(e.value)} {interval(e.low, e.high)}, {len(e.seeds)} seeds: **{verdict(e)}**\n"
        for e in found) + _beside_the_paper(report)


def _beside_the_paper(report: MreReport) -> str:
    """The paper's own differences, of one run on TCREE, and where they lie in our intervals on TCREE-open."""
    joint, *others = published.MRE
    said = []
    for metric, alone, level, single in zip(("tl", "wl_exact"), ("text", "words"), ("TL", "WL"), others,
                                            strict=True):
        printed = getattr(joint, level.lower()) - getattr(single, level.lower())
        mine = next((e for e in report.effects if (e.task, e.arm, e.decoding, e.metric, e.a, e.b) == (
            "tcree", MAIN, "constrained", metric, "joint", alone)), None)
        if mine is None:
            continue
        where = "inside" if mine.low <= printed / 100 <= mine.high else "outside"
        said.append(f"{points(printed / 100)} in {level}, {where} {interval(mine.low, mine.high)} for "
                    f"{metric_title(metric)} here")
    return f"\nThe paper's one run on its TCREE: {'; '.join(said)}.\n" if said else ""


def _look(report: MreReport | ProbeReport) -> str:
    """What a table stands under: which look it is, where it is one."""
    if report.partial:
        return "**A look at what stood before all cells did, not a planned one.** "
    return f"Compared {when(report.look)}. " if report.look else ""


def _under(report: MreReport | ProbeReport, table: str) -> str:
    return f"{look.rstrip()}\n\n{table}" if (look := _look(report)) else table


def secondary(report: MreReport) -> str:
    """Every other comparison under constrained decoding; p-values for each alone, so no verdicts."""
    found = [e for e in report.effects if e.role == "secondary" and e.decoding == "constrained"]
    return _under(report, _comparisons(found))


def free(report: MreReport) -> str:
    """The comparisons under free decoding."""
    found = [e for e in report.effects if e.decoding == "free"]
    return _under(report, _comparisons(found)) if found else "Nothing was decoded freely.\n"


def _comparisons(found: Sequence[TrialEffect]) -> str:
    if not found:
        return "Nothing else was compared.\n"
    return rows_to_markdown(
        ("dataset", "arm", "outcome", "condition", "minus", "seeds", "difference",
         "95 %, documents and seeds", "p, alone"),
        [(task_title(e.task), e.arm, metric_title(e.metric), condition_title(e.a), condition_title(e.b),
          len(e.seeds), points(e.value), interval(e.low, e.high), p_text(e.p_value))
         for e in found])


def scores(report: MreReport) -> str:
    """Mean and standard deviation over seeds of every condition, one column a metric."""
    metrics = ("tl", "f1", "wl_exact", "all")
    cells: dict[tuple[Any, ...], dict[str, str]] = {}
    for s in report.scores:
        if s.metric in metrics:
            sd = "" if s.sd is None else f" ± {100 * s.sd:.1f}"
            key = (s.task, s.arm, s.condition, s.decoding, s.texts, len(s.seeds))
            cells.setdefault(key, {})[s.metric] = f"{100 * s.mean:.1f}{sd}"
    if not cells:
        return MISSING_YET
    return _under(report, rows_to_markdown(
        ("dataset", "arm", "condition", "decoding", "texts", "seeds", *map(metric_title, metrics)),
        [(task_title(task), arm, condition_title(condition), way, texts, seeds,
          *(found.get(m, MISSING) for m in metrics))
         for (task, arm, condition, way, texts, seeds), found in cells.items()]))


def strata(report: MreReport) -> str:
    """The primary differences by how many gold words a text has; nothing is tested here."""
    if not report.strata:
        return MISSING_YET
    said = (f"{_look(report)}Every dataset of a group apart. Word F1 of texts without gold words is not "
            "defined: what a model invents there counts in the difference over all texts, and in no row.\n\n")
    return said + rows_to_markdown(
        ("dataset", "outcome", "gold words", "documents", "joint", "single", "difference",
         "95 %, documents and seeds"),
        [(task_title(s.task), metric_title(s.metric), s.words, f"{s.n:,}", f"{100 * s.a_mean:.1f}",
          f"{100 * s.b_mean:.1f}", points(s.value), interval(s.low, s.high)) for s in report.strata])


def margins(report: MreReport) -> str:
    """The equivalence test of each primary difference at other margins, alone and adjusted."""
    if not report.margins:
        return MISSING_YET
    widths = list(dict.fromkeys(m.margin for m in report.margins))
    rows: dict[tuple[str, str, str], list[str]] = {}
    for m in report.margins:
        rows.setdefault((task_title(m.task), metric_title(m.metric), condition_title(m.b)), []).append(
            f"{p_text(m.p_value)} ({p_text(m.holm_p)})")
    return (f"{_look(report)}The verdicts are at ±{100 * report.margin:g}; p-values of no effect larger than "
            f"each margin, alone, in brackets by Holm over {report.planned}.\n\n" + rows_to_markdown(
                ("dataset", "outcome", "joint minus", *(f"±{100 * width:g}" for width in widths)),
                [(*key, *found) for key, found in rows.items()]))


def runs(report: MreReport) -> str:
    """Wall time of every training and its decoding."""
    return rows_to_markdown(
        ("dataset", "arm", "condition", "seed", "texts", "steps", "precision", "training, s", "decoding, s",
         "machine", "commit"),
        [(task_title(r.task), r.arm, condition_title(r.condition), r.seed, r.texts, r.steps, r.dtype,
          f"{r.seconds:.0f}" + (f" (of {r.shared_by} cells)" if r.shared_by > 1 else ""),
          " + ".join(f"{s:.0f} {way}" for way, s in r.decoding_seconds.items()), r.machine, r.git)
         for r in report.runs])


def probes(report: ProbeReport) -> str:
    """Each level by what the model was told of the other: means over seeds, and what telling more gives."""
    if not report.scores:
        return MISSING_YET
    scores = _under(report, rows_to_markdown(
        ("dataset", "condition", "outcome", "told", "seeds", "per cent", "n"),
        [(task_title(s.task), condition_title(s.condition), metric_title(s.metric), s.told, len(s.seeds),
          f"{100 * sum(s.values) / len(s.values):.1f}", f"{s.n:,}") for s in report.scores]))
    if not report.differences:
        return scores
    return scores + "\n" + rows_to_markdown(
        ("dataset", "condition", "outcome", "told", "minus", "seeds", "difference",
         "95 %, documents and seeds"),
        [(task_title(d.task), condition_title(d.condition), metric_title(d.metric), d.a, d.b, len(d.seeds),
          points(d.value), interval(d.low, d.high)) for d in report.differences])


def coverage(report: CoverageReport) -> str:
    """Coverage of every method in every case, per cent, with its mean width in points."""
    methods = [m for m in METHODS if m in report.cases[0].methods]
    return (f"{report.repetitions:,} simulated experiments a row; coverage of intervals that call themselves "
            "95 %, per cent (mean width in points).\n\n" + rows_to_markdown(
                ("outcome", "documents", "seeds", "sd between seeds", *(METHODS[m] for m in methods)),
                [(metric_title(c.metric), f"{c.documents:,}", c.seeds, f"{100 * c.seed_sd:g}",
                  *(f"{100 * c.methods[m].coverage:.1f} ({100 * c.methods[m].width:.1f})" for m in methods))
                 for c in report.cases]))


def tails(report: TailReport) -> str:
    """Errors of one-sided tests at every level, per cent."""
    return (f"{report.repetitions:,} simulated experiments a row without a true difference; how often a "
            "one-sided test is passed that should not be, per cent, at three levels: alone, at Holm's first "
            "step, and half of that, which is a side of a test for a difference there.\n\n"
            + rows_to_markdown(
                ("shape of", "outcome", "documents", "seeds", "sd between seeds",
                 *(f"at {100 * level:g}" for level in report.levels)),
                [(task_title(c.task), metric_title(c.metric), f"{c.documents:,}", c.seeds,
                  f"{100 * c.seed_sd:g}", *(f"{100 * e:.2f}" for e in c.errors)) for c in report.cases]))


def bound(report: BoundReport) -> str:
    """Accuracy of the class from each source, of a gold word's label without and with the class, and bits."""
    sources = [p.source for p in report.tasks[0].text_label]
    rows = []
    for t in report.tasks:
        w = t.word_labels
        known = (None,) * 4 if w is None else (
            f"{100 * w.accuracy:.1f}", f"{100 * w.accuracy_given_class:.1f}", f"{w.bits:.2f}",
            f"{w.bits_given_class:.2f}")
        accuracies = (f"{100 * p.accuracy:.1f} [{100 * p.low:.1f}, {100 * p.high:.1f}]" for p in t.text_label)
        rows.append((task_title(t.task), f"{t.test:,}", *accuracies,
                     f"{points(t.gain.value)} {interval(t.gain.low, t.gain.high)}", *known))
    return rows_to_markdown(
        ("dataset", "test", *("frequent class" if s == "majority" else f"class from {s}" for s in sources),
         "gold words add", "label of a word, the most frequent", "the most frequent of the class",
         "bits a label", "given the class"), rows)


def power(report: PowerReport) -> str:
    """What every design can see by the outcomes of a pilot, or of the experiment itself, in points; beside it
    at the seeds' upper limit."""
    rows = []
    for o in report.outcomes:
        for d, high in zip(o.as_measured, o.at_upper_limit, strict=True):
            rows.append((task_title(o.task), metric_title(o.metric), f"{d.documents:,}", d.seeds,
                         *(f"{100 * getattr(d, name):.2f} ({100 * getattr(high, name):.2f})"
                           for name in ("single", "first", "margin", "margin_first")),
                         *(f"{100 * getattr(d, name):.0f} ({100 * getattr(high, name):.0f})"
                           for name in ("no_effect", "no_effect_first"))))
    first = f"first of {report.planned}"
    return (f"Smallest true difference found with a power of {100 * report.power:.0f} %, in points, for a "
            f"test alone and as the first step of Holm over {report.planned}; the margin within which \"no "
            "effect\" would be concluded as often where there is none; and how often it would be within "
            f"±{100 * report.margin:g}. In brackets with the standard deviation between seeds at its upper "
            "80 % limit.\n\n"
            + rows_to_markdown(("dataset", "outcome", "documents", "seeds", "alone", first, "margin, alone",
                                f"margin, {first}", f"within ±{100 * report.margin:g}, per cent, alone",
                                first), rows))


#: Name after mre/ -> result file, its record, and the table.
TABLES: dict[str, tuple[str, type[BaseModel], Callable[[Any], str]]] = {
    **{made.__name__: ("analysis.json", MreReport, made)
       for made in (primary, answer, secondary, free, strata, margins, scores, runs)},
    "coverage": ("coverage.json", CoverageReport, coverage), "bound": ("bound.json", BoundReport, bound),
    "power": ("power.json", PowerReport, power), "observed": ("observed.json", PowerReport, power),
    "probes": ("probes.json", ProbeReport, probes), "tails": ("tails.json", TailReport, tails)}


def table(results: Path, name: str) -> str:
    """One of TABLES from the files in `results`; says so where its file is not there yet."""
    file, kind, made = TABLES[name]
    path = results / FOLDER / file
    return made(artifacts.read(path, kind)) if path.exists() else MISSING_YET
