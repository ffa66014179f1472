"""Stage 04: every system of the run answers the documents of one split, and its Answers are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils.core.answer import Answer
from giellm_utils.core.artifacts import (
    Decoding,
    Decodings,
    DecodingScores,
    DecodingsFile,
    Example,
    Provenance,
    ScoresFile,
    SystemScores,
    TRAIN,
    Training,
)
from giellm_utils.core.paths import shown
from giellm_utils.core.schema import Record
from giellm_utils.core.sources import cut_short
from giellm_utils.data.corpus import of_task, sample
from giellm_utils.evaluation import per_label, score
from giellm_utils.evaluation.paired import paired_difference
from giellm_utils.experiment.example import find_example
from giellm_utils.experiment.inherit import donors, take_file
from giellm_utils.experiment.manifest import read_manifest
from giellm_utils.experiment.profile import Profile
from giellm_utils.experiment.stages import Stage
from giellm_utils.experiment.train import plan
from giellm_utils.inference.predictions import read_answers, read_rows
from giellm_utils.systems.decoder import read_decoded, sidecar
from giellm_utils.systems.finetuned import FineTuned
from giellm_utils.systems.registry import entries

Show = Callable[[str], Any]
#: Metrics in which two ways of decoding are compared in the notebook's table.
SHOWN = ("tl", "wl_exact", "all", "f1")


def decodings(profile: Profile) -> tuple[Decoding, ...]:
    """How the profile decodes; the tables and the comparison of levels show the first."""
    return {"none": ("free",), "only": ("constrained",), "both": ("free", "constrained")}[
        profile.generation.constrained]


def scored_records(profile: Profile, records: Sequence[Record], task: str) -> list[Record]:
    """The records of the split that is scored, cut to evaluation.limit."""
    return sample(of_task(records, task, profile.evaluation.split), profile.evaluation.limit)


@dataclass(frozen=True)
class Evaluated:
    """Scores of every system, the frames of the trained ones by (condition, task), and what a notebook
    shows of them. `first`: the way of decoding in the tables; `model`: how to name what was evaluated."""

    scores: ScoresFile
    decodings: DecodingsFile
    frames: dict[tuple[str, str], pd.DataFrame]
    example: Example | None
    provenance: Mapping[str, Provenance]
    systems: dict[str, FineTuned]
    folder: Path
    first: Decoding
    model: str

    def system(self, condition: str) -> FineTuned:
        """A trained system, its model loaded when it is first asked."""
        return self.systems[condition]

    def rows(self, condition: str, task: str, decoding: Decoding | None = None) -> list[dict[str, Any]]:
        """The rows of one predictions file; none of a dataset whose texts may not be shown."""
        if not self.provenance[task].redistributable:
            return []
        return read_rows(predictions_file(self.folder, condition, task, decoding or self.first))

    def differences(self, condition: str) -> list[dict[str, Any]]:
        """One row a task and metric of SHOWN: constrained minus free in percentage points, its verdict."""
        return [{"dataset": task, "metric": metric, "difference": 100 * d.value, "low": 100 * d.low,
                 "high": 100 * d.high, "verdict": d.verdict}
                for task, found in self.decodings.tasks.items()
                for metric, d in (found[condition].difference or {}).items()
                if metric in SHOWN and d.value is not None]


def predictions_file(folder: Path, condition: str, task: str, decoding: Decoding) -> Path:
    """Where the predictions of one condition, task and way of decoding stand in stage 04's folder."""
    way = ".constrained" if decoding == "constrained" else ""
    return folder / "predictions" / f"{condition}.{task}{way}.jsonl"


def run(stage: Stage, show: Show = print) -> Evaluated:
    """Decode what is not decoded yet and write scores.json, decodings.json, documents/*.csv and, where a
    sentence may be shown, example.json.

    Raises GenerationError where decoding passed its time, FormatError for a format without a grammar.
    """
    records, trainings = stage.records(), stage.read("trainings.json").root
    systems = {s.name: s for s in plan(stage)}
    _weights(stage)
    _predict(stage, systems, records, show)
    frames: dict[tuple[str, str], pd.DataFrame] = {}
    scores, compared = {}, {}
    for task in stage.tasks:
        mine = scored_records(stage.profile, records, task)
        answers = {(name, way): read_answers(predictions_file(stage.folder, name, task, way))
                   for name in systems for way in decodings(stage.profile)}
        scores[task], compared[task] = {}, {}
        for name, system in systems.items():
            ways = {way: answers[name, way] for way in decodings(stage.profile)}
            first = next(iter(ways.values()))
            scores[task][name] = _scores(stage, task, system.level, mine, first)
            made = {way: score.score_documents(stage.tasks[task], mine, system.level, given)
                    for way, given in ways.items()}
            frames[name, task] = next(iter(made.values()))
            compared[task][name] = _compare(stage, name, task, made)
        scores[task] |= _floors(stage, task, of_task(records, task, *stage.profile.training.splits), mine)
    return _write(stage, systems, trainings, scores, compared, frames)


