"""Whether what a stage left still stands: it depends on exactly the profile keys, files and code it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from giellm_utils.core.artifacts import CONVERT, EVALUATE, FIGURES, INSPECT, MRE, TRAIN
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import sha256, StorageError
from giellm_utils.data.registry import source_files
from giellm_utils.experiment.environment import notebook_hash
from giellm_utils.experiment.manifest import Manifest, read_manifest
from giellm_utils.experiment.profile import Profile
from giellm_utils.training.config import BEFORE, LEARNED_FROM

#: Stage -> the dotted profile keys it reads besides its inputs; a section stands for all of its keys.
#: How long a stage may take, how often it saves and logs and on what machine it runs are not among them.
KEYS: dict[str, tuple[str, ...]] = {
    INSPECT: ("data",),
    CONVERT: ("format", "model.id", "model.revision"),
    TRAIN: ("seed", "format", "model", "training.conditions", "training.max_tokens",
            *(f"training.{key}" for key in LEARNED_FROM)),
    EVALUATE: ("seed", "format", "model", "training.conditions", "training.splits", "generation.batch_size",
               "generation.vocabulary", "generation.constrained", "generation.first_token", "evaluation"),
    MRE: ("seed", "evaluation.resamples"),
    FIGURES: (),
}


def parameters(stage: str, profile: Profile) -> dict[str, Any]:
    """The values of the stage's KEYS, flat: {"training.epochs": 1}."""
    found: dict[str, Any] = {}
    for key in KEYS[stage]:
        value = profile.value(key)
        found |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return found


def sources(profile: Profile) -> dict[str, str]:
    """What stage 01 reads from outside the run, "dataset: file" -> SHA-256; what is not there is left out."""
    data = profile.data
    return {f"{name}: {label}": sha256(path) for name in data.tasks
            for label, path in source_files(name, data.source, **data.options.get(name, {}))}


def is_current(stage: str, profile: Profile, run: Path) -> bool:
    """Whether the stage's manifest matches its parameters, notebook, sources, inputs and outputs."""
    return why_stale(stage, profile, run) is None


def why_stale(stage: str, profile: Profile, run: Path, *, notebook: bool = True) -> str | None:
    """Why the stage must run again ("training.epochs was 1, is 2"), None where it need not.

    `notebook` False leaves its code out: what a cell shows says nothing of the results.
    """
    try:
        manifest = read_manifest(run / stage)
    except StorageError as error:
        return f"has a damaged manifest ({error})"
    if manifest is None:
        return "is not finished"
    return (_changed_parameters(manifest, parameters(stage, profile))
            or (_changed_sources(manifest, profile) if stage == INSPECT else None)
            or _more_minutes(manifest, profile)
            or _changed_files(manifest, run)
            or ("was made by a notebook of other code" if notebook
                and manifest.notebook != notebook_hash(stage) else None))


def _changed_parameters(manifest: Manifest, wanted: dict[str, Any]) -> str | None:
    made = {**{f"training.{key}": value for key, value in BEFORE.items() if f"training.{key}" in wanted},
            **manifest.parameters}
    for key in {**wanted, **made}:
        before, now = made.get(key), wanted.get(key)
        if before != now:
            return f"was made with {key}={before}, not {now}"
    return None


def _changed_sources(manifest: Manifest, profile: Profile) -> str | None:
    try:
        now = sources(profile)
    except GiellmError as error:
        # A task file that is gone says nothing of what was made from it; one that is faulty does.
        there = any(Path(name).is_file() for name in profile.data.tasks)
        return f"was made from files that can no longer be read ({error})" if there else None
    changed = [name for name, digest in now.items() if manifest.sources.get(name) != digest]
    return f"was made from another {changed[0].partition(': ')[2]}" if changed else None


def _more_minutes(manifest: Manifest, profile: Profile) -> str | None:
    cap = manifest.stopped_at_minutes
    if cap is None or profile.training.minutes <= cap:
        return None
    return f"was stopped by training.minutes={cap:g} and may now take {profile.training.minutes:g}"


def _changed_files(manifest: Manifest, run: Path) -> str | None:
    for what, files in (("input", manifest.inputs), ("output", manifest.outputs)):
        for name, digest in files.items():
            path = run / name
            if not path.exists():
                return f"lacks its {what} {name}"
            if sha256(path) != digest:
                return f"has another {what} {name} than when it was made"
    return None
