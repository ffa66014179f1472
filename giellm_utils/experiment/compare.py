"""Two runs on the same documents: scores side by side, and their difference, paired over documents.

For what differs between runs (a setting, a base model, a format); joint against single level within one
run is mre.py's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils.core.files import read_json
from giellm_utils.core.paths import shown
from giellm_utils.evaluation import score as metrics
from giellm_utils.evaluation.bootstrap import RESAMPLES
from giellm_utils.evaluation.paired import paired_difference
from giellm_utils.experiment.manifest import StageError


def compare_runs(a: Path, b: Path, *, job: str = "joint", resamples: int = RESAMPLES, seed: int = 42) -> dict[str, Any]:
    """{"a", "b", "job", "settings", "trainings", "only_in_one", "tasks": {task: {metric: {"a", "b", "difference"}}}}:
    Interval and Difference jsons, b minus a; "settings" holds the profile keys in which the two differ,
    "only_in_one" the tasks that one of them lacks.

    Reads 04_evaluate/documents/ and the manifests of two folders below runs/. Raises StageError where a run was
    not evaluated, has no task in common with the other, or was scored on other documents.
    """
    frames = {run: _frames(run, job) for run in (a, b)}
    tasks = [t for t in frames[a] if t in frames[b]]
    if not tasks:
        raise StageError(f"{a.name} and {b.name} have no task of job {job} in common")
    how = {"resamples": resamples, "seed": seed}
    return {"a": a.name, "b": b.name, "job": job, "settings": _settings(a, b),
            "trainings": {run.name: _training(run, job) for run in (a, b)},
            "only_in_one": sorted({*frames[a]} ^ {*frames[b]}),
            "tasks": {task: _task(frames[a][task], frames[b][task], f"{a.name} and {b.name}, {task}", how)
                      for task in tasks}}


def _frames(run: Path, job: str) -> dict[str, pd.DataFrame]:
    files = sorted((run / "04_evaluate" / "documents").glob(f"{job}.*.csv"))
    if not files:
        raise StageError(f"{shown(run)} holds no scores of job {job}: run its profile to stage 04 first")
    return {path.name[len(job) + 1:-len(".csv")]: pd.read_csv(path, dtype={"id": str}) for path in files}


def _task(a: pd.DataFrame, b: pd.DataFrame, where: str, how: dict[str, int]) -> dict[str, Any]:
    if set(a["id"]) != set(b["id"]) or len(a) != len(b):
        raise StageError(f"{where}: scored on different documents ({len(a)} and {len(b)}); "
                         "give both runs the same evaluation.split and limit")
    b = b.set_index("id", drop=False).loc[a["id"]]
    scores = [metrics.summarise(frame, **how) for frame in (a, b)]
    found = {}
    for metric in metrics.COMPARED:
        pair = [metrics.ratio_columns(frame, metric) for frame in (b, a)]
        if all(columns is not None for columns in pair):
            found[metric] = {"a": scores[0][metric], "b": scores[1][metric],
                             "difference": paired_difference(*pair[0], *pair[1], **how).to_json()}
    return found


def _settings(a: Path, b: Path) -> dict[str, list[Any]]:
    """Profile keys whose values differ: {key: [a's, b's]}."""
    flat = []
    for run in (a, b):
        values: dict[str, Any] = {}
        for stage in ("03_train", "04_evaluate"):
            for section, content in read_json(_finished(run, stage, "manifest.json"))["parameters"].items():
                values |= ({f"{section}.{k}": v for k, v in content.items()} if isinstance(content, dict)
                           else {section: content})
        flat.append(values)
    # None: the key was not known yet when that run was made.
    return {key: [flat[0].get(key), flat[1].get(key)] for key in sorted({*flat[0], *flat[1]})
            if flat[0].get(key) != flat[1].get(key)}


def _finished(run: Path, stage: str, name: str) -> Path:
    path = run / stage / name
    if not path.exists():
        raise StageError(f"{shown(run)} has no finished {stage}: run its profile to stage 04 first")
    return path


def _training(run: Path, job: str) -> dict[str, Any]:
    rows = read_json(_finished(run, "03_train", "trainings.json"))
    return next({k: row.get(k) for k in ("sequences", "steps", "target_tokens", "final_loss", "seconds", "seed",
                                         "trainable_parameters")} for row in rows if row["job"] == job)
