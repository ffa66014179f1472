"""The datasets of the MRE experiment by the names that cells have."""

from __future__ import annotations

from typing import Any

from giellm_utils.core.settings import ConfigError
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.registry import load_dataset, TASKS

#: Name in cells -> task and options of the loader; every other task goes by its own name.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"tcree-blind": ("tcree", {"label": "blind"})}
NAMES = (*TASKS, *VARIANTS)


def task_of(name: str) -> str:
    """The name of the task that the dataset called `name` in cells is of."""
    return VARIANTS.get(name, (name, {}))[0]


def trial_dataset(name: str) -> Dataset:
    """The open dataset called `name` in cells; raises ConfigError with the known names, and SourceError."""
    if name not in NAMES:
        raise ConfigError(f"no dataset {name!r} in the experiment; it has {', '.join(NAMES)}")
    task, options = VARIANTS.get(name, (name, {}))
    return load_dataset(task, "open", **options)
