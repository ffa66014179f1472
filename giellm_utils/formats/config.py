"""TODO"""

from __future__ import annotations

from pydantic import Field

from giellm_utils.core.settings import Section


class FormatConfig(Section):
    #: Opening and closing mark of a text label; "‹>" for the published GIELLM weights.
    marks: str = Field("<>", min_length=2, max_length=2)
