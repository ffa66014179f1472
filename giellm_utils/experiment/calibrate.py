"""Calibration of a trained model: its confidences on documents that it was not trained on.

They are those of `giellm extract`: constrained decoding, texts cut and put together in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TYPE_CHECKING

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import FILES, INSPECT, ProvenanceFile, TRAIN, Training, TrainingsFile
from giellm_utils.core.calibration_report import CalibrationReport, TaskCalibration, Temperatures
from giellm_utils.core.conditions import folder, get_condition
from giellm_utils.core.files import read_jsonl, StorageError
from giellm_utils.core.paths import runs_dir, shown
from giellm_utils.core.schema import Level, Record, Span, Split, Word
from giellm_utils.core.settings import load_yaml
from giellm_utils.core.sources import models, source_line
from giellm_utils.data.corpus import of_task, sample
from giellm_utils.evaluation.calibration import reliability, Said
from giellm_utils.experiment.manifest import read_manifest, StageError
from giellm_utils.experiment.trial_data import NAMES, task_of, trial_dataset
from giellm_utils.models.bundle import CARD, read_card
from giellm_utils.models.spec import statement
from giellm_utils.systems.fingerprints import weights_of
from giellm_utils.training.config import TrainingJob

if TYPE_CHECKING:
    from giellm_utils.inference.extractor import Extractor
    from giellm_utils.inference.results import Extracted, TaskExtraction

Show = Callable[[str], Any]


class Subject(NamedTuple):
    """What is calibrated: the folder of a training or of released weights, and its data."""

    folder: Path
    #: A name of core.conditions.
    condition: str
    #: What the line of sources says of it.
    model: Sequence[str]
    records: list[Record]
    provenance: ProvenanceFile
    #: What it was trained on; None where its folder does not say it.
    splits: Sequence[str] | None = None


def calibrate(subject: Subject, name: str, *, split: Split = "dev", tasks: Sequence[str] = (),
              limit: int | None = None, batch_size: int = 16, resamples: int, seed: int,
              temperatures: Mapping[str, Temperatures] | None = None,
              show: Show = print) -> CalibrationReport:
    """The report on one training, under `name`.

    `tasks`: all of the model's where there are none; `limit`: documents of each, the first by text hash;
    `temperatures`: at which its confidences are taken, by task (`temperatures_of`), whatever its card says.
    On dev a temperature is fitted too. Raises StageError for a training on `split`, or on what is not known
    and a split that may be it, one that answers text and words apart, a split without documents and a model
    without probabilities; BundleError, FormatError as
    opening the model does; ExtractionError for a placebo, whose labels are made up.
    """
    from giellm_utils.inference.extractor import Extractor

    if subject.splits is None and split != "test":
        raise StageError(f"{shown(subject.folder)} does not say whether it was trained on {split}; measure "
                         "it with --split test, which no training may use, or calibrate the training itself")
    if temperatures and split == "dev":
        raise StageError("temperatures were fitted on dev, which says nothing of how well they do; measure "
                         "them on another split, with --split test")
    if split in (subject.splits or ()):
        raise StageError(f"{shown(subject.folder)} was trained on {split} too, where its confidences say "
                         "nothing of other texts; calibrate one made with training.splits=[train]")
    condition = get_condition(subject.condition)
    if len(condition.levels) > 1:
        raise StageError(f"{shown(subject.folder)} was trained as {condition.name}, which answers text and "
                         "words apart; calibrate a training of one answer, such as joint, text or words")
    extractor = Extractor.from_pretrained(subject.folder, tasks=list(tasks) or None, batch_size=batch_size)
    extractor.card = extractor.card.with_temperatures({})
    level = condition.scored
    found = {}
    for task in extractor.formats:
        mine = sample(of_task(subject.records, task, split), limit)
        if not mine:
            raise StageError(f"{shown(subject.folder)} has no documents of {task} in split {split}; name "
                             "others with --task, or take a training whose data hold some")
        show(f"{task}: {len(mine)} documents of {split}, {level}")
        found[task] = _task(extractor, task, level, mine, fit=split == "dev",
                            temperatures=(temperatures or {}).get(task, {}), resamples=resamples, seed=seed)
    used = ProvenanceFile({task: subject.provenance[task] for task in found})
    return CalibrationReport(run=name, condition=subject.condition, split=split, seed=seed,
                             resamples=resamples, source=" · ".join([source_line(used), *subject.model]),
                             weights=weights_of(subject.folder), tasks=found,
                             temperatures={k: v for k, v in (temperatures or {}).items() if k in found})


def temperatures_of(path: Path, training: Path) -> dict[str, Temperatures]:
    """What the report in `path`, made on dev of the training in this folder, says that its confidences are to
    be taken at: of each task the temperatures that lowered the loss of the half that they were not fitted on.

    Raises StageError for a report on other weights or another split, and for one without such temperatures.
    """
    if not path.is_file():
        raise StageError(f"{path}: no such file; give a report of giellm calibrate on dev")
    report = artifacts.read(path, CalibrationReport)
    if report.split != "dev":
        raise StageError(f"{shown(path)} is a report on {report.split}, where no temperature is fitted; give "
                         "the one on dev")
    if report.weights != weights_of(training):
        raise StageError(f"{shown(path)} is not the report on the weights in {shown(training)}; run giellm "
                         "calibrate on these")
    if not (found := {task: both.helpful for task, both in report.tasks.items() if both.helpful}):
        raise StageError(f"{shown(path)} holds no temperature that lowered the loss of the documents that it "
                         "was not fitted on; go without")
    return found


def of_run(run: Path, condition: str = "joint") -> Subject:
    """What `condition` left in a folder below runs/; raises StageError for a run without that training."""
    manifest = read_manifest(run / TRAIN)
    if manifest is None:
        raise StageError(f"{shown(run)} is no training and has no finished {TRAIN}: run its profile to "
                         "stage 03 first")
    rows = artifacts.read(run / FILES["trainings.json"][0] / "trainings.json", TrainingsFile).root
    chosen = next((row for row in rows if row.condition == condition), None)
    if chosen is None:
        raise StageError(f"{shown(run)} has no training of condition {condition}; it has "
                         f"{', '.join(row.condition for row in rows)}")
    training = folder(run, condition, chosen.task, chosen.seed)
    return Subject(training, chosen.condition, models([chosen]),
                   [Record.from_json(row) for row in read_jsonl(run / INSPECT / "records.jsonl")],
                   artifacts.read(run / INSPECT / "provenance.json", ProvenanceFile), _splits(training))


def of_training(training: Path, data: str | None = None) -> Subject:
    """One training of an experiment, by its folder; `data`: its dataset, named as in trial_data, where the
    folder's path does not say it. Raises ConfigError, SourceError as trial_dataset does."""
    summary = artifacts.read(training / "summary.json", Training)
    dataset = trial_dataset(data or _dataset(training, summary.task))
    return Subject(training, summary.condition, models([summary]), list(dataset.records),
                   ProvenanceFile({dataset.task.name: dataset.provenance}), _splits(training))


