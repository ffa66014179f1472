"""What every system took, and what its answers are worth when they are read with good will.

From committed results alone: rows of results/systems/ and runs (results/<run>/), all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Training
from giellm_utils.core.sources import METHODS
from giellm_utils.core.system_result import SystemResult
from giellm_utils.data.registry import TASKS
from giellm_utils.reporting.beside_paper import measured, Ours, WORST
from giellm_utils.reporting.results import run_folders, RunResults, system_rows
from giellm_utils.reporting.tables import MISSING, rows_to_markdown, score_cell
from giellm_utils.reporting.titles import FEW_METRICS, metric_title
from giellm_utils.systems import registry

FOLDER = "systems"


def _rows(results: Path) -> list[SystemResult]:
    """Every row of results/systems/: systems in the order of tables, datasets in the paper's."""
    rows = system_rows(results)
    order = registry.ordered({r.entry for r in rows})
    return sorted(rows, key=lambda r: (order.index(r.entry), r.title, r.source, _place(r.task)))


def _place(task: str) -> int:
    return list(TASKS).index(task) if task in TASKS else len(TASKS)


def _title(task: str) -> str:
    return TASKS[task].title if task in TASKS else task


# -- times -----------------------------------------------------------------------------------------------

_TIMES = ("system", "data", "dataset", "fitting, s", "documents", "answers, s", "texts/s", "machine",
          "busy with")
_TIMES_LEGEND = (
    "Wall time. Fitting: of this dataset's train texts; of a run, of all its datasets in one training (and "
    "without its set-up). Answers: to all documents that it was asked; of a run by its constrained decoding, "
    "or the only one that it has; of a model in context that was not asked in one go, the seconds of all "
    "requests added up. Busy with: how many processes wanted a processor when it began; with more than none "
    "the times are too long, and a run does not say.")


def times(results: Path) -> str:
    """What fitting and answering took, for each system and dataset, and on which machine."""
    rows = [*_times_of_runs(results), *map(_times_of_row, _rows(results))]
    return rows_to_markdown(_TIMES, rows) + f"\n{_TIMES_LEGEND}\n"


def _times_of_row(row: SystemResult) -> tuple[Any, ...]:
    seconds = row.cost.seconds if row.predict_seconds is None and row.cost else row.predict_seconds
    machine = ", ".join((f"{row.machine.processors} × {row.machine.processor}", *row.machine.accelerators))
    return (row.title, row.source, _title(row.task), f"{row.fit_seconds:,.1f}", f"{row.n_test:,}",
            None if seconds is None else f"{seconds:,.1f}",
            _speed(row.n_test / seconds) if seconds and seconds > 0.1 else None, machine,
            row.machine.load)


def _times_of_runs(results: Path) -> Iterator[tuple[Any, ...]]:
    for folder in run_folders(results):
        run = RunResults(folder)
        if not run.trainings or not run.decodings:
            continue
        first = run.trainings[0]
        for task, conditions in run.decodings.tasks.items():
            found = conditions.get(first.condition)
            decoding = found and (found.constrained or found.free)
            if not decoding:
                continue
            n, speed = max(s.n for s in decoding.scores.values() if s), decoding.items_per_second
            yield (f"{first.model}, {METHODS[first.method]}, {first.condition}, format {run.format}",
                   f"run {folder.name}",
                   _title(task), f"{_training(run.trainings, task).seconds:,.1f}", f"{n:,}",
                   speed and f"{n / speed:,.1f}", speed and _speed(speed), _machine(run, first), None)


def _speed(texts: float) -> str:
    return f"{texts:,.0f}" if texts >= 10 else f"{texts:.2g}"


def _training(trainings: list[Training], task: str) -> Training:
    """The first condition's training of `task` alone, or of the mixture that holds it."""
    first = [t for t in trainings if t.condition == trainings[0].condition]
    return next((t for t in first if t.task == task), first[0])


def _machine(run: RunResults, training: Training) -> str:
    """What a run's manifest says of the machine: the number of processors, not which."""
    processors = run.manifest(artifacts.TRAIN).get("processors")
    said = f"{training.device.upper()}, {training.dtype}"
    return f"{said}, {processors} processors" if processors else said


# -- lenient reading -------------------------------------------------------------------------------------

_READ = (*FEW_METRICS, "format_accuracy")
_LENIENT_LEGEND = (
    "Per cent with 95 % bootstrap intervals over documents. Strict: what is not written in the format counts "
    "as wrong. Lenient: the form is mended first (fences, quotes, talk around the answer, wide marks; no "
    "label and no span is changed or added, `formats/lenient.py`). Every other table here is strict.")


def lenient(results: Path) -> str:
    """Systems whose answers can be read in two ways: strictly and with good will, side by side."""
    rows = [(r.title, _title(r.task), read, *(score_cell(scores.all.get(m)) for m in _READ), scores.n)
            for r in _rows(results) if r.lenient
            for read, scores in (("strict", r.scores), ("lenient", r.lenient))]
    return rows_to_markdown(("system", "dataset", "read", *map(metric_title, _READ), "n"),
                            rows or [(MISSING,) * (4 + len(_READ))]) + f"\n{_LENIENT_LEGEND}\n"


# -- scores ----------------------------------------------------------------------------------------------


def scores(results: Path) -> str:
    """Every system and run on the open datasets or the authors' own: the four main metrics, side by side."""
    found = [o for o in measured(results) if o.task in TASKS and o.worth < WORST]
    rows = [(_title(o.task), o.title, f"run {o.run}" if o.run else "", *(
        score_cell(o.scores.all.get(m)) for m in FEW_METRICS), f"{o.scores.n:,}")
        for task in TASKS for o in _in_order([o for o in found if o.task == task])]
    return (rows_to_markdown(("dataset", "system", "run", *map(metric_title, FEW_METRICS), "n"), rows)
            + "\nPer cent with 95 % bootstrap intervals over documents; of a run the scores of free "
              "decoding, where there are any. The same test split for all of a dataset, or the first n of it "
              "by text hash.\n")


def _in_order(found: list[Ours]) -> list[Ours]:
    """Runs first, then systems in the order of tables; each floor once, on the most documents."""
    floors = {name for name, entry in registry.entries().items() if entry.floor}
    best = {o.entry: o for o in sorted(found, key=lambda o: o.scores.n) if o.entry in floors}
    order = registry.ordered({o.entry for o in found})
    kept = [o for o in found if o.entry not in floors or o is best[o.entry]]
    return sorted(kept, key=lambda o: (not o.run, order.index(o.entry), o.run))


#: NAME of a mark `<!-- table:systems/NAME -->` -> its table.
TABLES: dict[str, Callable[[Path], str]] = {"scores": scores, "times": times, "lenient": lenient}
