"""The profile's section `data`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from giellm_utils.core.schema import Split
from giellm_utils.core.settings import Section
from giellm_utils.data.registry import check_name, check_options


class DataConfig(Section):
    #: Names of tasks, or paths of your own task YAML files (docs/your-own-data.md) or of Hub YAML files.
    tasks: list[str] = Field(min_length=1)
    #: embedded = the mini corpus; open = the real corpora; auto = open, else embedded with a warning.
    source: Literal["embedded", "open", "auto"] = "embedded"
    #: At most this many records a split and task, taken by text hash; a split not named is whole.
    limit: dict[Split, int] = Field(default_factory=dict)
    #: The same for single tasks, where it differs: {scnm: {train: 160}}.
    task_limit: dict[str, dict[Split, int]] = Field(default_factory=dict)
    #: Options of a task's loader, e.g. {tcree: {label: blind}}.
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        for name in tasks:
            check_name(name)
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"{', '.join(tasks)}: name each dataset once")
        return tasks

    @field_validator("task_limit")
    @classmethod
    def _limits_known(cls, limits: dict[str, Any]) -> dict[str, Any]:
        for name in limits:
            check_name(name)
        return limits

    @field_validator("options")
    @classmethod
    def _options_known(cls, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, given in options.items():
            check_options(name, given)
        return options
