"""Cell: what one training of the MRE experiment got right, document by document, as it is committed.

A cell is addressed by task x condition x arm x seed. Arms are budgets: MAIN (equal steps and texts),
"tokens" (equal target tokens), "texts-N" (a smaller training set), "mixture" (all datasets together).
Cells hold ids and counts and never a text, so that those of datasets under a restrictive licence may be
kept too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from giellm_utils.core.artifacts import Artifact, Decoding
from giellm_utils.core.schema import Level

MAIN = "main"
#: Arm of a smaller training set, before the number of its texts.
FEWER = "texts-"
SLUG = r"^[a-z0-9-]+$"
Dtype = Literal["bfloat16", "float32"]
#: Of cells that do not say: the first ones, all made on processors that compute in bf16 (PROTOCOL.md).
UNRECORDED: Dtype = "bfloat16"


class Counts(Artifact):
    """One way of decoding, one value a document in the cell's order; None where the level has none.

    `tl`, `wl_exact`, `wl_set`, `well_formed` and `truncated` are 0 or 1; `predicted` and `matched` count
    items, matched as strict multisets (evaluation.score).
    """

    tl: list[int] | None = None
    predicted: list[int] | None = None
    matched: list[int] | None = None
    wl_exact: list[int] | None = None
    wl_set: list[int] | None = None
    well_formed: list[int]
    truncated: list[int]


class Cell(Artifact):
    """One training and its answers. `task` names the dataset, such as tcree-blind, and not only its Task.

    `texts`: how many texts were trained on, each counted once a dataset. `settings`: whatever says how it
    was trained, ready for JSON. `clusters`: documents that share a text, also across datasets, have one name.
    `gold`: gold items a document. Raises ValidationError where two columns differ in length.
    """

    task: str = Field(pattern=SLUG)
    condition: str = Field(pattern=SLUG)
    arm: str = Field(MAIN, pattern=SLUG)
    seed: int
    level: Level
    split: str
    texts: int
    settings: dict[str, Any]
    #: Steps that were trained, and the one whose weights were taken where that is not the last.
    steps: int | None = None
    best_step: int | None = None
    #: Wall time of the training, the whole of it where it has several cells, how many cells it has, and of
    #: each way of decoding.
    seconds: float
    shared_by: int = 1
    decoding_seconds: dict[Decoding, float]
    #: Of the weights and products of training and decoding; None in cells made before it was kept.
    dtype: Dtype | None = None
    #: Whether products in bf16 were made in fp32 and rounded; None likewise.
    widened: bool | None = None
    machine: str
    git: str
    ids: list[str]
    clusters: list[str]
    gold: list[int]
    decoded: dict[Decoding, Counts]

    @model_validator(mode="after")
    def _columns_are_as_long(self) -> Cell:
        columns = {"clusters": self.clusters, "gold": self.gold}
        for way, counts in self.decoded.items():
            columns |= {f"decoded.{way}.{name}": column for name, column in counts if column is not None}
        for name, column in columns.items():
            if len(column) != len(self.ids):
                raise ValueError(f"{name} has {len(column)} values for {len(self.ids)} documents")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an id stands more than once")
        return self

    @property
    def precision(self) -> Dtype:
        return self.dtype or UNRECORDED

    @property
    def address(self) -> str:
        """How messages call it: task/condition[/arm]/seed-n, also its place below the folder of cells."""
        arm = () if self.arm == MAIN else (self.arm,)
        return "/".join((self.task, self.condition, *arm, f"seed-{self.seed}"))

    def path(self, folder: Path) -> Path:
        return folder / f"{self.address}.json.gz"
