"""The profile's section `format`."""

from __future__ import annotations

from pydantic import field_validator

from giellm_utils.core.settings import Section
from giellm_utils.formats.registry import FORMATS


class FormatConfig(Section):
    #: How items are written as text: a name of formats.registry.
    name: str = "giellm"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"must be one of {', '.join(FORMATS)}")
        return name