def of_released(folder: Path) -> tuple[Subject, dict[str, Temperatures]]:
    """The weights that giellm push wrote in `folder`, on the open datasets of their tasks (whatever they
    learned from), and the temperatures of their card.

    Raises StageError for a folder without a card or of a training, and for a card without a condition;
    ConfigError, SourceError as trial_dataset does.
    """
    if (folder.parent / "summary.json").exists():
        raise StageError(f"{shown(folder)} is the inside of a training: give {shown(folder.parent)}")
    card = read_card(folder)
    if card is None or card.condition is None:
        raise StageError(f"{shown(folder)} is no released training: it has no {CARD} that says how it was "
                         "trained; give one that giellm push wrote")
    datasets = [trial_dataset(task) for task in card.tasks]
    return Subject(folder, card.condition, [f"{statement(card.base)}, the weights {folder.name}"],
                   [record for dataset in datasets for record in dataset.records],
                   ProvenanceFile({dataset.task.name: dataset.provenance for dataset in datasets})), {
        name: task.temperatures for name, task in card.tasks.items() if task.temperatures}


def _splits(training: Path) -> Sequence[str]:
    """What it was trained on, as the training itself was told: a manifest can be older."""
    return load_yaml(training / "training.yaml", TrainingJob).training.splits


def _dataset(training: Path, task: str) -> str:
    """The dataset in the path of a training (DATASET/[ARM/]CONDITION/TASK/seed-N), else its task."""
    return next((p.name for p in list(training.parents)[2:4] if p.name in NAMES and task_of(p.name) == task),
                task)


def run_name(there: Path, *, alone: bool) -> str:
    """What a run's folder, or `alone` a training's, is called: its path below runs/, elsewhere its last
    parts, for the path of a machine belongs in no report."""
    there = Path(os.path.normpath(there))
    if there.is_relative_to(runs_dir()):
        return "-".join(there.relative_to(runs_dir()).parts)
    return "-".join(there.parts[-4 if alone else -1:])


def write_report(path: Path, report: CalibrationReport) -> Path:
    """Write it to `path`; raises StorageError where a report of other settings or documents stands there."""
    def settings(of: CalibrationReport) -> dict[str, Any]:
        return {**of.model_dump(exclude={"tasks"}),
                "documents": {task: found.documents for task, found in of.tasks.items()}}

    before = settings(artifacts.read(path, CalibrationReport) if path.exists() else report)
    for key, new in settings(report).items():
        if before[key] != new:
            raise StorageError(f"{shown(path)} holds another report ({key} was {before[key]}, is {new}); "
                               "give another folder with --out, or delete it first")
    return artifacts.write(path, report)


def _task(extractor: Extractor, task: str, level: Level, records: Sequence[Record], *, fit: bool,
          temperatures: Temperatures, resamples: int, seed: int) -> TaskCalibration:
    texts = [record.text for record in records]
    labels, words = [], []
    for at, extraction in enumerate(extractor.extract(texts, task, level)):
        found: TaskExtraction = extraction[task]
        gold = set(records[at].words)
        if found.label is not None and found.confidence is None:
            raise StageError(f"the model of task {task} is decoded without probabilities (an encoder and "
                             "decoder is), so there is nothing to calibrate; take a decoder model")
        if found.label is not None:
            labels.append(Said(at, found.confidence, found.label == records[at].label))
        words += [Said(at, word.confidence, _word(word) in gold) for word in found.words]
    how = {"resamples": resamples, "seed": seed, "fit": fit}
    return TaskCalibration(
        documents=len(texts), label=reliability(labels, texts, at=temperatures.get("label"), **how),
        words=reliability(words, texts, at=temperatures.get("words"), **how))


def _word(found: Extracted) -> Word:
    ends = (found.head, found.tail) if hasattr(found, "head") else (found,)
    return Word(found.kind, found.label, *(Span(end.start, end.end) for end in ends))
