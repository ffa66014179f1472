"""Probe: what a trained joint model makes of one level when it is told the other, document by document.

Kept beside the MRE experiment's cells, and like them without any text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from giellm_utils.core.artifacts import Artifact
from giellm_utils.core.cells import Counts, SLUG

#: Whose label or words a model is told: gold, its own, or wrong ones (another label; words at random places,
#: which are gold where there are no words or no other places).
Told = Literal["gold", "predicted", "wrong"]


class Probe(Artifact):
    """One training. `told` is the level it is given, which its target writes first; `asked` what is scored.

    `answers`: how it then does on the other level. `label_alone` and `label_with_words`: whether the gold
    label is the most probable one, by itself and with the gold words that follow it (0 or 1 a document);
    None where the words come first.
    """

    task: str = Field(pattern=SLUG)
    condition: str = Field(pattern=SLUG)
    seed: int
    split: str
    told: Literal["text", "words"]
    asked: Literal["text", "words"]
    ids: list[str]
    clusters: list[str]
    gold: list[int]
    answers: dict[Told, Counts]
    label_alone: list[int] | None = None
    label_with_words: list[int] | None = None
    seconds: float
    machine: str
    git: str

    @model_validator(mode="after")
    def _columns_are_as_long(self) -> Probe:
        columns = {"clusters": self.clusters, "gold": self.gold, "label_alone": self.label_alone,
                   "label_with_words": self.label_with_words}
        columns |= {f"{told}.well_formed": counts.well_formed for told, counts in self.answers.items()}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.ids):
                raise ValueError(f"{name} has {len(column)} values for {len(self.ids)} documents")
        return self

    def path(self, folder: Path) -> Path:
        return probe_path(folder, self.task, self.condition, self.seed)


def probe_path(folder: Path, task: str, condition: str, seed: int) -> Path:
    """Where one training's probe lies below the folder of cells."""
    return folder / task / condition / f"probe-{seed}.json.gz"
