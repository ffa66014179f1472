"""One system on one dataset: fitted, asked, scored and written as a row of results/systems/.

Every system gets the same documents, the same scorer and the same record, whatever it is made of.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils.core import artifacts
from giellm_utils.core.answer import Answer
from giellm_utils.core.artifacts import Provenance
from giellm_utils.core.files import StorageError, write_text
from giellm_utils.core.paths import shown
from giellm_utils.core.schema import Level, Record, Split, Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.core.system_result import ApiCost, DOCUMENT_COLUMNS, Machine, result_path, SystemResult
from giellm_utils.data.corpus import load_corpus, of_task, sample
from giellm_utils.data.registry import get_task, TASKS
from giellm_utils.evaluation import per_label, score
from giellm_utils.experiment.environment import git_revision
from giellm_utils.experiment.profile import Profile
from giellm_utils.systems.base import System

Show = Callable[[str], Any]


@dataclass(frozen=True)
class Asked:
    """What a system is fitted on and asked: `train` and `test` are records of one task and `source`."""

    task: Task
    source: str
    provenance: Provenance
    train: list[Record]
    test: list[Record]
    split: Split
    seed: int
    resamples: int


@dataclass(frozen=True)
class Answered:
    """What a system said of Asked.test, in order, and how it came to it (see SystemResult)."""

    system: str
    entry: str
    title: str
    level: Level
    answers: Sequence[Answer]
    settings: Mapping[str, Any]
    fit_seconds: float
    predict_seconds: float | None
    lenient: Sequence[Answer] | None = None
    unanswered: int = 0
    cost: ApiCost | None = None


def select(profile: Profile, task: str, limit: int | None = None, split: Split | None = None) -> Asked:
    """The documents of one dataset of a profile, as its stages 03 and 04 would take them.

    `limit` (the first by text hash) and `split` take the place of the profile's evaluation.limit and
    evaluation.split. Raises ConfigError for a dataset that the profile does not have and for one without
    documents in the split; ConfigError and SourceError as load_dataset does.
    """
    names = {get_task(name).name: name for name in profile.data.tasks}
    if task not in names:
        raise ConfigError(f"profile {profile.name} has no dataset of task {task!r}; "
                          f"it has {', '.join(names)}")
    dataset, = load_corpus(profile.data.model_copy(update={"tasks": [names[task]]}))
    split = split or profile.evaluation.split
    test = sample(of_task(dataset.records, task, split), limit or profile.evaluation.limit)
    if not test:
        raise ConfigError(f"{task} has no documents in split {split}; choose another with --split")
    return Asked(dataset.task, _source(names[task], dataset.provenance), dataset.provenance,
                 of_task(dataset.records, task, *(s for s in profile.training.splits if s != split)), test,
                 split, profile.seed, profile.evaluation.resamples)


def _source(name: str, provenance: Provenance) -> str:
    if name not in TASKS:
        return Path(name).stem
    return "embedded" if provenance.source == "embedded mini corpus" else "open"


def ask(system: System, asked: Asked, title: str) -> Answered:
    """Fit a registered system on the train records and let it answer the test records, timed apart."""
    start = time.monotonic()
    system.fit(asked.train)
    fitted = time.monotonic()
    answers = system.predict(asked.test)
    took = fitted - start if system.fit_seconds is None else system.fit_seconds
    return Answered(system.name, system.name, title, system.level, answers, system.settings, took,
                    time.monotonic() - fitted)


def write_row(asked: Asked, answered: Answered, results: Path, *, command: str, machine: Machine,
              force: bool = False) -> tuple[Path, SystemResult]:
    """Score the answers and write the record and its CSV of documents; returns its path and the record.

    Raises StorageError where another result stands there (other settings, documents or answers) and
    `force` is not set.
    """
    path = result_path(results, answered.system, asked.source, asked.task.name)
    how = {"resamples": asked.resamples, "seed": asked.seed}

    def scores(answers: Sequence[Answer], tables: bool) -> artifacts.SystemScores:
        return per_label.evaluate(asked.task, asked.test, answered.level, answers, tables=tables, **how)

    result = SystemResult(
        system=answered.system, entry=answered.entry, title=answered.title, task=asked.task.name,
        source=asked.source, provenance=asked.provenance, split=asked.split, level=answered.level,
        n_train=len(asked.train), n_test=len(asked.test), unanswered=answered.unanswered,
        scores=scores(answered.answers, True),
        lenient=None if answered.lenient is None else scores(answered.lenient, False),
        documents=path.with_suffix(".csv").name, fit_seconds=round(answered.fit_seconds, 2),
        predict_seconds=None if answered.predict_seconds is None else round(answered.predict_seconds, 2),
        cost=answered.cost, machine=machine, command=command, git=git_revision(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=json.loads(json.dumps(dict(answered.settings))), **how)
    _may_replace(path, result, force)
    frame = score.score_documents(asked.task, asked.test, answered.level, answered.answers)
    write_text(path.with_suffix(".csv"), documents(frame).to_csv(index=False))
    return artifacts.write(path, result), result


def documents(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of scores cut to DOCUMENT_COLUMNS, whole numbers without a point."""
    kept = frame[list(DOCUMENT_COLUMNS)].copy()
    for column in kept.columns.drop(["id", "wl_words"]):
        kept[column] = kept[column].astype(float).astype("Int64")
    return kept


def _may_replace(path: Path, result: SystemResult, force: bool) -> None:
    """A result may take the place of one of the same documents and settings."""
    if force or not path.exists():
        return
    before = artifacts.read(path, SystemResult)
    for key in ("split", "level", "n_train", "n_test", "unanswered", "seed", "settings"):
        old, new = getattr(before, key), getattr(result, key)
        if old != new:
            raise StorageError(f"{shown(path)} holds another result ({key} was {old}, is {new}); "
                               "give --force to replace it, or another folder with --out")


def machine() -> Machine:
    """This machine, as it is now; accelerators only where torch is loaded."""
    torch = sys.modules.get("torch")
    cards = []
    if torch and torch.cuda.is_available():
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return Machine(system=platform.system(), processor=_processor(), processors=os.cpu_count() or 1,
                   accelerators=cards, load=load)


def _processor() -> str:
    """The processor's name; /proc/cpuinfo knows it where platform does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
                platform.machine())
