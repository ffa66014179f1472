"""The built-in datasets, one module a family: labels, Instruction Words, source item -> Record.

A family has TASKS, `load(task, source, **options) -> Dataset` and `files(task, source, **options)`,
which names what `load` reads. To add one, write its module and name it in FAMILIES.
"""

from __future__ import annotations

from types import ModuleType

from giellm_utils.core.schema import Task
from giellm_utils.data.sets import scnm, scpos, tcree

FAMILIES: tuple[ModuleType, ...] = (scnm, scpos, tcree)
#: name -> Task, in the paper's order.
TASKS: dict[str, Task] = {task.name: task for family in FAMILIES for task in family.TASKS}


def family_of(name: str) -> ModuleType:
    """The module of the task called `name`, which must be one of TASKS."""
    return next(family for family in FAMILIES if TASKS[name] in family.TASKS)
