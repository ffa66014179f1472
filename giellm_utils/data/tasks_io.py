"""Task <-> TaskSpec: a task as it travels with a run and with trained weights."""

from __future__ import annotations

from giellm_utils.core.artifacts import PartSpec, TaskSpec
from giellm_utils.core.schema import Part, Task
from giellm_utils.data.sets import TASKS


def task_spec(task: Task) -> TaskSpec:
    """All of `task` that prompts, targets and scores depend on; what the paper says of it stays behind."""
    parts = [PartSpec(kind=p.kind, instruction=p.instruction, labels=list(p.labels), shape=p.shape)
             for p in task.parts]
    return TaskSpec(name=task.name, title=task.title, text_labels=list(task.text_labels), parts=parts,
                    none=task.none)


def task_from_spec(spec: TaskSpec) -> Task:
    """The task a spec describes; a built-in one that is still the same comes back whole.

    Raises SchemaError for labels that could not be told apart in a target.
    """
    built_in = TASKS.get(spec.name)
    if built_in and task_spec(built_in) == spec:
        return built_in
    return Task(spec.name, spec.title, tuple(spec.text_labels),
                tuple(Part(p.kind, p.instruction, tuple(p.labels), p.shape) for p in spec.parts), spec.none)
