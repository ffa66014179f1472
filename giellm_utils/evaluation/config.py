"""The profile's section `evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from giellm_utils.core.settings import Section


class EvaluationConfig(Section):
    split: Literal["dev", "test"] = "test"
    #: At most this many records a task, taken by text hash; null is all.
    limit: int | None = Field(None, ge=1)
    resamples: int = Field(2000, ge=10)
