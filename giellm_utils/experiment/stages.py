"""papermill over the notebooks: stages, manifests, resume.

Every stage is one notebook and one folder `runs/<name>/<stage>/` with a `manifest.json`. A stage
whose parameters, notebook, inputs and outputs all match its manifest is skipped. papermill has no
resume and marks every cell of a dead kernel completed, so the manifest alone says what is done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from giellm_utils.core.files import read_json, sha256, write_json
from giellm_utils.core.paths import runs_dir, shown
from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.manifest import StageError, environment, git_revision
from giellm_utils.experiment.notebooks import notebook_hash
from giellm_utils.experiment.profile import Profile, load_profile

#: Stage -> the profile's sections its result depends on, besides its inputs.
STAGES: dict[str, tuple[str, ...]] = {
    "01_inspect_data": ("data",),
    "02_convert_format": ("data", "format", "model"),
    "03_train": ("data", "format", "model", "training"),
    "04_evaluate": ("data", "format", "model", "generation", "evaluation"),
    "05_mutual_reinforcement": ("data", "evaluation"),
    "06_figures": (),
}


def default_run_name(profile: str, overrides: dict[str, Any]) -> str:
    """The name a profile gives itself; with overrides a short hash too, so that no run replaces another."""
    if not overrides:
        return profile
    return f"{profile}-{hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()[:6]}"


def parameters(stage: str, profile: Profile) -> dict[str, Any]:
    """What of the profile the stage's result depends on."""
    whole = profile.model_dump(mode="json")
    return {"seed": profile.seed, **{section: whole[section] for section in STAGES[stage]}}


@dataclass
class Stage:
    """One stage of one run, as its notebook sees it."""

    name: str
    profile: Profile
    run: Path
    inputs: dict[str, str] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        return self.run / self.name

    def input(self, stage: str, name: str) -> Path:
        """A file an earlier stage wrote; remembered with its hash for the manifest."""
        path = self.run / stage / name
        if not path.exists():
            raise StageError(f"{shown(path)} is missing: run {stage} first "
                             f"(giellm run --profile {self.profile.name} --until {stage[:2]})")
        self.inputs[f"{stage}/{name}"] = sha256(path)
        return path

    def finish(self, **facts: Any) -> Path:
        """Write manifest.json: parameters, hashes, revision, versions, seed, data source, seconds."""
        provenance = self.run / "01_inspect_data" / "provenance.json"
        outputs = {str(p.relative_to(self.folder)): sha256(p) for p in sorted(self.folder.rglob("*"))
                   if p.is_file() and p.name != "manifest.json" and "checkpoints" not in p.parts}
        path = self.folder / "manifest.json"
        write_json(path, {
            "stage": self.name, "run": self.run.name, "profile": self.profile.name,
            "parameters": parameters(self.name, self.profile), "notebook": notebook_hash(self.name),
            "inputs": self.inputs, "outputs": outputs, "git": git_revision(), "seed": self.profile.seed,
            "data": read_json(provenance) if provenance.exists() else {},
            "seconds": round(time.monotonic() - self.start, 1), **facts, **environment()})
        return path


def open_stage(name: str, profile: str, run_name: str = "", overrides: dict[str, Any] | None = None) -> Stage:
    """Start (or go on with) a stage. Its folder is kept when it was left unfinished by the same
    parameters and notebook, so that trainings and decodings resume; else it is emptied."""
    loaded = load_profile(profile, overrides)
    stage = Stage(name, loaded, runs_dir() / (run_name or default_run_name(loaded.name, overrides or {})))
    wanted = {"parameters": parameters(name, loaded), "notebook": notebook_hash(name),
              "upstream": [sha256(p) for s in STAGES if s < name
                           if (p := stage.run / s / "manifest.json").exists()]}
    started = stage.folder / "started.json"
    if not (started.exists() and read_json(started) == wanted):
        shutil.rmtree(stage.folder, ignore_errors=True)
    write_json(started, wanted)
    (stage.folder / "manifest.json").unlink(missing_ok=True)
    return stage


def is_current(stage: str, profile: Profile, run: Path) -> bool:
    """Whether the stage's manifest matches its parameters, notebook, inputs and outputs."""
    path = run / stage / "manifest.json"
    if not path.exists():
        return False
    manifest = read_json(path)
    return (manifest["parameters"] == parameters(stage, profile) and manifest["notebook"] == notebook_hash(stage)
            and all(_same(run / name, digest) for name, digest in manifest["inputs"].items())
            and all(_same(run / stage / name, digest) for name, digest in manifest["outputs"].items()))


def _same(path: Path, digest: str) -> bool:
    return path.exists() and sha256(path) == digest


def select(from_: str | None, until: str | None) -> list[str]:
    """The stages from `from_` to `until`, named by number, prefix or whole name."""
    names = list(STAGES)

    def find(word: str, option: str) -> int:
        match = [i for i, n in enumerate(names) if n == word or n.startswith(word.zfill(2)) or n[3:].startswith(word)]
        if len(match) != 1:
            raise ConfigError(f"{option} {word!r} is no stage; stages: {', '.join(names)}")
        return match[0]

    first = find(from_, "--from") if from_ else 0
    last = find(until, "--until") if until else len(names) - 1
    if first > last:
        raise ConfigError(f"--from {names[first]} comes after --until {names[last]}")
    return names[first:last + 1]
