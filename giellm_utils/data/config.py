"""TODO"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from giellm_utils.core.settings import Section
from giellm_utils.data.registry import TASKS, is_task_file


class DataConfig(Section):
    #: Names of tasks, or paths of your own task YAML files (docs/your-own-data.md).
    tasks: list[str]
    #: embedded = the mini corpus; open = the real corpora; auto = open, else embedded with a warning.
    source: Literal["embedded", "open", "auto"] = "embedded"
    #: At most this many records a split and task, taken by text hash; null is all.
    limit: dict[Literal["train", "dev", "test"], int] = Field(default_factory=dict)
    #: The same for single tasks, where it differs: {scnm: {train: 160}}.
    task_limit: dict[str, dict[Literal["train", "dev", "test"], int]] = Field(default_factory=dict)
    #: Options of a task's loader, e.g. {tcree: {label: blind}}.
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        unknown = [t for t in tasks if t not in TASKS and not is_task_file(t)]
        if unknown or not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"{tasks} must be distinct names of {', '.join(TASKS)} (or paths of task YAML files)")
        return tasks
