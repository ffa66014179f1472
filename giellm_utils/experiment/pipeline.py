"""A stage without its notebook: opened, run and finished in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from giellm_utils.core.artifacts import CONVERT, EVALUATE, INSPECT, MRE, TRAIN
from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment import compare, convert_format, evaluate, inspect_data, train
from giellm_utils.experiment.stages import open_stage, Stage

RUNNERS: dict[str, Callable[[Stage], Any]] = {
    INSPECT: inspect_data.run, CONVERT: convert_format.run, TRAIN: train.run, EVALUATE: evaluate.run,
    MRE: compare.run}


def run_stage(name: str, profile: str = "mini", run_name: str = "",
              overrides: dict[str, Any] | None = None) -> Any:
    """What the stage's module found (Inspected, Converted, Trained, Evaluated or Compared).

    Raises ConfigError for a stage that only draws, and what the stage raises.
    """
    if name not in RUNNERS:
        raise ConfigError(f"{name} is no stage that computes; those are {', '.join(RUNNERS)} "
                          "(figures are drawn by giellm figures)")
    stage = open_stage(name, profile, run_name, overrides)
    found = RUNNERS[name](stage)
    stage.finish()
    return found
