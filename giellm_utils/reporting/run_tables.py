"""The result tables of one run as Markdown, for README.md and docs/results.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from giellm_utils.core.artifacts import Effect, EVALUATE, SystemScores, Training
from giellm_utils.evaluation.score import COMPARED
from giellm_utils.reporting.results import ReportError, RunResults
from giellm_utils.reporting.tables import MISSING, rows_to_markdown, score_cell
from giellm_utils.reporting.titles import FEW_METRICS, metric_title
from giellm_utils.systems import registry

METRICS = (*FEW_METRICS, "format_accuracy")
#: The floor that the compact table sets beside the model.
FLOOR = "majority"
FORCED = ", first token forced (SLG's Constraint Mechanism)"


def results_table(results: RunResults) -> str:
    """Datasets and systems by METRICS, with the source and what each training took."""
    scores = _present(results, "scores.json")
    rows = [(task, registry.title(name), *(score_cell(systems[name].all.get(m)) for m in METRICS),
             systems[name].n)
            for task, systems in scores.tasks.items() for name in registry.ordered(systems)]
    trainings = _present(results, "trainings.json")
    times = ", ".join(f"{training_name(t, trainings)} {t.sequences:,} sequences, {t.steps} steps, "
                      f"{t.seconds / 60:.1f} minutes" for t in trainings)
    first = trainings[0]
    return (rows_to_markdown(("dataset", "system", *map(metric_title, METRICS), "n"), rows)
            + f"\nPer cent with 95 % bootstrap intervals over documents. {results.source()}. "
              f"Training on {first.device.upper()}, {first.dtype}: {times}.\n")


def summary_table(results: RunResults) -> str:
    """One line a dataset: the first trained condition, and the majority floor behind it."""
    scores, first = _present(results, "scores.json"), _present(results, "trainings.json")[0].condition
    rows = [(task, *(_beside(systems[first], systems.get(FLOOR), m) for m in FEW_METRICS), systems[first].n)
            for task, systems in scores.tasks.items()]
    return (rows_to_markdown(("dataset", *map(metric_title, FEW_METRICS), "n"), rows)
            + f"\nPer cent: {registry.title(first)} with its 95 % bootstrap interval over documents, in "
              f"round brackets the {registry.title(FLOOR)} without words. {results.source()}.\n")


def _beside(system: SystemScores, floor: SystemScores | None, metric: str) -> str:
    score = floor and floor.all.get(metric)
    said = MISSING if not score or score.value is None else f"{100 * score.value:.1f}"
    return f"{score_cell(system.all.get(metric))} ({said})"


def effects_table(results: RunResults) -> str:
    """Joint minus single level, percentage points, with the verdict."""
    rows = [(e.task, metric_title(e.metric), registry.title(e.single_level), f"{100 * e.joint:.1f}",
             f"{100 * e.single:.1f}", _signed(e), e.verdict)
            for e in _present(results, "mre.json").effects
            if e.metric in METRICS and e.difference is not None]
    head = ("dataset", "metric", "against", "joint", "single", "difference", "verdict")
    return rows_to_markdown(head, rows)


def _signed(e: Effect) -> str:
    return f"{100 * e.difference:+.1f} [{100 * e.low:+.1f}, {100 * e.high:+.1f}]"


def decodings_table(results: RunResults) -> str:
    """Free against constrained decoding of the first trained condition."""
    decodings, trainings = _present(results, "decodings.json"), _present(results, "trainings.json")
    forced = results.manifest(EVALUATE).get("parameters", {}).get("generation.first_token") == "forced"
    free = "free" + (FORCED if forced else "")
    rows, called = [], {"free": free, "constrained": "constrained"}
    for task, conditions in decodings.tasks.items():
        for name in ("free", "constrained"):
            if found := getattr(conditions.get(trainings[0].condition), name, None):
                speed = found.items_per_second
                rows.append((task, called[name], *(score_cell(found.scores.get(m)) for m in COMPARED),
                             max(s.n for s in found.scores.values() if s),
                             None if speed is None else f"{speed:.1f}"))
    return (rows_to_markdown(("dataset", "decoding", *map(metric_title, COMPARED), "n", "items/s"), rows)
            + f"\nPer cent with 95 % bootstrap intervals over documents. {results.source()}. "
              f"Items a second on {trainings[0].device.upper()}, {trainings[0].dtype}.\n")


def training_name(training: Training, among: list[Training]) -> str:
    """A training by its condition, and by its task and seed where `among` holds that condition twice."""
    alone = [t.condition for t in among].count(training.condition) == 1
    return training.condition if alone else f"{training.condition} · {training.task} · seed {training.seed}"


def _present(results: RunResults, name: str):
    found = getattr(results, Path(name).stem)
    if not found:
        raise ReportError(f"{results.folder.name} has no {name}: its run has not come that far")
    return found


#: Kind of a mark in a document -> the table of one run it stands for.
KINDS: dict[str, Callable[[RunResults], str]] = {
    "results": results_table, "summary": summary_table, "effects": effects_table,
    "decodings": decodings_table}
