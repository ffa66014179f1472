"""The profile's section `model`: which base model, and how it is named beside a score."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.settings import Section
from giellm_utils.models.packaged import PACKAGED

#: Tiny models from scratch, built here for tests: what each is.
SCRATCH = {"scratch": "tiny model from scratch (tests only)",
           "scratch-t5": "tiny T5 from scratch (tests only)"}


class ModelConfig(Section):
    #: A packaged model's name, "scratch" or "scratch-t5" (tests), a Hub id, or a local folder.
    id: str = "gemma-3-270m-q4km"
    revision: str | None = None
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"


class ModelError(GiellmError, RuntimeError):
    """A model that cannot be had; the message says what to install or which id to give."""


def statement(spec: ModelConfig) -> str:
    """How to name the model beside a score."""
    if spec.id in PACKAGED:
        return PACKAGED[spec.id].statement
    return SCRATCH.get(spec.id) or Path(spec.id).name
