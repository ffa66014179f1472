"""A data file without its doubles and leaks: test is kept, what repeats or nearly repeats it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from giellm_utils.core.schema import Record, Task
from giellm_utils.data.checker import check_line, CheckedRow, Fault, read_lines
from giellm_utils.data.leakage import fold, near_twins

#: Which line stays where two have one text or id; then the first.
_KEEP_FIRST = ("test", "dev", "train")


@dataclass(frozen=True)
class Cleaned:
    """What is left of a data file, and what was dropped, each line counted once.

    `lines` and `records` are those left, in the file's order, the lines as they were. `doubles`: lines
    whose text stands in a line that stays, of the same split or of dev. `leaks`: train or dev lines whose
    text stands in test. `near`: train or dev lines that are nearly equal to a test text (data.leakage).
    Texts are compared after NFKC, white space folded. `faults`: those of the lines that have others.
    """

    lines: list[bytes]
    records: list[Record]
    total: int
    doubles: int
    leaks: int
    near: int
    faults: list[Fault]

    @property
    def faulty(self) -> int:
        """Lines dropped for faults of their own."""
        return len({fault.line for fault in self.faults})


def clean(task: Task, data_file: str | Path) -> Cleaned:
    """`data_file` without doubles, leaks and faulty lines; raises UserDataError for no readable file."""
    lines = dict(read_lines(data_file))
    rows = [check_line(task, number, raw) for number, raw in lines.items()]
    faults = [fault for row in rows for fault in row.faults]
    sound = [row for row in rows if row.record is not None]
    kept, doubles, leaks = _without_repeats(sound)
    kept, near = _without_near(kept)
    # Last: a line copied with its id is a double, not a second line with that id.
    kept, repeated_ids = _without_repeated_ids(kept)
    kept.sort(key=lambda row: row.line)
    return Cleaned([lines[row.line].removesuffix(b"\r") for row in kept],
                   [row.record for row in kept if row.record], len(rows), doubles, leaks, near,
                   sorted([*faults, *repeated_ids], key=lambda fault: fault.line))


def _ranked(rows: Iterable[CheckedRow]) -> list[CheckedRow]:
    return sorted(rows, key=lambda row: (_KEEP_FIRST.index(row.split or ""), row.line))


def _without_repeats(rows: list[CheckedRow]) -> tuple[list[CheckedRow], int, int]:
    """The rows left, the number of doubles and that of leaks."""
    kept: dict[str, CheckedRow] = {}
    doubles = leaks = 0
    for row in _ranked(rows):
        twin = kept.setdefault(fold(row.text or ""), row)
        leak = twin.split == "test" != row.split
        leaks += leak
        doubles += twin is not row and not leak
    return list(kept.values()), doubles, leaks


def _without_near(rows: list[CheckedRow]) -> tuple[list[CheckedRow], int]:
    test = [row for row in rows if row.split == "test"]
    train = [row for row in rows if row.split != "test"]
    twins = near_twins([fold(row.text or "") for row in train], [fold(row.text or "") for row in test])
    return [*test, *(row for i, row in enumerate(train) if i not in twins)], len(twins)


def _without_repeated_ids(rows: list[CheckedRow]) -> tuple[list[CheckedRow], list[Fault]]:
    kept: dict[str, CheckedRow] = {}
    faults = []
    for row in _ranked(rows):
        other = kept.setdefault(row.id or "", row)
        if other is not row:
            faults.append(Fault(row.line, "id", f"{row.id!r} is the id of line {other.line} already; "
                                                "ids must differ"))
    return list(kept.values()), faults
