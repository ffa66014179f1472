"""Stage 05, joint against single level within one run; and two runs on the same documents.

Both are paired over documents. The second is for what differs between runs: a setting, a base model,
a format.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Artifact, EVALUATE, MreFile, TRAIN
from giellm_utils.core.paths import shown
from giellm_utils.core.sources import cut_short
from giellm_utils.evaluation import mre, score
from giellm_utils.evaluation.bootstrap import RESAMPLES
from giellm_utils.evaluation.paired import paired_difference
from giellm_utils.experiment.manifest import Manifest, read_manifest, StageError
from giellm_utils.experiment.stages import Stage


@dataclass(frozen=True)
class Compared:
    """The effects of a run, its trainings, and by task on how many documents which model is right
    (evaluation.mre.disagreements)."""

    mre: MreFile
    trainings: list[artifacts.Training]
    disagreements: list[dict[str, Any]]

    @property
    def conditions(self) -> list[str]:
        return [t.condition for t in self.trainings]

    def sentences(self) -> list[str]:
        """Every effect that is defined, in words, after a warning for each training that was cut short."""
        warnings = [f"{cut_short(t)}: the differences below are not of equal trainings; raise it and run "
                    "again" for t in self.trainings if t.stopped_by_minutes]
        return [*warnings, *self._effects()]

    def _effects(self) -> list[str]:
        return [f"{e.task} {e.metric}: joint {e.joint:.1%}, {e.single_level} only {e.single:.1%}, "
                f"difference {e.difference:+.1%} [{e.low:+.1%}, {e.high:+.1%}]: {e.verdict}"
                for e in self.mre.effects if e.difference is not None]


def run(stage: Stage) -> Compared:
    """Write mre.json: the joint condition against the single levels, task by task."""
    trainings = stage.read("trainings.json").root
    conditions = [t.condition for t in trainings]
    how = {"resamples": stage.profile.evaluation.resamples, "seed": stage.profile.seed}
    effects, independence, apart = [], {}, []
    for task in stage.tasks:
        frames = {c: _read(stage.input(EVALUATE, f"documents/{c}.{task}.csv")) for c in conditions}
        if "joint" not in frames:
            continue
        if {"text", "words"} & set(frames):
            effects += mre.effects(frames, task=task, **how)
            apart += [{"task": task, **row} for row in mre.disagreements(frames)]
        independence[task] = mre.error_independence(frames["joint"], **how)
    found = MreFile(effects=effects, error_independence=independence)
    stage.write("mre.json", found)
    return Compared(found, trainings, apart)


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"id": str})


# -- two runs --------------------------------------------------------------------------------------


class Pair(Artifact):
    """One metric of one task in both runs; `difference` is b minus a."""

    a: artifacts.Score
    b: artifacts.Score
    difference: artifacts.Difference


class Comparison(Artifact):
    """Two runs by name. `settings`: the profile keys in which they differ, [a's, b's] (null where that run
    did not know the key); `only_in_one`: tasks that one of them lacks; `tasks`: task -> metric -> Pair."""

    a: str
    b: str
    condition: str
    settings: dict[str, tuple[Any, Any]]
    trainings: dict[str, artifacts.Training]
    only_in_one: list[str]
    tasks: dict[str, dict[str, Pair]]


def compare_runs(a: Path, b: Path, *, condition: str = "joint", resamples: int = RESAMPLES,
                 seed: int = 42) -> Comparison:
    """Compare two folders below runs/ by documents/*.csv of stage 04 and their manifests.

    Raises StageError where a run was not evaluated, lists no training of `condition`, has no task in common
    with the other, or was scored on other documents.
    """
    frames = {run: _frames(run, condition) for run in (a, b)}
    tasks = [t for t in frames[a] if t in frames[b]]
    if not tasks:
        raise StageError(f"{a.name} and {b.name} have no task of condition {condition} in common")
    how = {"resamples": resamples, "seed": seed}
    return Comparison(
        a=a.name, b=b.name, condition=condition, settings=_settings(a, b),
        trainings={run.name: _training(run, condition) for run in (a, b)},
        only_in_one=sorted({*frames[a]} ^ {*frames[b]}),
        tasks={task: _pairs(frames[a][task], frames[b][task], f"{a.name} and {b.name}, {task}", how)
               for task in tasks})


def _frames(run: Path, condition: str) -> dict[str, pd.DataFrame]:
    files = sorted((run / EVALUATE / "documents").glob(f"{condition}.*.csv"))
    if not files:
        raise StageError(f"{shown(run)} holds no scores of condition {condition}: "
                         "run its profile to stage 04 first")
    return {path.name[len(condition) + 1:-len(".csv")]: _read(path) for path in files}


def _pairs(a: pd.DataFrame, b: pd.DataFrame, where: str, how: dict[str, int]) -> dict[str, Pair]:
    if set(a["id"]) != set(b["id"]) or len(a) != len(b):
        raise StageError(f"{where}: scored on different documents ({len(a)} and {len(b)}); "
                         "give both runs the same evaluation.split and limit")
    b = b.set_index("id", drop=False).loc[a["id"]]
    scores = [score.summarise(frame, **how) for frame in (a, b)]
    found = {}
    for metric in score.COMPARED:
        pair = [score.ratio_columns(frame, metric) for frame in (b, a)]
        if all(columns is not None for columns in pair):
            found[metric] = Pair(a=scores[0][metric], b=scores[1][metric],
                                 difference=paired_difference(*pair[0], *pair[1], **how))
    return found


def _settings(a: Path, b: Path) -> dict[str, tuple[Any, Any]]:
    one, other = ({k: v for stage in (TRAIN, EVALUATE) for k, v in _manifest(run, stage).parameters.items()}
                  for run in (a, b))
    return {key: (one.get(key), other.get(key)) for key in sorted({*one, *other})
            if one.get(key) != other.get(key)}


def _manifest(run: Path, stage: str) -> Manifest:
    manifest = read_manifest(run / stage)
    if manifest is None:
        raise StageError(f"{shown(run)} has no finished {stage}: run its profile to stage 04 first")
    return manifest


def _training(run: Path, condition: str) -> artifacts.Training:
    _manifest(run, TRAIN)
    rows = artifacts.read(run / TRAIN / "trainings.json", artifacts.TrainingsFile).root
    found = next((row for row in rows if row.condition == condition), None)
    if found is None:
        raise StageError(f"{shown(run)} has no training of condition {condition}, only of "
                         f"{', '.join(row.condition for row in rows)}: run its profile from stage 03 again")
    return found
