"""The profile's section `generation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from giellm_utils.core.settings import Section


class GenerationConfig(Section):
    batch_size: int = Field(16, ge=1)
    #: corpus = score only output rows of tokens that occur in the prompts or the schema; texts = in the texts
    #: or the schema, as training.output_rows texts scores them: for prompts that hold marks of their own.
    #: This is for free decoding; a grammar allows a few dozen rows at a time.
    vocabulary: Literal["full", "corpus", "texts"] = "corpus"
    #: none = free decoding; only = under the grammar of each text; both = free for the tables and
    #: the comparison of levels, and beside it constrained.
    constrained: Literal["none", "only", "both"] = "both"
    #: forced = the first token of free decoding is the mark before the text label whatever the model says:
    #: the Constraint Mechanism of SLG (arXiv 2306.15978). null = the model's own.
    first_token: Literal["forced"] | None = None
    #: Wall-clock cap a condition and task, in minutes; what is left undone then is an error, not a score.
    minutes: float = Field(30.0, gt=0)
