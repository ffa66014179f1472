"""The manifest of a stage: what it was made from, what it wrote, with what. It alone says what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from giellm_utils.core import artifacts
from giellm_utils.core.errors import GiellmError

NAME = "manifest.json"


class StageError(GiellmError, RuntimeError):
    """A stage that cannot start or did not finish; the message says what to do."""


class Manifest(artifacts.Artifact):
    """runs/<name>/<stage>/manifest.json. Files are paths relative to the run's folder -> SHA-256."""

    stage: str
    #: The run in which it was made; another one's where it was taken over.
    run: str
    profile: str
    seed: int
    #: Dotted profile keys that the result depends on -> their values.
    parameters: dict[str, Any]
    #: SHA-256 of the notebook's code.
    notebook: str
    #: Stage 01: the files its datasets are made from, by a name -> SHA-256.
    sources: dict[str, str] = {}
    inputs: dict[str, str]
    outputs: dict[str, str]
    #: training.minutes where it cut a training short: with more, that training goes on.
    stopped_at_minutes: float | None = None
    data: dict[str, artifacts.Provenance]
    model: str | None = None
    dtype: str | None = None
    device: str | None = None
    batch_size: int | None = None
    git: str
    seconds: float
    #: When it was finished, ISO 8601.
    finished: str
    python: str
    system: str
    processors: int | None
    packages: dict[str, str]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a stage's `folder`, None where there is none.

    Raises StorageError for one that is damaged.
    """
    path = folder / NAME
    return artifacts.read(path, Manifest) if path.exists() else None
