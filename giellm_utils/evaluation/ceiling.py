"""What a perfect model can reach: gold written in a format and read back."""

from __future__ import annotations

from collections.abc import Sequence

from giellm_utils.core.artifacts import Artifact
from giellm_utils.core.schema import Record
from giellm_utils.evaluation.score import ratio_columns, score_documents
from giellm_utils.formats.base import Format


class Ceiling(Artifact):
    """The best scores of a format on `n` records, for targets carry surfaces and not offsets.

    `round_trip`: share of gold targets that are read back, without a problem, into label and items.
    `offset_f1`: of gold targets, located by data.offsets.locate (None without gold words).
    `n_repeated`: records in which the surface of a gold span occurs more than once in the text.
    `n_moved`: records in which at least one gold word is located elsewhere.
    """

    n: int
    round_trip: float | None
    offset_f1: float | None
    n_repeated: int
    n_moved: int


def gold_ceiling(fmt: Format, records: Sequence[Record]) -> Ceiling:
    """The ceiling of `fmt` at level joint. Raises SchemaError for a record that is not its task's."""
    records = [r.validate(fmt.task) for r in records]
    answers = [fmt.parse(fmt.target(r, "joint"), "joint", r.text) for r in records]
    frame = score_documents(fmt.task, records, "joint", answers)
    read_back = [bool(right) and not a.problems for right, a in zip(frame["all_set"], answers, strict=True)]
    offsets = ratio_columns(frame, "offset_f1")
    above, below = (float(column.sum()) for column in offsets) if offsets else (0.0, 0.0)
    return Ceiling(
        n=len(records), round_trip=sum(read_back) / len(records) if records else None,
        offset_f1=above / below if below else None,
        n_repeated=sum(any(_repeats(s, r.text) for i in r.items() for s in i.surfaces) for r in records),
        n_moved=int(frame["offset_fn"].gt(0).sum()))


def _repeats(surface: str, text: str) -> bool:
    """Whether `surface` occurs more than once; occurrences may overlap, unlike in str.count."""
    return text.find(surface, text.find(surface) + 1) >= 0
