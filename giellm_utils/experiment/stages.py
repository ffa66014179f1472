"""The stages of a run: each is a notebook, a folder `runs/<name>/<stage>/` and its manifest.

A stage whose parameters, notebook, inputs and outputs match its manifest need not run again (current).
Opening one takes over from other runs the earlier stages that its own run lacks (inherit).
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import time
import warnings
from dataclasses import dataclass, field
from datetime import datetime, UTC
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import FIGURES, FILES, INSPECT, STAGES
from giellm_utils.core.files import read_jsonl, sha256, StorageError, write_json, write_jsonl, write_text
from giellm_utils.core.paths import runs_dir, shown
from giellm_utils.core.schema import Record, Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import task_from_spec
from giellm_utils.experiment.current import parameters, sources, why_stale
from giellm_utils.experiment.environment import environment, git_revision, notebook_hash
from giellm_utils.experiment.inherit import take_stage
from giellm_utils.experiment.manifest import Manifest, NAME, read_manifest, StageError
from giellm_utils.experiment.profile import load_profile, Profile
from giellm_utils.formats.base import Format
from giellm_utils.formats.registry import make_format
from giellm_utils.models.spec import statement

# tqdm asks for widgets wherever transformers is imported; its plain bars are what a saved page keeps.
warnings.filterwarnings("ignore", message="IProgress not found")

#: Below this folder of stage 04 nothing is removed: predictions have a fingerprint of their own.
KEPT = "predictions"


@dataclass
class Stage:
    """One stage of one run, as its notebook or run_stage sees it.

    `given`: the profile as it was named, its overrides and the run's name where one was given.
    """

    name: str
    profile: Profile
    run: Path
    given: tuple[str, dict[str, Any], str] = ("", {}, "")
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    #: Fields of the manifest that only the stage knows: dtype, device, batch_size, stopped_at_minutes.
    facts: dict[str, Any] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        return self.run / self.name

    @property
    def statement(self) -> str:
        """How to name the base model beside a score."""
        return statement(self.profile.model)

    def banner(self) -> str:
        """What the profile is for, and the versions of the packages that matter."""
        packages = environment()["packages"]
        return f"{self.profile.description.strip()}\nversions: {', '.join(map(' '.join, packages.items()))}"

    # -- reading what earlier stages wrote ---------------------------------------------------------

    def input(self, stage: str, name: str) -> Path:
        """A file an earlier stage wrote; remembered with its hash for the manifest."""
        path = self.run / stage / name
        if not path.exists():
            raise StageError(f"{shown(path)} is missing: run {stage} first ({self.command(until=stage)})")
        self.inputs[f"{stage}/{name}"] = sha256(path)
        return path

    def read(self, name: str) -> Any:
        """An earlier stage's result file as its typed record (core.artifacts.FILES)."""
        stage, kind = FILES[name]
        return artifacts.read(self.input(stage, name), kind)

    def records(self) -> list[Record]:
        """The records of the run, in corpus order."""
        return [Record.from_json(row) for row in read_jsonl(self.input(INSPECT, "records.jsonl"))]

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The tasks as stage 01 read them, in the profile's order."""
        return {name: task_from_spec(spec) for name, spec in self.read("tasks.json").items()}

    @cached_property
    def formats(self) -> dict[str, Format]:
        """The profile's format for each task."""
        return {name: make_format(self.profile.format.name, task) for name, task in self.tasks.items()}

    # -- writing -----------------------------------------------------------------------------------

    def write(self, name: str, content: BaseModel | list | dict | str) -> Path:
        """Write a result file of this stage and register it: a record, rows (.jsonl), JSON or a text."""
        path = self.folder / name
        if isinstance(content, BaseModel):
            artifacts.write(path, content)
        elif isinstance(content, str):
            write_text(path, content)
        elif name.endswith(".jsonl"):
            write_jsonl(path, [r.model_dump(mode="json", exclude_none=True) if isinstance(r, BaseModel) else r
                               for r in content])
        else:
            write_json(path, content)
        self.wrote(path)
        return path

    def wrote(self, *paths: Path) -> None:
        """Register files of the run that belong to this stage and were written by others."""
        self.outputs |= {path.relative_to(self.run).as_posix(): sha256(path) for path in paths}

    def finish(self) -> Path:
        """Write the manifest, and remove what an earlier setting of this stage left, saying so."""
        self._tidy()
        data = self.run / INSPECT / "provenance.json"
        manifest = Manifest(
            stage=self.name, run=self.run.name, profile=self.profile.name, seed=self.profile.seed,
            parameters=parameters(self.name, self.profile), notebook=notebook_hash(self.name),
            sources=sources(self.profile) if self.name == INSPECT else {},
            inputs=self.inputs, outputs=self.outputs,
            data=artifacts.read(data, artifacts.ProvenanceFile).root if data.exists() else {},
            git=git_revision(), seconds=round(time.monotonic() - self.start, 1),
            finished=datetime.now(UTC).isoformat(), **self.facts, **environment())
        return artifacts.write(self.folder / NAME, manifest)

    def _tidy(self) -> None:
        try:
            before = read_manifest(self.folder)
        except StorageError:
            return
        for name in before.outputs if before else ():
            path, inside = self.run / name, name.startswith(f"{self.name}/")
            if inside and name not in self.outputs and KEPT not in Path(name).parts and path.exists():
                path.unlink()
                print(f"removed {shown(path)}: with these settings {self.name} no longer writes it")

    def command(self, *, from_: str = "", until: str = "") -> str:
        """The command that runs stages of this very run."""
        profile, overrides, run_name = self.given
        own = run_name == default_run_name(self.profile.name, overrides)
        return command(profile or self.profile.name, overrides, "" if own else run_name,
                       from_=from_, until=until)


