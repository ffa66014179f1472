"""One way to every dataset: ours by its task's name, yours by its task YAML, one of the Hub by its YAML."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, Literal

from giellm_utils.core.paths import ROOT
from giellm_utils.core.schema import Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.data import hub, own
from giellm_utils.data.dataset import Dataset, Files
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.sets import family_of, TASKS
from giellm_utils.data.tasks_io import task_from_spec, task_spec

__all__ = ["TASKS", "check_name", "check_options", "get_task", "load_dataset", "source_files",
           "task_from_spec", "task_spec"]
Source = Literal["embedded", "open", "auto"]


def check_name(name: str) -> str:
    """`name`, if it is a task of ours or the path of a YAML; raises ConfigError with the known names."""
    if name not in TASKS and not _is_yaml(name):
        raise ConfigError(f"no dataset {name!r}; choose one of {', '.join(TASKS)}, "
                          "or the path of a task YAML or Hub YAML")
    return name


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises ConfigError for options that the dataset's loader does not have."""
    known = [] if _is_yaml(check_name(name)) else list(inspect.signature(family_of(name).load).parameters)[2:]
    for option in options:
        if option not in known:
            raise ConfigError(f"dataset {name} has no option {option!r}; "
                              f"it has {', '.join(known) if known else 'none'}")


def get_task(name: str) -> Task:
    """The task called `name`, or that of a task YAML or Hub YAML; raises ConfigError."""
    return _reader(name).load_task(_at(name)) if _is_yaml(check_name(name)) else TASKS[name]


def load_dataset(name: str, source: Source = "auto", **options: Any) -> Dataset:
    """The dataset called `name`.

    source "embedded" is the mini corpus of the package, "open" the real corpus under our
    annotation layer, "auto" the open one, else the embedded one after a warning on stderr. `options`
    are the family's own: see its `load`. A dataset named by the path of its YAML
    (docs/your-own-data.md, configs/hub) has one source, what that says, and no options.

    Raises ConfigError for an unknown name, source or option and for a faulty YAML, SourceError when a
    file cannot be had or is not what it should be.
    """
    check_options(name, options)
    if _is_yaml(name):
        return _reader(name).load_dataset(_at(name))
    task, family = TASKS[name], family_of(name)
    if _checked(source) != "auto":
        return family.load(task, source, **options)
    try:
        return family.load(task, "open", **options)
    except SourceError as error:
        print(f"warning: {name} falls back to the embedded mini corpus: {error}", file=sys.stderr)
        return family.load(task, "embedded", **options)


def source_files(name: str, source: Source = "auto", **options: Any) -> list[tuple[str, Path]]:
    """(name, path) of every file that `load_dataset` would read for the same arguments.

    Of a dataset of yours that is its YAML and its data file, of one of ours a raw corpus, our annotation
    layer, a mini corpus and the lexicon of its word rule. Cheap: nothing is parsed but a YAML and nothing
    is downloaded. A file that is not on this machine (yet) is left out: once it is there, the list has
    changed. "auto" is "open" where all its files are there, else "embedded". Raises ConfigError as
    load_dataset does, SourceError where GIELLM_DATA_DIR is no folder.
    """
    check_options(name, options)
    if _is_yaml(name):
        return _present(_reader(name).files(_at(name)))
    task, family = TASKS[name], family_of(name)
    if _checked(source) != "auto":
        return _present(family.files(task, source, **options))
    try:
        wanted = family.files(task, "open", **options)
    except SourceError:
        wanted = [(name, None)]
    found = _present(wanted)
    return found if len(found) == len(wanted) else _present(family.files(task, "embedded", **options))


def _is_yaml(name: str) -> bool:
    """Whether `name` is a path of a task YAML or Hub YAML rather than the name of a task of ours."""
    return name.endswith((".yaml", ".yml"))


def _at(name: str) -> Path:
    """Where a YAML stands: below the working folder or, for those of configs/, below the repository."""
    return ROOT / name if not Path(name).exists() and (ROOT / name).is_file() else Path(name)


def _reader(name: str) -> ModuleType:
    """The module that reads this YAML."""
    return hub if hub.is_hub_file(_at(name)) else own


def _checked(source: str) -> str:
    if source not in get_args(Source):
        raise ConfigError(f"source must be {', '.join(get_args(Source))}, not {source!r}")
    return source


def _present(files: Files) -> list[tuple[str, Path]]:
    return [(name, path) for name, path in files if path is not None]
