"""What every system took, and what its answers are worth when they are read with good will.

From committed results alone: rows of results/systems/ and runs (results/<run>/), all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Training
from giellm_utils.core.files import read_json
from giellm_utils.core.sources import METHODS
from giellm_utils.core.system_result import SystemResult
from giellm_utils.data.registry import TASKS
from giellm_utils.reporting.results import run_folders, RunResults
from giellm_utils.reporting.tables import MISSING, rows_to_markdown, score_cell
from giellm_utils.reporting.titles import FEW_METRICS, metric_title
from giellm_utils.systems import registry

FOLDER = "systems"


def system_rows(results: Path) -> list[SystemResult]:
    """Every row of results/systems/: systems in the order of tables, datasets in the paper's."""
    rows = [artifacts.read(p, SystemResult) for p in sorted(results.glob("systems/*/*/*.json"))]
    order = registry.ordered({r.entry for r in rows})
    return sorted(rows, key=lambda r: (order.index(r.entry), r.title, r.source, _place(r.task)))


def _place(task: str) -> int:
    return list(TASKS).index(task) if task in TASKS else len(TASKS)


def _title(task: str) -> str:
    return TASKS[task].title if task in TASKS else task


# -- times -----------------------------------------------------------------------------------------------

_TIMES = ("system", "data", "dataset", "fitting, s", "test", "answers, s", "texts/s", "machine", "busy with")
_TIMES_LEGEND = (
    "Wall time. Fitting: of this dataset's train texts; of a run, of all its datasets in one training (and "
    "without its set-up). Answers: a system's on the whole test split; of a run, the texts a second of its "
    "constrained decoding, or of the only one that it has. Busy with: how many processes wanted a processor "
    "when it began; with more than none the times are too long, and a run does not say. A dash: not timed in "
    "one go.")


def times(results: Path) -> str:
    """What fitting and answering took, for each system and dataset, and on which machine."""
    rows = [*_times_of_runs(results), *map(_times_of_row, system_rows(results))]
    return rows_to_markdown(_TIMES, rows) + f"\n{_TIMES_LEGEND}\n"


def _times_of_row(row: SystemResult) -> tuple[Any, ...]:
    seconds = row.predict_seconds
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
            yield (f"{first.model}, {METHODS[first.method]}, {first.condition}", f"run {folder.name}",
                   _title(task), f"{_training(run.trainings, task).seconds:,.1f}", f"{n:,}",
                   speed and f"{n / speed:,.1f}", speed and _speed(speed), _machine(folder, first), None)


def _speed(texts: float) -> str:
    return f"{texts:,.0f}" if texts >= 10 else f"{texts:.2g}"


def _training(trainings: list[Training], task: str) -> Training:
    """The first condition's training of `task` alone, or of the mixture that holds it."""
    first = [t for t in trainings if t.condition == trainings[0].condition]
    return next((t for t in first if t.task == task), first[0])


def _machine(folder: Path, training: Training) -> str:
    """What a run's manifest says of the machine: the number of processors, not which."""
    path = folder / "manifests.json"
    trained = read_json(path).get(artifacts.TRAIN, {}) if path.exists() else {}
    processors = trained.get("processors")
    said = f"{training.device.upper()}, {training.dtype}"
    return f"{said}, {processors} processors" if processors else said


# -- lenient reading -------------------------------------------------------------------------------------

_LENIENT_LEGEND = (
    "Per cent with 95 % bootstrap intervals over documents. Strict: what is not written in the format counts "
    "as wrong. Lenient: the form is mended first (fences, quotes, talk around the answer, wide marks; no "
    "label and no span is changed or added, `formats/lenient.py`). Every other table here is strict.")


def lenient(results: Path) -> str:
    """Systems whose answers can be read in two ways: strictly and with good will, side by side."""
    rows = [(r.title, _title(r.task), read, *(score_cell(scores.all.get(m)) for m in FEW_METRICS), scores.n)
            for r in system_rows(results) if r.lenient
            for read, scores in (("strict", r.scores), ("lenient", r.lenient))]
    return rows_to_markdown(("system", "dataset", "read", *map(metric_title, FEW_METRICS), "n"),
                            rows or [(MISSING,) * 8]) + f"\n{_LENIENT_LEGEND}\n"


#: NAME of a mark `<!-- table:systems/NAME -->` -> its table.
TABLES: dict[str, Callable[[Path], str]] = {"times": times, "lenient": lenient}
