"""Conditions: how a training differs from its siblings, everything else being equal.

A training is addressed by experiment x condition x task x seed; `folder` is the one place that says
where it lies. To add a condition, add it to CONDITIONS: tables, figures and legends take it from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from giellm_utils.core.schema import Level
from giellm_utils.core.settings import ConfigError, Section

#: The task part of an address whose training holds all tasks of its profile.
MIXTURE = "mixture"
#: Where the labels of a training come from (training.partners); the level that a partner replaces is not
#: scored, so each stands with the level that is.
Partner = Literal["gold", "random-words", "foreign-words", "length-label"]
SCORED: dict[Partner, Level] = {"random-words": "text", "foreign-words": "text", "length-label": "words"}
#: Order of the levels in a joint target (formats.registry.in_order).
Order = Literal["text-first", "words-first"]
#: How target tokens are weighed. tokens: all alike. levels: in each joint target the label and the words half
#: of its weight, however many tokens they have (training.rows).
Loss = Literal["tokens", "levels"]
#: What the prompt says of the other level. gold, predicted: gold in training; at test gold, or the answer of
#: the model of that level alone, of the same seed (systems.decoder).
Given = Literal["nothing", "gold", "predicted"]


class Look(Section):
    """How a system is drawn: Okabe-Ito colour and a marker that repeats what the colour says."""

    colour: str
    marker: str


class Condition(Section):
    """What is asked of each text in training, and how that is weighed and bounded."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    look: Look
    #: Levels asked for, each in a sequence of its own: one, or text and words side by side.
    levels: tuple[Level, ...] = Field(min_length=1, max_length=2)
    #: Where the labels come from: gold is the record's own.
    partner: Partner = "gold"
    order: Order = "text-first"
    loss: Loss = "tokens"
    given: Given = "nothing"
    #: The condition whose training it shares where they differ at test alone; "" for its own.
    trained_as: str = ""
    #: What is held equal between conditions. sequences: hence texts and steps. texts: each gives a sequence
    #: a level, so with two levels the sequences and, at the same epochs, the steps are twice as many.
    budget: Literal["sequences", "texts"] = "sequences"

    @model_validator(mode="after")
    def _is_one_that_can_be_scored(self) -> Condition:
        if len(self.levels) == 2 and self.levels != ("text", "words"):
            raise ValueError(f"levels {', '.join(self.levels)} cannot be put together: two are text, words")
        if self.budget != ("sequences" if len(self.levels) == 1 else "texts"):
            raise ValueError(f"budget is {self.budget}: with one level sequences are held equal, with two "
                             "texts")
        for name, plain in (("partner", "gold"), ("order", "text-first"), ("loss", "tokens")):
            if (value := getattr(self, name)) != plain and self.levels != ("joint",):
                raise ValueError(f"{name} {value} is for a joint target: levels must be joint")
        if self.given != "nothing" and self.levels not in (("text",), ("words",)):
            raise ValueError(f"given {self.given} says the other level: levels must be text or words alone")
        return self

    @property
    def training(self) -> str:
        """The condition under whose name its training lies."""
        return self.trained_as or self.name

    @property
    def given_level(self) -> Level | None:
        """The level that its prompts say, None where they say none; as predicted it is the answer of the
        condition of that name."""
        if self.given == "nothing":
            return None
        return "text" if self.levels == ("words",) else "words"

    @property
    def scored(self) -> Level:
        """The level at which its answers are scored: that of its answers, without what a partner replaced."""
        if self.partner != "gold":
            return SCORED[self.partner]
        return self.levels[0] if len(self.levels) == 1 else "joint"


CONDITIONS: dict[str, Condition] = {c.name: c for c in (
    Condition(name="joint", title="joint", look=Look(colour="#0072B2", marker="o"), levels=("joint",)),
    Condition(name="text", title="text only", look=Look(colour="#E69F00", marker="s"), levels=("text",)),
    Condition(name="words", title="words only", look=Look(colour="#009E73", marker="D"), levels=("words",)),
    Condition(name="two-task", title="two-task", look=Look(colour="#56B4E9", marker="^"),
              levels=("text", "words"), budget="texts"),
    Condition(name="placebo-words", title="placebo words", look=Look(colour="#D55E00", marker="<"),
              levels=("joint",), partner="random-words"),
    Condition(name="placebo-foreign", title="placebo words of another text",
              look=Look(colour="#D55E00", marker="v"), levels=("joint",), partner="foreign-words"),
    Condition(name="placebo-label", title="placebo label", look=Look(colour="#CC79A7", marker="X"),
              levels=("joint",), partner="length-label"),
    Condition(name="text-given", title="words, predicted label given",
              look=Look(colour="#009E73", marker=">"), levels=("words",), given="predicted"),
    Condition(name="text-given-gold", title="words, gold label given",
              look=Look(colour="#009E73", marker="h"), levels=("words",), given="gold",
              trained_as="text-given"),
    Condition(name="words-given", title="text label, predicted words given",
              look=Look(colour="#E69F00", marker="d"), levels=("text",), given="predicted"),
    Condition(name="words-given-gold", title="text label, gold words given",
              look=Look(colour="#E69F00", marker="p"), levels=("text",), given="gold",
              trained_as="words-given"),
    Condition(name="words-first", title="joint, words first", look=Look(colour="#000000", marker="P"),
              levels=("joint",), order="words-first"),
    Condition(name="per-level-loss", title="joint, loss per level", look=Look(colour="#F0E442", marker="*"),
              levels=("joint",), loss="levels"),
)}


def get_condition(name: str) -> Condition:
    """The condition called `name`; raises ConfigError with the known names."""
    if name not in CONDITIONS:
        raise ConfigError(f"no condition {name!r}; known conditions: {', '.join(CONDITIONS)}")
    return CONDITIONS[name]


def folder(experiment: Path, condition: str, task: str, seed: int) -> Path:
    """Where one training of an experiment lies: <experiment>/<condition>/<task>/seed-<n>, the condition being
    the one whose training it is."""
    found = CONDITIONS.get(condition)
    return experiment / (found.training if found else condition) / task / f"seed-{seed}"
