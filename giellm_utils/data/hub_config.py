"""The YAML of a Hub dataset: where its files are, how they are read, what may be done with them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from giellm_utils.core.schema import Split
from giellm_utils.core.settings import Section
from giellm_utils.data.hub_files import is_pattern, SUFFIXES
from giellm_utils.data.hub_rows import Auto, Columns, InOut


class Place(Section):
    """Files of one dataset of the Hub, or of one folder."""

    repo: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    #: The commit on the Hub: its 40 hex digits, or its first 7 or more, or several such of which the newest
    #: counts. A branch name would not pin what is read. Without one: the newest when it is first read.
    revision: str | list[str] | None = None
    folder: str | None = None
    #: Paths in the dataset, or patterns (*, ?, [!x]; any case) that must fit one file each.
    files: dict[Split, list[str]] = Field(default_factory=dict)

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, list[str]]) -> dict[str, list[str]]:
        for name in (n for names in files.values() for n in names):
            path = PurePosixPath(name)
            known = is_pattern(name) or path.suffix in SUFFIXES
            if path.is_absolute() or ".." in path.parts or not known:
                raise ValueError(f"{name!r} must be a path in the dataset, ending in {', '.join(SUFFIXES)}")
        return files

    @field_validator("revision")
    @classmethod
    def _commits(cls, revision: str | list[str] | None) -> str | list[str] | None:
        for commit in [revision] if isinstance(revision, str) else revision or ():
            if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
                raise ValueError(f"{commit!r} must be a commit: 40 hex digits, or at least its first 7")
        return revision

    @model_validator(mode="after")
    def _whole(self) -> Place:
        if (self.repo is None) == (self.folder is None) or (self.folder is not None and self.revision):
            raise ValueError("needs either folder, or repo together with revision")
        if not self.wanted:
            raise ValueError("needs files: {train: [...], test: [...]}")
        return self

    @property
    def wanted(self) -> list[str]:
        """Every file it names, in order."""
        return [name for names in self.files.values() for name in names]

    @property
    def commits(self) -> list[str]:
        """The commits, or their first digits, that `revision` names."""
        return [self.revision] if isinstance(self.revision, str) else self.revision or []


class HubConfig(Place):
    """A Hub dataset and how to read it: one place, or several as `sources`."""

    #: A task of this package, or the path of a task YAML relative to this file.
    task: str
    title: str
    sources: list[Place] = Field(default_factory=list)
    fields: InOut | Columns | Auto = Field(discriminator="layout")
    #: Source label -> ours, for text labels and word labels; a label not named stays as it is.
    text_labels: dict[str, str] = Field(default_factory=dict)
    word_labels: dict[str, str] = Field(default_factory=dict)
    #: Kind of a part -> the Instruction Word that the source writes for it, where it is not ours.
    instructions: dict[str, str] = Field(default_factory=dict)
    #: task: the task's labels. found: those that stand in the files, where nobody has published them.
    labels: Literal["task", "found"] = "task"
    #: Of files under `train`, the first so many rows are train and the rest test: for one file with no split.
    train_rows: int | None = Field(None, gt=0)
    #: This share of train, taken by text hash, becomes dev where there is no dev file.
    dev_share: float = Field(0.0, ge=0, lt=1)
    #: Leave faulty rows out and say how many in the provenance, instead of stopping at the first.
    skip_faulty: bool = False
    licence: str
    attribution: str
    note: str = ""
    #: Whether the licence lets its texts stand in results, notebooks and figures that are passed on.
    redistributable: bool = False

    @model_validator(mode="after")
    def _whole(self) -> HubConfig:
        if self.sources:
            if self.repo or self.folder or self.revision or self.files:
                raise ValueError("repo, revision, folder and files stand in each of sources, not beside them")
            return self
        super()._whole()
        return self

    @property
    def places(self) -> list[Place]:
        """Where its files are, in the order in which they are read."""
        return self.sources or [self]

    @property
    def splits(self) -> set[Split]:
        return {split for place in self.places for split in place.files}
