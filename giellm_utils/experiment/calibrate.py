"""Calibration of one run's trained model: its confidences on documents it was not trained on.

They are those of `giellm extract`: constrained decoding, texts cut and put together in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TYPE_CHECKING

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import FILES, INSPECT, ProvenanceFile, TRAIN, Training, TrainingsFile
from giellm_utils.core.calibration_report import CalibrationReport, TaskCalibration
from giellm_utils.core.conditions import folder
from giellm_utils.core.files import read_jsonl
from giellm_utils.core.paths import shown
from giellm_utils.core.schema import Level, Record, Span, Split, Word
from giellm_utils.core.sources import source_line
from giellm_utils.data.corpus import of_task, sample
from giellm_utils.evaluation.calibration import reliability, Said
from giellm_utils.experiment.manifest import read_manifest, StageError

if TYPE_CHECKING:
    from giellm_utils.inference.extractor import Extractor
    from giellm_utils.inference.results import Extracted, TaskExtraction

Show = Callable[[str], Any]


def calibrate(run: Path, *, condition: str = "joint", split: Split = "dev", tasks: Sequence[str] = (),
              limit: int | None = None, batch_size: int = 16, resamples: int, seed: int,
              show: Show = print) -> CalibrationReport:
    """The report on the model that `condition` left in a folder below runs/.

    `tasks`: all of the model's where there are none; `limit`: documents of each, the first by text hash.
    On dev a temperature is fitted too. Raises StageError for a run without that training, one that was
    trained on `split`, and a split without documents; BundleError, FormatError as opening the model does.
    """
    from giellm_utils.inference.extractor import Extractor

    training = _training(run, condition, split)
    extractor = Extractor.from_pretrained(folder(run, condition, training.task, training.seed),
                                          tasks=list(tasks) or None, batch_size=batch_size)
    records = [Record.from_json(row) for row in read_jsonl(run / INSPECT / "records.jsonl")]
    provenance = artifacts.read(run / INSPECT / "provenance.json", ProvenanceFile)
    level = "joint" if "joint" in extractor.card.levels else extractor.card.levels[0]
    found = {}
    for task in extractor.formats:
        mine = sample(of_task(records, task, split), limit)
        if not mine:
            raise StageError(f"{shown(run)} has no documents of {task} in split {split}; name others with "
                             "--task, or make a run whose data hold some")
        show(f"{task}: {len(mine)} documents of {split}, {level}")
        found[task] = _task(extractor, task, level, mine, fit=split == "dev", resamples=resamples, seed=seed)
    used = ProvenanceFile({task: provenance[task] for task in found})
    return CalibrationReport(run=run.name, condition=condition, split=split, seed=seed, resamples=resamples,
                             source=source_line(used, [training]), tasks=found)


def _training(run: Path, condition: str, split: Split) -> Training:
    """The training of one condition, not one that has seen `split`."""
    manifest = read_manifest(run / TRAIN)
    if manifest is None:
        raise StageError(f"{shown(run)} has no finished {TRAIN}: run its profile to stage 03 first")
    rows = artifacts.read(run / FILES["trainings.json"][0] / "trainings.json", TrainingsFile).root
    chosen = [row for row in rows if row.condition == condition]
    if not chosen:
        raise StageError(f"{shown(run)} has no training of condition {condition}; it has "
                         f"{', '.join(row.condition for row in rows)}")
    if split in manifest.parameters.get("training.splits", ()):
        raise StageError(f"{shown(run)} was trained on {split} too, where its confidences say nothing of "
                         'other texts; calibrate a run made with --set "training.splits=[train]"')
    return chosen[0]


def _task(extractor: Extractor, task: str, level: Level, records: Sequence[Record], *, fit: bool,
          resamples: int, seed: int) -> TaskCalibration:
    texts = [record.text for record in records]
    labels, words = [], []
    for at, extraction in enumerate(extractor.extract(texts, task, level)):
        found: TaskExtraction = extraction[task]
        gold = set(records[at].words)
        if found.label is not None:
            labels.append(Said(at, found.confidence, found.label == records[at].label))
        words += [Said(at, word.confidence, _word(word) in gold) for word in found.words]
    how = {"resamples": resamples, "seed": seed, "fit": fit}
    return TaskCalibration(documents=len(texts), label=reliability(labels, texts, **how),
                           words=reliability(words, texts, **how))


def _word(found: Extracted) -> Word:
    ends = (found.head, found.tail) if hasattr(found, "head") else (found,)
    return Word(found.kind, found.label, *(Span(end.start, end.end) for end in ends))
