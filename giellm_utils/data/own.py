"""Datasets of your own: a task YAML and a JSONL file, no code (docs/your-own-data.md).

One JSON object a line: `id`, `text`, `label` (a text label of the task), `words` (a list, may be
empty), `split` (train, dev or test) and, if you like, `meta` (an object, carried along unread).
A word is `kind` (a part of the task), `label`, and where it stands: offsets in Unicode code points,
end exclusive (`span` [s, e], or `head` and `tail` of a relation), or the words themselves
(`surface`, or `head_text` and `tail_text`), placed by the rule of data.offsets.
Where both are given they must agree.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from giellm_utils.core.schema import Part, SchemaError, Shape, Task
from giellm_utils.core.settings import ConfigError, load_yaml, Section
from giellm_utils.data.checker import read_records, UserDataError
from giellm_utils.data.dataset import Dataset, Files, make_dataset
from giellm_utils.data.sets import TASKS


class PartFile(Section):
    """One word-level part in a task YAML; see schema.Part."""

    kind: str = Field(min_length=1)
    instruction: str
    labels: list[str] = Field(min_length=1)
    shape: Shape = "span"


class TaskFile(Section):
    """A task YAML. `data` is the JSONL file, relative to the YAML."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = Field(min_length=1)
    text_labels: list[str] = Field(min_length=1)
    parts: list[PartFile] = Field(min_length=1)
    none: str = "無い"
    data: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    attribution: str = Field(min_length=1)
    note: str = "A dataset of the user's; nothing is known of it but what its files say."
    #: Whether its texts may stand in results, notebooks and figures that are passed on.
    redistributable: bool = True

    def task(self) -> Task:
        """The Task; raises SchemaError where labels or Instruction Words cannot be told apart."""
        return Task(self.name, self.title, tuple(self.text_labels),
                    tuple(Part(p.kind, p.instruction, tuple(p.labels), p.shape) for p in self.parts),
                    self.none, published="nothing: a task of the user's")


def read_task_file(path: str | Path) -> tuple[TaskFile, Task]:
    """A task YAML and its Task; raises ConfigError (file, line, key) for what is wrong in it."""
    path = Path(path)
    file = load_yaml(path, TaskFile)
    if file.name in TASKS:
        raise ConfigError(f"{path.name}: name: {file.name!r} is a task of this package; choose another name")
    try:
        return file, file.task()
    except SchemaError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def load_task(task_yaml: str | Path) -> Task:
    """The Task of a task YAML; raises ConfigError as read_task_file does."""
    return read_task_file(task_yaml)[1]


def files(task_yaml: str | Path) -> Files:
    """The data file and the task YAML itself; a data file that does not exist has no path."""
    task_yaml = Path(task_yaml)
    file = read_task_file(task_yaml)[0]
    data = task_yaml.parent / file.data
    return [(file.data, data if data.is_file() else None), (task_yaml.name, task_yaml)]


def load_dataset(task_yaml: str | Path) -> Dataset:
    """The dataset that a task YAML describes.

    Raises ConfigError for the YAML and UserDataError for the first fault of the data file.
    """
    task_yaml = Path(task_yaml)
    file, task = read_task_file(task_yaml)
    data = task_yaml.parent / file.data
    records, faults = read_records(task, data)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserDataError(f"{faults[0].shown(data)}{more}; for the whole list: "
                            f"giellm data check {data} --task {task_yaml}")
    return make_dataset(task, records, source="local folder", title=f"{task.title} (the user's own dataset)",
                        files=files(task_yaml), licence=file.licence, attribution=file.attribution,
                        note=file.note, redistributable=file.redistributable)
