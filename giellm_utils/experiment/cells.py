"""Cells of the MRE experiment: from Answers to a committed file, and back.

results/mre/<task>/<condition>[/<arm>]/seed-<n>.json.gz; see core.cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from giellm_utils.core.answer import Answer
from giellm_utils.core.artifacts import Decoding
from giellm_utils.core.cells import Cell, Counts
from giellm_utils.core.files import read_json_gz, StorageError, write_json_gz
from giellm_utils.core.probe import Probe
from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.data.leakage import fold
from giellm_utils.data.splits import text_sha1
from giellm_utils.evaluation.score import score_documents

PATTERN = "seed-*.json.gz"


def make_cell(task: Task, records: Sequence[Record], level: Level,
              answers: Mapping[Decoding, Sequence[Answer]], /, **about: Any) -> Cell:
    """What `answers` got right of `records` at `level`, through evaluation.score.

    `level` is what is scored: "text" for a condition whose words are a placebo. `about`: the other fields
    of Cell (condition, seed, arm, split, texts, settings, seconds, ...); `task` there names the dataset
    where it is not the task's own name (tcree-blind). Raises ValueError and SchemaError as score_documents
    does.
    """
    return Cell(**{
        "task": task.name, "level": level, "ids": [r.id for r in records],
        "clusters": [cluster(r) for r in records], "gold": [len(r.words) for r in records],
        "decoded": {way: counts(score_documents(task, records, level, given), level)
                    for way, given in answers.items()}, **about})


def cluster(record: Record) -> str:
    """One name for all documents of a text, whatever the dataset: 8 hex digits of its folded text's SHA-1."""
    return text_sha1(fold(record.text))[:8]


def counts(frame: pd.DataFrame, level: Level) -> Counts:
    """A frame of score_documents as the columns of a cell."""
    def column(name: str) -> list[int]:
        return frame[name].astype(int).tolist()

    found: dict[str, Any] = {name: column(name) for name in ("well_formed", "truncated")}
    if level != "words":
        found["tl"] = column("tl")
    if level != "text":
        found |= {"matched": column("tp"), "predicted": (frame["tp"] + frame["fp"]).astype(int).tolist(),
                  "wl_exact": column("wl_exact"), "wl_set": column("wl_set")}
    return Counts(**found)


def write_cell(folder: Path, cell: Cell) -> Path:
    """Write a cell to its place below `folder` (results/mre); returns the path."""
    return write_json_gz(cell.path(folder), cell.model_dump(mode="json", exclude_none=True))


def read_cell(path: Path) -> Cell:
    """Raises StorageError naming the file and the first key that does not fit."""
    try:
        return Cell.model_validate(read_json_gz(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise StorageError(f"{path}: {'.'.join(map(str, first['loc'])) or 'it'} is not what a cell holds "
                           f"({first['msg']}); evaluate it again") from None


def read_probes(folder: Path) -> list[Probe]:
    """Every probe below `folder`, by path; raises StorageError naming the file that is none, or that is not
    where its address says."""
    found = []
    for path in sorted(folder.rglob("probe-*.json.gz")):
        try:
            probe = Probe.model_validate(read_json_gz(path))
        except ValidationError as error:
            raise StorageError(f"{path} is not what a probe holds ({error.errors()[0]['msg']}); move it away "
                               "and probe again") from None
        if probe.path(folder) != path:
            raise StorageError(f"{path} holds the probe of {probe.path(folder).relative_to(folder)}: move it "
                               f"to {probe.path(folder)}")
        found.append(probe)
    return found


def read_cells(folder: Path) -> list[Cell]:
    """Every cell below `folder`, by path; raises StorageError for a file that is not where its address says
    and for a folder without cells."""
    found = []
    for path in sorted(folder.rglob(PATTERN)):
        cell = read_cell(path)
        if cell.path(folder) != path:
            raise StorageError(f"{path} holds the cell {cell.address}: move it to {cell.path(folder)}")
        found.append(cell)
    if not found:
        raise StorageError(f"{folder} holds no cells ({PATTERN}): run the experiment first")
    return found
