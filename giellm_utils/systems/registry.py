"""The one registry of systems that every table, figure and legend reads.

A module of this package that has ENTRIES is found by itself: a new system is one new file.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from giellm_utils.core.conditions import Look
from giellm_utils.core.settings import ConfigError
from giellm_utils.systems.base import Entry

#: How a system is drawn that is not registered (any more): old result files stay readable.
UNKNOWN = Look(colour="#CC79A7", marker="^")


@cache
def entries() -> dict[str, Entry]:
    """Every registered system by name, in the order of tables. Raises ValueError for a name given twice."""
    found: list[Entry] = []
    for module in sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if module not in ("base", "registry"):
            found += getattr(importlib.import_module(f"giellm_utils.systems.{module}"), "ENTRIES", ())
    by_name = {e.name: e for e in sorted(found, key=lambda e: e.order)}
    if len(by_name) != len(found):
        raise ValueError(f"two systems have one name: {sorted(e.name for e in found)}")
    return by_name


def get_entry(name: str) -> Entry:
    """The system called `name`; raises ConfigError with the known names."""
    if name not in entries():
        raise ConfigError(f"no system {name!r}; known systems: {', '.join(entries())}")
    return entries()[name]


def title(name: str) -> str:
    """How a system is called in tables and legends; its bare name where it is not registered."""
    entry = entries().get(name)
    return entry.title if entry else name


def look(name: str) -> Look:
    entry = entries().get(name)
    return entry.look if entry else UNKNOWN


def ordered(names) -> list[str]:
    """`names` in the order of tables; unregistered ones last, in their given order."""
    known = list(entries())
    return sorted(names, key=lambda n: known.index(n) if n in known else len(known))
