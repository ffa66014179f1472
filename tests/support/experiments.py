"""Tiny experiments: a profile of the scratch model that trains in seconds, in this very process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from giellm_utils.core.artifacts import Training
from giellm_utils.core.files import sha256
from giellm_utils.core.settings import load_yaml
from giellm_utils.experiment.pipeline import run_stage
from giellm_utils.training.config import TrainingJob
from giellm_utils.training.launch import TrainingFailed

TINY: dict[str, Any] = {
    "name": "tiny", "description": "For tests.",
    "data": {"tasks": ["scnm"], "limit": {"train": 12, "dev": 4, "test": 6}},
    "model": {"id": "scratch"},
    "training": {"conditions": ["joint", "text"], "method": "full", "max_steps": 4, "batch_size": 4,
                 "learning_rate": 3e-3, "save_steps": 2, "log_steps": 1},
    "generation": {"batch_size": 4}, "evaluation": {"resamples": 20}}
COMPUTED = ("01_inspect_data", "02_convert_format", "03_train", "04_evaluate", "05_mutual_reinforcement")


def write_profile(folder: Path, changes: Mapping[str, Any] | None = None) -> str:
    """TINY as a YAML file, sections updated by `changes`; returns its path."""
    made = {key: {**value, **(changes or {}).get(key, {})} if isinstance(value, dict) else
            (changes or {}).get(key, value) for key, value in TINY.items()}
    path = folder / f"{made['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(made, allow_unicode=True), encoding="utf-8")
    return str(path)


class InProcess:
    """Stands in for `launch`: trains here, without a process of its own, and remembers what it trained.

    `fail`: raise TrainingFailed instead.
    """

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.fail = False

    def __call__(self, config: Path, machine: str, show=print) -> Training:
        from giellm_utils.training.run import train

        job = load_yaml(config, TrainingJob)
        self.trained.append(job.condition)
        if self.fail:
            raise TrainingFailed("made to fail")
        return train(job, config.parent)


def run_stages(profile: str, overrides: dict[str, Any] | None = None, *, until: str = "05", name: str = "",
               from_: str = "01") -> Any:
    """The stages of a run without notebooks; returns what the last one found."""
    found = None
    for stage in COMPUTED:
        if from_ <= stage[:2] <= until:
            found = run_stage(stage, profile, name, overrides)
    return found


def hashes(folder: Path) -> dict[str, str]:
    """Every file below `folder` -> its hash."""
    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
