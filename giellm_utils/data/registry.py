"""The datasets, one small module a family: labels, Instruction Words, source item -> Record."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Literal

from giellm_utils.core.schema import Task
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.sets import scnm, scpos, tcree

__all__ = ["TASKS", "Dataset", "get_task", "load_dataset"]
Source = Literal["embedded", "open", "auto"]
_FAMILIES: tuple[ModuleType, ...] = (scnm, scpos, tcree)
_FAMILY: dict[str, ModuleType] = {task.name: module for module in _FAMILIES for task in module.TASKS}
#: name -> Task, in the paper's order.
TASKS: dict[str, Task] = {task.name: task for module in _FAMILIES for task in module.TASKS}


def is_task_file(name: str) -> bool:
    """Whether `name` is the path of a task YAML or Hub YAML rather than the name of a task of ours."""
    return name.endswith((".yaml", ".yml"))


def get_task(name: str) -> Task:
    """The task called `name`, or of a task YAML or Hub YAML; raises KeyError with the known names."""
    if is_task_file(name):
        # These stand above this package: they read their YAML with config, which knows the tasks.
        from giellm_utils.data.hub import is_hub_file, load_hub_task
        from giellm_utils.data.own import load_task

        return load_hub_task(name) if is_hub_file(name) else load_task(name)
    if name not in TASKS:
        raise KeyError(f"no task {name!r}; known tasks: {', '.join(TASKS)}")
    return TASKS[name]


def load_dataset(name: str, source: Source = "auto", **options: Any) -> Dataset:
    """The dataset of task `name`.

    source "embedded" is the mini corpus of the package, "open" the real corpus under our
    annotation layer (raises SourceError when it cannot be had), "auto" the open one, else the
    embedded one after a warning on stderr. `options` are the family's own: see its `load`. A dataset
    named by the path of its YAML (docs/your-own-data.md, configs/hub) has one source, what that says.
    """
    if is_task_file(name):
        from giellm_utils.data.hub import is_hub_file, load_hub_dataset
        from giellm_utils.data.own import load_user_dataset

        return load_hub_dataset(name) if is_hub_file(name) else load_user_dataset(name)
    if source not in ("embedded", "open", "auto"):
        raise ValueError(f"source must be embedded, open or auto, not {source!r}")
    task = get_task(name)
    family = _FAMILY[name]
    if source != "auto":
        return family.load(task, source, **options)
    try:
        return family.load(task, "open", **options)
    except SourceError as error:
        print(f"warning: {name} falls back to the embedded mini corpus: {error}", file=sys.stderr)
        return family.load(task, "embedded", **options)
