"""Datasets of your own: a task YAML and a JSONL file, no code (docs/your-own-data.md).

One JSON object a line: `id`, `text`, `label` (a text label of the task), `words` (a list, may be
empty), `split` (train, dev or test) and, if you like, `meta` (an object, carried along unread).
A word is `kind` (a part of the task), `label`, and where it stands: offsets in Unicode code points,
end exclusive (`span` [s, e], or `head` and `tail` of a relation), or the words themselves
(`surface`, or `head_text` and `tail_text`), placed by the conventions of giellm_utils.surfaces.
Where both are given they must agree.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from giellm_utils.core.schema import Part, SchemaError, Shape, Task
from giellm_utils.core.settings import ConfigError, Section, load_yaml
from giellm_utils.data.checker import Fault, UserDataError, read_records
from giellm_utils.data.dataset import Dataset, make_dataset


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

    def task(self) -> Task:
        """The Task; raises SchemaError where labels or Instruction Words cannot be told apart."""
        return Task(self.name, self.title, tuple(self.text_labels),
                    tuple(Part(p.kind, p.instruction, tuple(p.labels), p.shape) for p in self.parts),
                    self.none, published="nothing: a task of the user's")


def load_task_file(path: str | Path) -> tuple[TaskFile, Task]:
    """A task YAML and its Task; raises ConfigError (file, line, key) for what is wrong in it."""
    from giellm_utils.data.registry import TASKS

    path = Path(path)
    file = load_yaml(path, TaskFile)
    if file.name in TASKS:
        raise ConfigError(f"{path.name}: name: {file.name!r} is a task of this package; choose another name")
    try:
        return file, file.task()
    except SchemaError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def load_task(path: str | Path) -> Task:
    """The Task of a task YAML; raises ConfigError as load_task_file does."""
    return load_task_file(path)[1]


def load_user_dataset(task_yaml: str | Path) -> Dataset:
    """The dataset that a task YAML describes.

    Raises ConfigError for the YAML and UserDataError for the first fault of the data file.
    """
    task_yaml = Path(task_yaml)
    file, task = load_task_file(task_yaml)
    data = task_yaml.parent / file.data
    records, faults = read_records(task, data)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserDataError(f"{faults[0].shown(data)}{more}; for the whole list: "
                            f"giellm data check {data} --task {task_yaml}")
    return make_dataset(task, records, source="local folder", title=f"{task.title} (the user's own dataset)",
                        files=[(file.data, data), (task_yaml.name, task_yaml)],
                        licence=file.licence, attribution=file.attribution, note=file.note)


def check(task_yaml: str | Path, data_file: str | Path) -> list[Fault]:
    """Every fault of `data_file` under the task of `task_yaml`, in the order of its lines.

    Raises ConfigError for the YAML and UserDataError for a file that cannot be read at all.
    """
    return read_records(load_task(task_yaml), data_file)[1]