def command(profile: str, overrides: dict[str, Any], run_name: str = "", *, from_: str = "",
            until: str = "") -> str:
    """`giellm run` with these settings, as a shell takes it."""
    words = ["giellm", "run", "--profile", profile]
    for key, value in overrides.items():
        words += ["--set", f"{key}={_yaml(value)}"]
    for option, value in (("--name", run_name), ("--from", from_[:2]), ("--until", until[:2])):
        words += [option, value] if value else []
    return shlex.join(words)


def _yaml(value: Any) -> str:
    """`value` as the command line's YAML reads it back, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def open_stage(name: str, profile: str = "mini", run_name: str = "",
               overrides: dict[str, Any] | None = None) -> Stage:
    """Start (or go on with) a stage; nothing that is there is emptied.

    Earlier stages that its run lacks are taken over from another run, with a line that says which. Raises
    StageError with the command that makes them where one is missing or was made otherwise.
    """
    loaded = load_profile(profile, overrides)
    run = runs_dir() / (run_name or default_run_name(loaded.name, overrides or {}))
    stage = Stage(name, loaded, run, (profile, overrides or {}, run_name))
    for earlier in STAGES[:STAGES.index(name)]:
        reason = why_stale(earlier, loaded, run, notebook=False)
        if reason and not (run / earlier / NAME).exists() and (donor := take_stage(earlier, loaded, run)):
            print(f"{earlier}: taken over from {shown(donor)}")
            continue
        # The figures are drawn from whatever results there are, from the committed ones where there are none.
        if reason and name != FIGURES:
            raise StageError(f"{shown(run / earlier)} {reason}: run {earlier} first "
                             f"({stage.command(until=STAGES[STAGES.index(name) - 1])})")
    stage.folder.mkdir(parents=True, exist_ok=True)
    return stage


def default_run_name(profile: str, overrides: dict[str, Any]) -> str:
    """The name a profile gives itself; with overrides a short hash too, so that no run replaces another."""
    if not overrides:
        return profile
    return f"{profile}-{hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()[:6]}"


def select(from_: str | None, until: str | None) -> list[str]:
    """The stages from `from_` to `until`, named by number, prefix or whole name."""
    def find(word: str, option: str) -> int:
        match = [i for i, n in enumerate(STAGES)
                 if n == word or n.startswith(word.zfill(2)) or n[3:].startswith(word)]
        if len(match) != 1:
            raise ConfigError(f"{option} {word!r} is no stage; stages: {', '.join(STAGES)}")
        return match[0]

    first = find(from_, "--from") if from_ else 0
    last = find(until, "--until") if until else len(STAGES) - 1
    if first > last:
        raise ConfigError(f"--from {STAGES[first]} comes after --until {STAGES[last]}")
    return list(STAGES[first:last + 1])
