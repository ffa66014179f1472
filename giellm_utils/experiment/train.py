"""Stage 03: every condition of the profile trained, from the same base model, records and seed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from giellm_utils.core import artifacts, conditions
from giellm_utils.core.artifacts import HistoryRow, TokensFile, Training, TrainingsFile
from giellm_utils.core.files import read_jsonl
from giellm_utils.core.paths import shown
from giellm_utils.core.schema import Record
from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.inherit import donors, take_folder
from giellm_utils.experiment.plan import check_memory
from giellm_utils.experiment.profile import Profile
from giellm_utils.experiment.stages import Stage
from giellm_utils.formats.base import Format
from giellm_utils.systems.finetuned import FineTuned, FINGERPRINT, is_finished
from giellm_utils.systems.fingerprints import read_fingerprint


@dataclass(frozen=True)
class Trained:
    """The trainings of a run in the profile's order, their logged steps, and the systems they made."""

    trainings: list[Training]
    history: list[HistoryRow]
    systems: list[FineTuned]


def fine_tuned(profile: Profile, run: Path, condition: str, formats: dict[str, Format],
               costs: TokensFile) -> FineTuned:
    """The system of one condition of a run, trained or not."""
    task = next(iter(formats)) if len(formats) == 1 else conditions.MIXTURE
    return FineTuned(
        conditions.get_condition(condition), conditions.folder(run, condition, task, profile.seed), formats,
        task=task, seed=profile.seed, model=profile.model, training=profile.training,
        generation=profile.generation,
        budgets={name: {level: c.budget for level, c in levels.items()} for name, levels in costs.items()})


def plan(stage: Stage) -> list[FineTuned]:
    """The systems of the profile's conditions, in order; nothing is trained yet.

    Raises ConfigError for a condition that is given the answers of one that the profile does not train.
    """
    costs, names = stage.read("tokens.json"), stage.profile.training.conditions
    for name in names:
        condition = conditions.get_condition(name)
        if condition.given == "predicted" and condition.given_level not in names:
            # What lies at its address may be of other settings.
            raise ConfigError(f"condition {name} is given what condition {condition.given_level} predicts, "
                              f"which this profile does not train: add {condition.given_level} to "
                              "training.conditions")
    return [fine_tuned(stage.profile, stage.run, name, stage.formats, costs) for name in names]


def settings(stage: Stage) -> list[dict[str, Any]]:
    """How it trains, one row a setting."""
    return [{"setting": key, "value": value} for key, value in stage.profile.value("training").items()]


def planned(stage: Stage) -> list[dict[str, Any]]:
    """What each condition learns from, a row a condition: its sequences, those of dev, and a target as it is
    written; "" where no dataset of the run may be shown."""
    records, provenance = stage.records(), stage.read("provenance.json")
    found = []
    for system in plan(stage):
        rows, dev = system.rows(records)
        target = next((row["target"] for row in rows if provenance[row["task"]].redistributable), "")
        found.append({"condition": system.condition.title, "sequences": len(rows), "dev": len(dev),
                      "a target": target})
    return found


def run(stage: Stage, show: Callable[[str], Any] = print) -> Trained:
    """Train what is not trained yet and write history.jsonl and trainings.json.

    A training that is finished with these settings is kept, one of another run taken over, one that was
    cut off goes on. Raises TrainingFailed, ConfigError, ModelError, and PlanError where the memory here
    cannot hold one.
    """
    from giellm_utils.models.load import model_path

    records, systems = stage.records(), plan(stage)
    model_path(stage.profile.model)  # converted here, once, and not by every process of a training
    for system in systems:
        _take_over(stage, system, records, show)
    if not all(system.is_trained(records) for system in systems):
        check_memory(stage.profile, stage.read("tokens.json"), records)
    for system in systems:
        system.fit(records, show)
    found = Trained([s.summary for s in systems], [row for s in systems for row in _history(s)], systems)
    stage.write("history.jsonl", found.history)
    stage.write("trainings.json", TrainingsFile(found.trainings))
    for system in systems:
        stage.wrote(*system.files())
    caps = [cap for s in systems if (cap := s.stopped_at_minutes) is not None]
    stage.facts |= {"model": stage.statement, "dtype": found.trainings[0].dtype,
                    "device": found.trainings[0].device, "batch_size": found.trainings[0].batch_size,
                    "stopped_at_minutes": min(caps, default=None)}
    return found


def _take_over(stage: Stage, system: FineTuned, records: Sequence[Record],
               show: Callable[[str], Any]) -> None:
    """Put another run's training of these very settings where `system.fit` finds it."""
    wanted = system.fingerprint(records)
    if is_finished(system.folder, wanted):
        return
    begun = any(read_fingerprint(folder / FINGERPRINT) == wanted for folder in (system.folder, system.coming))
    for donor in donors(stage.run, stage.profile):
        there = donor / system.folder.relative_to(stage.run)
        if is_finished(there, wanted):
            summary = artifacts.read(there / "summary.json", Training)
            if begun and summary.stopped_by_minutes:
                continue  # what was begun here may have gone further than one that the clock stopped
            shutil.rmtree(system.coming, ignore_errors=True)
            take_folder(there, system.coming)
            show(f"{system.name}: taken over from {shown(donor)}")
            return


def _history(system: FineTuned) -> list[HistoryRow]:
    summary = system.summary
    address = {"condition": summary.condition, "task": summary.task, "seed": summary.seed}
    return [HistoryRow(**address, **row) for row in read_jsonl(system.folder / "metrics.jsonl")]
