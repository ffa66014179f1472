"""Files of a Hub dataset: rows of .csv, .json, .jsonl and .parquet; the files that a pattern names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from giellm_utils.data.fetch import SourceError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
#: Tried in this order on a .csv; the first is UTF-8 with or without a byte order mark.
ENCODINGS = ("utf-8-sig", "cp932")
#: A "name" of a column longer than this is a row: the file has no line of names.
LONGEST_NAME = 40
_SHOWN = 30


class HubError(SourceError):
    """A Hub dataset that cannot be had or read; one sentence, with what to do."""


def is_pattern(name: str) -> bool:
    return any(c in name for c in "*?[")


def pick(name: str, listing: Iterable[str], where: str, yaml: str) -> str:
    """The one file of `listing` that `name`, a path or a pattern (any case), stands for.

    Patterns find files of SUFFIXES only. Raises HubError where none fits, or several do.
    """
    listing = sorted(listing)
    if not is_pattern(name):
        if name in listing:
            return name
        raise HubError(f"{where} has no file {name}; correct `files` in {yaml}, it has {_shown(listing)}")
    data = [f for f in listing if PurePosixPath(f).suffix in SUFFIXES]
    found = [f for f in data if fnmatchcase(f.lower(), name.lower())]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} files ({', '.join(found)})" if found else "no file"
    raise HubError(f"{where} has {what} that fits {name}; write the file's own name under `files` in {yaml}, "
                   f"it has {_shown(data)}")


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "no data file") + more


def read_rows(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """(line or row number from 1, row) of a file of SUFFIXES; raises HubError for one it cannot read."""
    reader = {".csv": _csv, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix]
    try:
        yield from reader(path, name)
    except (ValueError, OSError, csv.Error) as error:
        if isinstance(error, HubError):
            raise
        raise HubError(f"{name}: cannot be read as {path.suffix[1:]} ({error})") from None


def _csv(path: Path, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows by the names of the first line; without such a line columns are called 1, 2, …"""
    rows = csv.reader(io.StringIO(_decoded(path, name), newline=""))
    head = next(rows, [])
    if any(len(cell) > LONGEST_NAME for cell in head):
        rows, head = iter([head, *rows]), [str(k) for k in range(1, len(head) + 1)]
    for number, cells in enumerate((r for r in rows if r), 1):
        names = head + [str(k) for k in range(len(head) + 1, len(cells) + 1)]
        # strict=False: a short row lacks its last fields, which its check names.
        yield number, dict(zip(names, cells, strict=False))


def _decoded(path: Path, name: str) -> str:
    content = path.read_bytes()
    for encoding in ENCODINGS:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != ENCODINGS[0]:
            print(f"{name} is no UTF-8 and is read as {encoding} (Shift JIS as Windows writes it)")
        return text
    raise HubError(f"{name}: cannot be read as csv in {' or '.join(ENCODINGS)}; save it as UTF-8")


def _json(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """A list of objects, alone or the only list in an object; or one object a line after all."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        yield from _jsonl(path, name)
        return
    lists = [v for v in found.values() if isinstance(v, list)] if isinstance(found, dict) else [found]
    if len(lists) != 1 or not isinstance(lists[0], list):
        raise HubError(f"{name}: holds {type(found).__name__} where a list of objects is expected; "
                       "write it anew as one object a line and call it .jsonl")
    yield from enumerate(lists[0], 1)


def _jsonl(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        yield from ((i, json.loads(line)) for i, line in enumerate(file, 1) if line.strip())


def _parquet(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        yield from enumerate((row for batch in file.iter_batches() for row in batch.to_pylist()), 1)