def _weights(stage: Stage) -> None:
    """The weights count as inputs, by the hashes of stage 03's manifest."""
    manifest = read_manifest(stage.run / TRAIN)
    stage.inputs |= {name: digest for name, digest in manifest.outputs.items() if "model" in Path(name).parts}


def _predict(stage: Stage, systems: Mapping[str, FineTuned], records: Sequence[Record], show: Show) -> None:
    """Every predictions file: kept where it stands, taken over from another run, or decoded."""
    taken: Counter[Path] = Counter()
    for name, system in systems.items():
        for decoding in decodings(stage.profile):
            for task in stage.tasks:
                mine = scored_records(stage.profile, records, task)
                path = predictions_file(stage.folder, name, task, decoding)
                if donor := _take_over(stage, system, mine, task, decoding, path):
                    taken[donor] += 1
                system.decoder.write(mine, task, decoding, path, show)
                stage.wrote(path, sidecar(path))
        system.decoder.release()
    for donor, files in taken.items():
        show(f"{files} files of predictions taken over from {shown(donor)}")


def _take_over(stage: Stage, system: FineTuned, records: Sequence[Record], task: str, decoding: Decoding,
               path: Path) -> Path | None:
    """Another run's predictions, where they are just those that are wanted; returns that run."""
    if system.decoder.is_written(records, task, decoding, path):
        return None
    for donor in donors(stage.run, stage.profile):
        there = donor / path.relative_to(stage.run)
        if system.decoder.is_written(records, task, decoding, there):
            take_file(there, path)
            take_file(sidecar(there), sidecar(path))
            return donor
    return None


def _example(stage: Stage, provenance: Mapping[str, Provenance], decoding: Decoding) -> Example | None:
    """A sentence of the first task that has one; of datasets alone whose texts may be shown."""
    for task, fmt in stage.formats.items():
        path = predictions_file(stage.folder, "joint", task, decoding)
        shown = provenance[task].redistributable and path.exists()
        if shown and (found := find_example(fmt, read_rows(path))):
            return found
    return None


# -- scores ----------------------------------------------------------------------------------------


def _scores(stage: Stage, task: str, level: Any, records: Sequence[Record], answers: Sequence[Answer],
            tables: bool = True) -> SystemScores:
    return per_label.evaluate(stage.tasks[task], records, level, answers, tables=tables,
                              resamples=stage.profile.evaluation.resamples, seed=stage.profile.seed)


def _floors(stage: Stage, task: str, known: Sequence[Record], records: Sequence[Record]) -> dict[str, Any]:
    """The registered floors that are defined for this task, fitted on the records trained on."""
    found = {}
    for entry in entries().values():
        if entry.floor and entry.applies(stage.tasks[task]):
            system = entry.make(stage.tasks[task])
            system.fit(known)
            found[entry.name] = _scores(stage, task, entry.level, records, system.predict(records),
                                        tables=False)
    return found


def _compare(stage: Stage, condition: str, task: str, frames: Mapping[Decoding, pd.DataFrame]) -> Decodings:
    """Each way of decoding, and constrained minus free where there are both, paired over documents.

    Free decoding scores only the tokens of the texts and the schema where generation.vocabulary is
    "corpus", so what it invents is made of those.
    """
    how = {"resamples": stage.profile.evaluation.resamples, "seed": stage.profile.seed}
    found: dict[str, Any] = {}
    for decoding, frame in frames.items():
        scores = score.summarise(frame, **how)
        decoded = read_decoded(predictions_file(stage.folder, condition, task, decoding))
        found[decoding] = DecodingScores(items_per_second=decoded.items_per_second,
                                         scores={m: scores[m] for m in score.COMPARED})
    if len(frames) == 2:
        # score_documents keeps the order of the records, so the two frames are aligned.
        pairs = {m: [score.ratio_columns(frames[d], m) for d in ("constrained", "free")]
                 for m in score.COMPARED}
        found["difference"] = {m: paired_difference(*a, *b, **how) for m, (a, b) in pairs.items()
                               if a is not None and b is not None}
    return Decodings(**found)


def _write(stage: Stage, systems: dict[str, FineTuned], trainings: Sequence[Training], scores: dict[str, Any],
           compared: dict[str, Any], frames: dict[tuple[str, str], pd.DataFrame]) -> Evaluated:
    profile, first = stage.profile, decodings(stage.profile)[0]
    provenance = stage.read("provenance.json")
    how = {"split": profile.evaluation.split, "seed": profile.seed}
    found = Evaluated(
        ScoresFile(**how, tasks=scores), DecodingsFile(**how, tasks=compared), frames,
        _example(stage, provenance, first), provenance, systems, stage.folder, first,
        " · ".join([f"{stage.statement} · {trainings[0].method}",
                    *(cut_short(t) for t in trainings if t.stopped_by_minutes)]))
    stage.write("scores.json", found.scores)
    stage.write("decodings.json", found.decodings)
    for (condition, task), frame in frames.items():
        stage.write(f"documents/{condition}.{task}.csv", frame.to_csv(index=False))
    if found.example:
        stage.write("example.json", found.example)
    stage.facts |= {"model": found.model, "dtype": trainings[0].dtype, "device": trainings[0].device,
                    "batch_size": profile.generation.batch_size}
    return found
