"""Conditions: one address a training, and a look that tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from giellm_utils.core.conditions import Condition, CONDITIONS, folder, get_condition, Look
from giellm_utils.core.schema import LEVELS
from giellm_utils.core.settings import ConfigError

OKABE_ITO = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}


def test_an_address_holds_experiment_condition_task_and_seed():
    assert folder(Path("runs/mini"), "joint", "mixture", 42) == Path("runs/mini/joint/mixture/seed-42")


def test_conditions_can_be_told_apart():
    assert list(CONDITIONS) == [c.name for c in CONDITIONS.values()]
    for values in ([c.title for c in CONDITIONS.values()], [c.look.marker for c in CONDITIONS.values()]):
        assert len(set(values)) == len(CONDITIONS)
    assert {c.look.colour for c in CONDITIONS.values()} <= OKABE_ITO


def test_conditions_that_differ_at_test_alone_share_a_training():
    for name, c in CONDITIONS.items():
        trained = CONDITIONS[c.training]
        assert folder(Path("r"), name, "scnm", 1) == Path("r") / c.training / "scnm" / "seed-1"
        assert (trained.levels, trained.given == "nothing") == (c.levels, c.given == "nothing")
    assert {n for n, c in CONDITIONS.items() if c.training != n} == {"text-given-gold", "words-given-gold"}


def test_what_a_partner_replaced_is_not_scored():
    scored = {name: c.scored for name, c in CONDITIONS.items()}
    assert scored == {
        **dict.fromkeys(CONDITIONS, "joint"), "text": "text", "words": "words", "placebo-words": "text",
        "placebo-foreign": "text", "placebo-label": "words", "text-given": "words",
        "text-given-gold": "words", "words-given": "text", "words-given-gold": "text"}


@pytest.mark.parametrize("changes, message", [
    ({"levels": ("words", "text")}, "levels words, text cannot be put together"),
    ({"levels": ("text", "words")}, "budget is sequences: with one level sequences are held equal"),
    ({"budget": "texts"}, "budget is texts"),
    ({"levels": ("text",), "partner": "random-words"}, "partner random-words is for a joint target"),
    ({"given": "gold"}, "given gold says the other level: levels must be text or words alone"),
    ({"levels": ("words",), "order": "words-first"}, "order words-first is for a joint target"),
    ({"levels": ("text", "words"), "budget": "texts", "loss": "levels"}, "loss levels is for a joint")])
def test_conditions_that_could_not_be_scored_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Condition(**{**CONDITIONS["joint"].model_dump(), **changes})


@pytest.mark.parametrize("level", LEVELS)
def test_answers_are_scored_at_the_level_that_was_asked_for(level):
    made = Condition(name="c", title="c", look=Look(colour="#000000", marker="o"), levels=(level,))
    assert made.scored == level


def test_unknown_conditions_and_options_are_refused():
    with pytest.raises(ConfigError, match="no condition 'jont'; known conditions: joint"):
        get_condition("jont")
    with pytest.raises(ValidationError, match="order"):
        CONDITIONS["joint"].__class__(**{**CONDITIONS["joint"].model_dump(), "order": "sideways"})
