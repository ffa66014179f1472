"""papermill over the notebooks: stages, manifests, resume.

Every stage is one notebook and one folder `runs/<name>/<stage>/` with a `manifest.json`. A stage
whose parameters, notebook, inputs and outputs all match its manifest is skipped. papermill has no
resume and marks every cell of a dead kernel completed, so the manifest alone says what is done.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from giellm_utils.config import ROOT, ConfigError, Profile, load_profile
from giellm_utils.storage import read_json, sha256, write_json

NOTEBOOKS = ROOT / "notebooks"

#: Stage -> the profile's sections its result depends on, besides its inputs.
STAGES: dict[str, tuple[str, ...]] = {
    "01_inspect_data": ("data",),
    "02_convert_format": ("data", "format", "model"),
    "03_train": ("data", "format", "model", "training"),
    "04_evaluate": ("data", "format", "model", "generation", "evaluation"),
    "05_mutual_reinforcement": ("data", "evaluation"),
    "06_figures": (),
}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "llguidance", "papermill", "fugashi", "matplotlib")


class StageError(RuntimeError):
    """A stage that cannot start or did not finish; the message says what to do."""


def runs_dir() -> Path:
    """Where runs live: $GIELLM_RUNS_DIR or runs/ in the repository."""
    return Path(os.environ.get("GIELLM_RUNS_DIR", ROOT / "runs")).resolve()


def default_run_name(profile: str, overrides: dict[str, Any]) -> str:
    """The name a profile gives itself; with overrides a short hash too, so that no run replaces another."""
    if not overrides:
        return profile
    return f"{profile}-{hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()[:6]}"


def notebook_hash(stage: str) -> str:
    """SHA-256 of a notebook's code cells: outputs and prose do not make a stage stale."""
    cells = read_json(NOTEBOOKS / f"{stage}.ipynb")["cells"]
    code = "\0".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"
                     and "injected-parameters" not in c["metadata"].get("tags", []))
    return hashlib.sha256(code.encode()).hexdigest()


def git_revision() -> str:
    """Commit of the checkout, "-dirty" when package, configs or notebooks' code differ from it."""
    def git(*args: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True).stdout.strip()

    revision = git("rev-parse", "--short=12", "HEAD")
    if not revision:
        return "unknown"
    return revision + ("-dirty" if git("status", "--porcelain", "giellm_utils", "configs") else "")


def environment() -> dict[str, Any]:
    """Python, operating system, processor count and the versions of the packages that matter."""
    return {"python": platform.python_version(), "system": platform.system(), "processors": os.cpu_count(),
            "packages": {p: importlib.metadata.version(p) for p in PACKAGES}}


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


def shown(path: Path) -> str:
    """A path as people should see it: relative to the repository, or its last three parts."""
    try:
        return str(path.resolve().relative_to(ROOT))
    except ValueError:
        return "/".join(path.parts[-3:])


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


def check_parameters(stage: str, given: dict[str, Any]) -> None:
    """Fail before starting when the notebook lacks a parameter: papermill itself only warns."""
    import papermill

    known = papermill.inspect_notebook(str(NOTEBOOKS / f"{stage}.ipynb"))
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(f"{stage}.ipynb has no parameter {', '.join(unknown)}; it has {', '.join(known)}")


def execute(stage: str, run: Path, given: dict[str, Any], output) -> None:
    """Run one notebook with papermill into `run`/notebooks; its printed output goes to `output`.

    Raises StageError naming notebook, cell and cause.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    target = run / "notebooks" / f"{stage}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Libraries warning about themselves would stand between a reader and the results.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    try:
        papermill.execute_notebook(str(NOTEBOOKS / f"{stage}.ipynb"), str(target), parameters=given, cwd=os.getcwd(),
                                   kernel_name="python3", progress_bar=False, stdout_file=output, stderr_file=output,
                                   extra_arguments=["--IPKernelApp.log_level=40"])
    except papermill.PapermillExecutionError as error:
        raise StageError(f"notebook {stage}.ipynb, cell {error.cell_index}: {error.ename}: {error.evalue}") from None
    except DeadKernelError:
        raise StageError(f"notebook {stage}.ipynb: its kernel died (out of memory, or killed)") from None
    if not (run / stage / "manifest.json").exists():
        raise StageError(f"notebook {stage}.ipynb ended without a manifest: it did not finish its work")
