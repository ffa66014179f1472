"""The profile's section `systems`: what systems of other people's models take, each under its own name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from giellm_utils.core.settings import Section


class GlinerConfig(Section):
    """GLiNER2 (systems/gliner.py)."""

    #: A Hub id, or a folder laid out like its snapshot.
    model: str = "fastino/gliner2.5-multi-v1"
    #: char: every character is a token, for a language without spaces; whitespace: the library's own.
    splitter: Literal["char", "whitespace"] = "char"
    batch_size: int = Field(16, ge=1)
    #: Least probability of a span or relation: the one with the best F1 of words on dev is taken, the first
    #: where there is no dev.
    thresholds: list[float] = Field([0.5, 0.3, 0.7], min_length=1)


class SystemsConfig(Section):
    gliner: GlinerConfig = GlinerConfig()
