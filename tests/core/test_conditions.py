"""Conditions: one address a training, and a look that tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from giellm_utils.core.conditions import Condition, CONDITIONS, folder, get_condition, Look
from giellm_utils.core.schema import LEVELS
from giellm_utils.core.settings import ConfigError


def test_an_address_holds_experiment_condition_task_and_seed():
    assert folder(Path("runs/mini"), "joint", "mixture", 42) == Path("runs/mini/joint/mixture/seed-42")


def test_conditions_can_be_told_apart():
    assert list(CONDITIONS) == [c.name for c in CONDITIONS.values()]
    for values in ([c.title for c in CONDITIONS.values()], [c.look.colour for c in CONDITIONS.values()],
                   [c.look.marker for c in CONDITIONS.values()]):
        assert len(set(values)) == len(CONDITIONS)


@pytest.mark.parametrize("level", LEVELS)
def test_answers_are_scored_at_the_level_that_was_asked_for(level):
    made = Condition(name="c", title="c", look=Look(colour="#000000", marker="o"), levels=(level,))
    assert made.scored == level


def test_unknown_conditions_and_options_are_refused():
    with pytest.raises(ConfigError, match="no condition 'jont'; known conditions: joint"):
        get_condition("jont")
    with pytest.raises(ValidationError, match="order"):
        CONDITIONS["joint"].__class__(**{**CONDITIONS["joint"].model_dump(), "order": "sideways"})
