"""The formats by name. A new two-way format is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from giellm_utils.core.conditions import Order
from giellm_utils.core.schema import Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.formats.base import Format, FormatError
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.oiellm import OiellmFormat
from giellm_utils.formats.slg import SlgFormat
from giellm_utils.formats.usa import UsaFormat

FORMATS: Mapping[str, Callable[[Task], Format]] = {
    "giellm": GiellmFormat,
    "giellm-card": lambda task: GiellmFormat(task, "‹>"),
    "slg": SlgFormat,
    "usa": UsaFormat,
    "oiellm": OiellmFormat,
    "giellm-words-first": lambda task: GiellmFormat(task, words_first=True),
    "giellm-twice": lambda task: GiellmFormat(task, twice=True),
}


def make_format(name: str, task: Task) -> Format:
    """The format called `name` for `task`.

    Raises ConfigError with the known names, and FormatError where it is not defined for the task.
    """
    if name not in FORMATS:
        raise ConfigError(f"no format {name!r}; known formats: {', '.join(FORMATS)}")
    return FORMATS[name](task)


def in_order(fmt: Format, order: Order) -> Format:
    """`fmt` with the levels of its joint targets in `order`; raises FormatError where it has none such."""
    if order == "text-first":
        return fmt
    if (name := f"{fmt.name}-{order}") not in FORMATS:
        raise FormatError(f"format {fmt.name} writes its text label first; for {order} take format giellm")
    return make_format(name, fmt.task)
