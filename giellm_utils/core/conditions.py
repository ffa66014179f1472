"""Conditions: how a training differs from its siblings, everything else being equal.

A training is addressed by experiment x condition x task x seed; `folder` is the one place that says
where it lies. To add a condition, add it to CONDITIONS: tables, figures and legends take it from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from giellm_utils.core.schema import Level
from giellm_utils.core.settings import ConfigError, Section

#: The task part of an address whose training holds all tasks of its profile.
MIXTURE = "mixture"


class Look(Section):
    """How a system is drawn: Okabe-Ito colour and a marker that repeats what the colour says."""

    colour: str
    marker: str


class Condition(Section):
    """What is asked of each text in training, and how that is weighed and bounded."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    look: Look
    #: Levels asked for, each in a sequence of its own; one so far, for no decoder puts two together yet.
    levels: tuple[Level, ...] = Field(min_length=1, max_length=1)
    #: Where the labels come from: gold is the record's own.
    partner: Literal["gold"] = "gold"
    #: Order of the levels in a joint target.
    order: Literal["text-first"] = "text-first"
    #: How target tokens are weighed: all alike.
    loss: Literal["tokens"] = "tokens"
    #: What is held equal between conditions: sequences, hence steps.
    budget: Literal["sequences"] = "sequences"

    @property
    def scored(self) -> Level:
        """The level at which its answers are scored."""
        return self.levels[0]


CONDITIONS: dict[str, Condition] = {c.name: c for c in (
    Condition(name="joint", title="joint", look=Look(colour="#0072B2", marker="o"), levels=("joint",)),
    Condition(name="text", title="text only", look=Look(colour="#E69F00", marker="s"), levels=("text",)),
    Condition(name="words", title="words only", look=Look(colour="#009E73", marker="D"), levels=("words",)),
)}


def get_condition(name: str) -> Condition:
    """The condition called `name`; raises ConfigError with the known names."""
    if name not in CONDITIONS:
        raise ConfigError(f"no condition {name!r}; known conditions: {', '.join(CONDITIONS)}")
    return CONDITIONS[name]


def folder(experiment: Path, condition: str, task: str, seed: int) -> Path:
    """Where one training of an experiment lies: <experiment>/<condition>/<task>/seed-<n>."""
    return experiment / condition / task / f"seed-{seed}"
