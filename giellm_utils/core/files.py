"""Small files read and written safely: UTF-8, atomic writes, errors that name file and line."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from giellm_utils.core.errors import GiellmError

#: No room, no quota, a file larger than this process may write.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageError(GiellmError, ValueError):
    """A file that is not what its name promises, or has no room; the message names it (and the line)."""


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` (UTF-8, its line ends untouched), as write_bytes does; returns the path."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` so that a reader sees the old file or the new one.

    Parent folders are created. Returns the path. Raises StorageError where its disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; results are meant to be read like any other file.
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise StorageError(f"{path}: no room left to write it, what stood there before still does; make "
                               "room and run the same command again") from error
        raise
    return path


def write_json(path: str | Path, obj: Any) -> Path:
    """Write `obj` as readable JSON: Japanese unescaped, indent 1, keys in the given order."""
    return write_text(path, json.dumps(obj, ensure_ascii=False, indent=1) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> Path:
    """Write one JSON value a line."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_json_gz(path: str | Path, obj: Any) -> Path:
    """Write `obj` as gzipped JSON without spaces; the same bytes for the same value, no time is kept."""
    text = json.dumps(obj, ensure_ascii=False, separators=(",", ":"))
    return write_bytes(path, gzip.compress(text.encode("utf-8"), mtime=0))


def read_json_gz(path: str | Path) -> Any:
    """The JSON value in a gzipped file; raises StorageError that names the file."""
    try:
        return json.loads(gzip.decompress(Path(path).read_bytes()))
    except (EOFError, ValueError, gzip.BadGzipFile, zlib.error) as error:
        raise StorageError(f"{path}: not gzipped JSON ({error}); delete it and make it again") from None


def read_json(path: str | Path) -> Any:
    """The JSON value in `path`; raises StorageError that names the file and the line."""
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise StorageError(f"{path}, line {error.lineno}: not JSON ({error.msg}); "
                           "repair the file or delete it so that it is made again") from None


def read_jsonl(path: str | Path) -> list[Any]:
    """One value a line, blank lines skipped; raises StorageError that names the file and the line."""
    rows = []
    # Not splitlines(): JSON strings may hold U+2028 and its kin unescaped.
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise StorageError(f"{path}, line {number}: not JSON ({error.msg}); "
                               "each line must hold one JSON value") from None
    return rows


def read_tsv(path: str | Path, columns: int) -> list[list[str]]:
    """Rows of exactly `columns` tab-separated fields, no quoting, blank lines skipped.

    Raises StorageError that names the file and the line of the first row of another width.
    """
    rows = []
    for number, line in enumerate(_read(path).replace("\r\n", "\n").split("\n"), 1):
        if not line:
            continue
        fields = line.split("\t")
        if len(fields) != columns:
            raise StorageError(f"{path}:{number}: {len(fields)} tab-separated columns where "
                               f"{columns} are expected; restore the file from its source")
        rows.append(fields)
    return rows


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of the bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise StorageError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
