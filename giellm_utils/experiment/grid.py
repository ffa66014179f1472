"""The queue of the MRE experiment: cells of dataset x condition x seed, worked off one after the other.

Nothing but files keeps it: a cell is done when its file below results/mre stands with the settings that are
asked for. What a kill cut off, a training or its answers, goes on where it was.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from giellm_utils.core import conditions
from giellm_utils.core.artifacts import Decoding, Training
from giellm_utils.core.cells import Cell, MAIN, SLUG
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.paths import ROOT, shown
from giellm_utils.core.schema import Record
from giellm_utils.core.settings import ConfigError, load_yaml, Section
from giellm_utils.data.config import DataConfig
from giellm_utils.data.corpus import of_task, sample
from giellm_utils.data.dataset import Dataset
from giellm_utils.evaluation.trials import MARGIN
from giellm_utils.experiment import precision
from giellm_utils.experiment.cells import make_cell, read_cell, write_cell
from giellm_utils.experiment.environment import git_revision
from giellm_utils.experiment.profile import Profile
from giellm_utils.experiment.system_row import machine
from giellm_utils.experiment.train import fine_tuned
from giellm_utils.experiment.trial_data import NAMES, task_of, trial_dataset
from giellm_utils.formats.config import FormatConfig
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.predictions import read_answers
from giellm_utils.models.load import load_tokenizer
from giellm_utils.models.spec import ModelConfig
from giellm_utils.systems.decoder import read_decoded
from giellm_utils.systems.finetuned import FineTuned
from giellm_utils.training.config import learned_from, TrainingConfig
from giellm_utils.training.sequences import costs_and_budgets

EXPERIMENTS = ROOT / "configs" / "experiments"
Show = Callable[[str], Any]


class QueueError(GiellmError, RuntimeError):
    """A cell that stands already with other settings, or could not be committed."""


class GridStage(Section):
    """A block of the queue: every dataset x condition x seed of it.

    `arm`: of its cells (core.cells), main where the budget is the experiment's. `texts`: trained on at most
    so many, the first by text hash. `training`: keys of the experiment's section that are others here,
    whatever was chosen for a condition; `by_condition`: those that are others for one condition alone.
    `together`: a condition and seed have one training on all the datasets, and a cell on each.
    """

    name: str
    arm: str = Field(MAIN, pattern=SLUG)
    texts: int | None = Field(None, ge=1)
    training: dict[str, Any] = Field(default_factory=dict)
    by_condition: dict[str, dict[str, Any]] = Field(default_factory=dict)
    together: bool = False
    datasets: list[str] = Field(min_length=1)
    conditions: list[str] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    decodings: list[Decoding] = Field(min_length=1)

    @field_validator("datasets")
    @classmethod
    def _known_datasets(cls, names: list[str]) -> list[str]:
        if unknown := [n for n in names if n not in NAMES]:
            raise ValueError(f"no dataset {unknown[0]!r} in the experiment; it has {', '.join(NAMES)}")
        return names

    @field_validator("conditions")
    @classmethod
    def _known_conditions(cls, names: list[str]) -> list[str]:
        for name in names:
            conditions.get_condition(name)
        return names

    @model_validator(mode="after")
    def _is_possible(self) -> GridStage:
        for name in self.by_condition:
            if name not in self.conditions:
                raise ValueError(f"stage {self.name}: by_condition names {name}, which is none of its "
                                 "conditions")
            if conditions.get_condition(name).given != "nothing":
                raise ValueError(f"stage {self.name}: by_condition names {name}, which has one training with "
                                 "another condition: set training for all of the stage")
        tasks = [task_of(name) for name in self.datasets]
        if self.together and len(set(tasks)) < len(tasks):
            raise ValueError(f"stage {self.name} is trained together and names two datasets of one task: "
                             "leave one out")
        if self.together and self.texts:
            raise ValueError(f"stage {self.name} is trained together on all texts of its datasets: leave "
                             "texts out")
        return self

    @property
    def is_of_its_own(self) -> bool:
        """Whether it trains in another way than the experiment says."""
        return bool(self.texts or self.training or self.by_condition or self.together)


class Grid(Section):
    """An experiment: what all its trainings share, and its stages in order.

    `looks`: name -> stages that are compared together (experiment.looks), in order. `margin`: of equivalence,
    in points.
    `split`: whose documents are scored; dev for choices, which a training must not have seen then. `chosen`:
    condition -> keys of `training` that were chosen for it on dev. `limit`: dataset -> documents scored, the
    first by text hash.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    split: Literal["test", "dev"] = "test"
    format: FormatConfig = FormatConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    generation: GenerationConfig = GenerationConfig()
    chosen: dict[str, dict[str, Any]] = Field(default_factory=dict)
    limit: dict[str, int] = Field(default_factory=dict)
    stages: list[GridStage] = Field(min_length=1)
    looks: dict[str, list[str]] = Field(default_factory=dict)
    margin: float = Field(100 * MARGIN, gt=0)

    @model_validator(mode="after")
    def _looks_are_at_stages(self) -> Grid:
        known = [stage.name for stage in self.stages]
        for look, stages in self.looks.items():
            if not stages or (unknown := [s for s in stages if s not in known]):
                raise ValueError(f"look {look} is at {unknown[0] if stages else 'no stage'}; there are "
                                 f"{', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _arms_are_apart(self) -> Grid:
        for stage in self.stages:
            if stage.is_of_its_own and stage.arm == MAIN:
                raise ValueError(f"stage {stage.name} trains in another way than the experiment: give it an "
                                 "arm of its own")
            same_arm = [s for s in self.stages if s.arm == stage.arm]
            if stage.together and any(s.datasets != stage.datasets for s in same_arm):
                raise ValueError(f"stage {stage.name} is trained together, and another stage of arm "
                                 f"{stage.arm} on other datasets: give it an arm of its own")
            for condition in stage.conditions:
                if self.split in self.training_of(condition, stage).splits:
                    raise ValueError(f"stage {stage.name} trains on {self.split} and scores it: leave it "
                                     "out of training.splits")
        return self

    def training_of(self, condition: str, stage: GridStage) -> TrainingConfig:
        """The section `training` with what the stage says and what was chosen for `condition`; raises
        ValueError for a bad key."""
        return TrainingConfig.model_validate({**self.training.model_dump(), "conditions": [condition],
                                              **self.chosen.get(condition, {}), **stage.training,
                                              **stage.by_condition.get(condition, {})})

    def profile(self, address: Address, tasks: list[str]) -> Profile:
        """One cell as a run of its own."""
        return Profile(name=self.name, description=str(address), seed=address.seed,
                       data=DataConfig(tasks=tasks, source="open"), format=self.format, model=self.model,
                       training=self.training_of(address.condition, address.stage),
                       generation=self.generation)


class Address(NamedTuple):
    """One cell to come: the stage it belongs to, and where it lies."""

    stage: GridStage
    dataset: str
    condition: str
    seed: int

    def __str__(self) -> str:
        arm = "" if self.stage.arm == MAIN else f"{self.stage.arm}/"
        return f"{self.dataset}/{self.condition}/{arm}seed-{self.seed}"

    def path(self, cells: Path) -> Path:
        return cells / f"{self}.json.gz"

    @property
    def learned_from(self) -> list[str]:
        """The datasets of its training."""
        return self.stage.datasets if self.stage.together else [self.dataset]


@dataclass(frozen=True)
class Left:
    """What is done and what is left, and the mean seconds of a finished cell of each dataset."""

    done: list[Address]
    left: list[Address]
    seconds: dict[str, float]

    @property
    def seconds_left(self) -> float | None:
        """None before any cell is finished; a dataset without one counts as the mean of the others."""
        if not self.seconds:
            return None
        mean = sum(self.seconds.values()) / len(self.seconds)
        return sum(self.seconds.get(a.dataset, mean) for a in self.left)


def load_grid(name: str) -> Grid:
    """An experiment by its name in configs/experiments or the path of a YAML file. Raises ConfigError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else EXPERIMENTS / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in EXPERIMENTS.glob("*.yaml")))
        raise ConfigError(f"no experiment {name!r}; known experiments: {known} (or give the path of a .yaml "
                          "file)")
    return load_yaml(path, Grid)


def queue(grid: Grid) -> Iterator[Address]:
    """Every cell in order: stage, then seed, so that each seed completes all comparisons before the next."""
    for stage in grid.stages:
        for seed in stage.seeds:
            for dataset in stage.datasets:
                for condition in stage.conditions:
                    yield Address(stage, dataset, condition, seed)


def settings(grid: Grid, address: Address) -> dict[str, Any]:
    """All that a cell depends on besides its data and code, ready for JSON."""
    training = grid.training_of(address.condition, address.stage).model_dump(mode="json")
    own = {"texts": address.stage.texts} if address.stage.texts else {}
    if address.stage.together:
        own["together"] = address.learned_from
    condition = conditions.get_condition(address.condition)
    if condition.given == "predicted":
        # Of the model whose answers it is given.
        first = grid.training_of(condition.given_level, address.stage).model_dump(mode="json")
        own["given"] = learned_from(first)
    return {**own, "format": grid.format.model_dump(mode="json"),
            "model": grid.model.model_dump(mode="json"),
            "training": learned_from(training),
            "batch_size": grid.generation.batch_size, "vocabulary": grid.generation.vocabulary,
            "limit": grid.limit.get(address.dataset), "decodings": list(address.stage.decodings)}


def status(grid: Grid, cells: Path) -> Left:
    """Raises QueueError for a cell that stands with other settings, StorageError for a broken one."""
    done, left, seconds = [], [], {}
    for address in queue(grid):
        path = address.path(cells)
        if not path.exists():
            left.append(address)
            continue
        cell, wanted = read_cell(path), settings(grid, address)
        if changed := [key for key in {**wanted, **cell.settings}
                       if cell.settings.get(key) != wanted.get(key)]:
            raise QueueError(f"{shown(path)} was made with another {changed[0]}: it is kept; move it away to "
                             "train it again, or set the experiment back")
        done.append(address)
        spent = cell.seconds / cell.shared_by + sum(cell.decoding_seconds.values())
        seconds.setdefault(address.dataset, []).append(spent)
    return Left(done, left, {name: sum(s) / len(s) for name, s in seconds.items()})


def progress(grid: Grid, cells: Path) -> list[dict[str, Any]]:
    """What is planned and what is done, one row a stage. Raises as `status` does."""
    done = status(grid, cells).done
    return [{"stage": s.name, "arm": s.arm, "datasets": ", ".join(s.datasets),
             "conditions": ", ".join(s.conditions), "seeds": ", ".join(map(str, s.seeds)),
             "cells": len(s.datasets) * len(s.conditions) * len(s.seeds),
             "done": sum(a.stage == s for a in done)} for s in grid.stages]


def computed(grid: Grid, address: Address, cells: Path) -> ModelConfig:
    """The grid's model in the precision of the cell's seed."""
    dtype = precision.of_seed(cells, address.learned_from, address.stage.arm, address.seed)
    return precision.model_in(grid.model, dtype)


def run(grid: Grid, runs: Path, cells: Path, *, stages: Sequence[str] = (), cells_at_most: int | None = None,
        commit: bool = False, then: Callable[[], Any] = lambda: None, show: Show = print) -> int:
    """Work off the queue, one cell after the other; returns how many were finished.

    `runs`: where trainings and answers lie; `stages`: those alone, where any are named; `commit`: each
    finished cell is committed, alone; `then`: called before the first and after each. Raises what training
    and decoding raise, and QueueError.
    """
    known = [stage.name for stage in grid.stages]
    if unknown := [name for name in stages if name not in known]:
        raise QueueError(f"experiment {grid.name} has no stage {unknown[0]!r}; it has {', '.join(known)}")
    finished, left = 0, [a for a in status(grid, cells).left if not stages or a.stage.name in stages]
    then()
    for address in left:
        if finished == cells_at_most:
            break
        show(f"[{address.stage.name}] {address}")
        cell = make(grid, address, runs / grid.name, computed(grid, address, cells), show)
        path = write_cell(cells, cell)
        finished += 1
        found = status(grid, cells)
        hours = f", about {found.seconds_left / 3600:.1f} h" if found.seconds_left else ""
        show(f"{shown(path)} written; {len(found.done)} cells done, {len(found.left)} left{hours}")
        if commit:
            commit_alone(path, f"MRE cell {address}")
        then()
    return finished


def system_of(grid: Grid, address: Address, runs: Path, datasets: Sequence[Dataset]) -> FineTuned:
    """The system of one cell, trained on `datasets` or not yet, below `runs`."""
    formats = {d.task.name: make_format(grid.format.name, d.task) for d in datasets}
    costs = costs_and_budgets(load_tokenizer(grid.model), formats, [r for d in datasets for r in d.records])
    return fine_tuned(grid.profile(address, list(formats)), run_of(address, runs), address.condition,
                      formats, costs)


def run_of(address: Address, runs: Path) -> Path:
    """The folder below `runs` in which a cell's training has its address."""
    own = runs if address.stage.together else runs / address.dataset
    return own if address.stage.arm == MAIN else own / address.stage.arm


def scored(grid: Grid, address: Address, dataset: Dataset) -> list[Record]:
    """The documents that a cell's answers are scored on."""
    return sample(of_task(dataset.records, dataset.task.name, grid.split), grid.limit.get(address.dataset))


def predictions(system: FineTuned, task: str, way: Decoding) -> Path:
    """Where the answers of a cell's system lie; conditions and datasets that share a training have their
    own."""
    own = "" if system.condition.training == system.name else f".{system.name}"
    own += "" if system.task == task else f".{task}"
    return system.folder.parent / f"seed-{system.seed}{own}.{way}.jsonl"


def make(grid: Grid, address: Address, runs: Path, model: ModelConfig, show: Show = print) -> Cell:
    """Train one cell, let it answer the test documents, and count what is right. `model`: the grid's as it is
    computed here."""
    wanted, grid = settings(grid, address), grid.model_copy(update={"model": model})
    datasets = {name: trial_dataset(name) for name in address.learned_from}
    dataset, everything = datasets[address.dataset], [r for d in datasets.values() for r in d.records]
    task, system = dataset.task, system_of(grid, address, runs, list(datasets.values()))
    splits = system.training.splits
    learned = sample((r for r in everything if r.split in splits), address.stage.texts)
    given = [*learned, *(r for r in everything if r.split not in splits)]
    if system.condition.given == "predicted":
        # Its cell may be done and its training gone with an earlier machine.
        single = address._replace(condition=system.condition.given_level)
        _fit(system_of(grid, single, runs, list(datasets.values())), single, given, show)
    summary = _fit(system, address, given, show)
    records = scored(grid, address, dataset)
    answers, spent = {}, {}
    for way in address.stage.decodings:
        path = predictions(system, task.name, way)
        start = time.monotonic()
        system.decoder.write(records, task.name, way, path, show)
        decoded = read_decoded(path)
        speed = decoded.items_per_second if decoded else None
        spent[way] = round(len(records) / speed if speed else time.monotonic() - start, 1)
        answers[way] = read_answers(path)
        show(f"{address}: {len(records)} texts, {way}, {spent[way]:.0f} s")
    system.decoder.release()
    now = machine()
    return make_cell(
        task, records, system.level, answers, task=address.dataset, condition=address.condition,
        arm=address.stage.arm, seed=address.seed, split=grid.split, texts=len(learned),
        settings=wanted, steps=summary.steps, best_step=summary.best_step,
        seconds=summary.seconds, shared_by=len(datasets), decoding_seconds=spent,
        dtype=summary.dtype, widened=summary.widened,
        machine=f"{now.processors} x {now.processor}", git=git_revision())


def _fit(system: FineTuned, address: Address, records: Sequence[Record], show: Show) -> Training:
    """Train, or keep what is trained; raises QueueError for a training that the clock stopped."""
    system.fit(records, show)
    if system.summary.stopped_by_minutes:
        raise QueueError(f"{address} was stopped by training.minutes after {system.summary.steps} of "
                         f"{system.summary.planned_steps} steps: raise it in the experiment and run again")
    return system.summary


def commit_alone(path: Path, message: str) -> None:
    """Raises QueueError where git refuses."""
    for command in (["add", "--", str(path)], ["commit", "-q", "-m", message, "--", str(path)]):
        done = subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True)
        if done.returncode:
            raise QueueError(f"{shown(path)} stands but could not be committed: {done.stderr.strip()}; "
                             "commit it by hand and go on")
