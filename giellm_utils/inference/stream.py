"""Extraction of a JSONL file into another, killed and resumed at will.

OUT holds one line for each input line that could be read, in input order, with its line number: what OUT
holds is what is done. Bad lines go to OUT.errors.jsonl; OUT.state says what OUT belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from filelock import FileLock, Timeout
from tqdm import tqdm

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.schema import Level
from giellm_utils.inference.extractor import Extractor
from giellm_utils.inference.results import Extraction
from giellm_utils.models.bundle import CARD

#: Longest input line in bytes; a longer one is a bad line, read over without being held.
LONGEST_LINE = 16 << 20
#: Bytes at the start of the input, and at both ends of each weight file, that go into the state.
HASHED = 1 << 16


class ExtractFileError(GiellmError, ValueError):
    """An input or output file that cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class Counts:
    """Lines of the input so far: extracted, bad, (of the extracted) found done at the start, and (of those
    extracted now) cut into pieces."""

    good: int
    bad: int
    resumed: int
    cut: int = 0


# -- lines -----------------------------------------------------------------------------------------


def dumps(value: Any) -> bytes:
    """One line of JSON as UTF-8; lone surrogates, which UTF-8 cannot hold, as JSON's backslash escapes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"


def lines(file: BinaryIO, longest: int = LONGEST_LINE) -> Iterator[tuple[int, bytes | None]]:
    """(number from 1, line) of a file; None for a line of more than `longest` bytes."""
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        if len(line) > longest and not line.endswith(b"\n"):
            while (rest := file.readline(longest)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def parse_line(line: bytes | None) -> dict[str, Any]:
    """The {"id"?, "text"} of an input line; raises ValueError with a reason that stands for itself."""
    if line is None:
        raise ValueError(f"longer than {LONGEST_LINE} bytes; split the text")
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f'not JSON ({error}); write {{"text": "..."}}') from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ValueError('no field "text" that is a string; write {"text": "..."}')
    return row


# -- what is there already -------------------------------------------------------------------------


def _cut_last_line(path: Path) -> bytes | None:
    """Drop a last line that a kill cut short; the last whole line, None where there is none."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        tail, at = b"", end
        # Backwards, until the tail holds a whole line or all there is.
        while at and tail.count(b"\n") < 2:
            at = max(0, at - HASHED)
            file.seek(at)
            tail = file.read(min(HASHED, end - at - len(tail))) + tail
        whole = tail.rfind(b"\n") + 1
        file.truncate(end - len(tail) + whole)
    return tail[:whole].split(b"\n")[-2] if whole else None


def _drop_after(path: Path, last: int) -> int:
    """Keep the errors of input lines up to `last`, for the others are met again; how many are kept."""
    if not path.exists():
        return 0
    kept = dropped = 0
    partial = path.with_name(path.name + ".tmp")
    with path.open("rb") as old, partial.open("wb") as new:
        for line in old:
            # Without a line end it was cut by a kill, hence written after the last line of OUT.
            keep = line.endswith(b"\n") and json.loads(line)["line"] <= last
            if keep:
                new.write(line)
            kept, dropped = kept + keep, dropped + (not keep)
    if dropped:
        os.replace(partial, path)
    else:
        partial.unlink()
    return kept


def _head(path: Path, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()


def model_digest(folder: Path) -> str:
    """SHA-256 over the small files and both ends of the weight files of a model folder ("" of none)."""
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    small = (CARD, "adapter_config.json", "config.json")
    for path in sorted(p for p in folder.rglob("*") if p.name in small or p.suffix == ".safetensors"):
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
            digest.update(file.read(HASHED))
            file.seek(max(0, size - HASHED))
            digest.update(file.read(HASHED))
    return digest.hexdigest()


def _last_done(out: Path, state_path: Path, state: dict[str, Any],
               source: Path) -> tuple[int, dict[str, Any] | None]:
    """(number, row) of the last input line that OUT holds, OUT checked and its cut last line dropped."""
    if not out.exists():
        return 0, None
    if not state_path.exists():
        raise ExtractFileError(f"{out} exists but {state_path.name} does not, so it cannot be told what it "
                               "belongs to; give another -o or --overwrite")
    before = read_json(state_path)
    other = "give another -o or --overwrite"
    if not isinstance(before, dict) or before.keys() != state.keys():
        raise ExtractFileError(f"{state_path} is not a state of this version of giellm extract; {other}")
    # The input may have grown since, so only as many bytes count as there were.
    if before["head"]["sha256"] != _head(source, before["head"]["bytes"]):
        raise ExtractFileError(f"{out} belongs to another input than {source}; {other}")
    for key in ("tasks", "level", "model", "min_confidence"):
        if before[key] != state[key]:
            raise ExtractFileError(f"{out} was made with {key} {before[key]!r}, not {state[key]!r}; {other}")
    last = _cut_last_line(out)
    if last is None:
        return 0, None
    try:
        row = json.loads(last)
        return int(row["line"]), row
    except (ValueError, KeyError, TypeError):
        raise ExtractFileError(f"{out}: its last line is not one of giellm extract; {other}") from None


# -- a file ----------------------------------------------------------------------------------------


def extract_file(extractor: Extractor, source: Path, out: Path, *, tasks: list[str], level: Level = "joint",
                 model: str = "", min_confidence: float = 0, overwrite: bool = False,
                 quiet: bool = False) -> Counts:
    """Extract every line of `source` (JSONL, {"id"?, "text"}) into `out`, going on from what it holds.

    Lines of `out`: {"line", "id"?, "text", "tasks"}; of `out`.errors.jsonl: {"line", "reason"}. `model`
    names the weights in the state; what is below `min_confidence` is left out (Extraction.at_least). Memory
    holds one window of texts, whatever the file's length. A killed run leaves at most one cut line, which
    the next run drops. Raises ExtractFileError where `out` belongs to something else or another process
    writes it, ExtractionError for tasks or a level that the model does not have.
    """
    errors, state_path = (out.with_name(out.name + end) for end in (".errors.jsonl", ".state"))
    if source.resolve() in (p.resolve() for p in (out, errors, state_path)):
        raise ExtractFileError(f"{source} is both input and output; give another -o")
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(str(out) + ".lock", timeout=0))
        except Timeout:
            raise ExtractFileError(f"{out} is being written by another giellm extract; wait for it") from None
        size = min(HASHED, source.stat().st_size)
        state = {"head": {"bytes": size, "sha256": _head(source, size)},
                 "tasks": tasks, "level": level, "model": model, "min_confidence": min_confidence}
        if overwrite:
            out.unlink(missing_ok=True)
        last, row = _last_done(out, state_path, state, source)
        if not out.exists():
            write_json(state_path, state)
        bad = _drop_after(errors, last)
        stream = lines(stack.enter_context(source.open("rb")))
        bar = stack.enter_context(tqdm(total=_count_lines(source), desc=source.name, unit="line",
                                       disable=quiet, mininterval=1, ncols=90))
        resumed = last - bad - _skip(stream, last, row, out, source)
        bar.update(last)
        # Unbuffered: a line is in the file when its write returns, also if we are killed.
        files = [stack.enter_context(path.open("ab", buffering=0)) for path in (out, errors)]
        found = partial(extractor.extract, tasks=tasks, level=level)
        new = _extract(found, stream, *files, bar, min_confidence)
    counts = Counts(resumed + new.good, bad + new.bad, resumed, new.cut)
    if not counts.bad:
        errors.unlink(missing_ok=True)
    return counts


def _extract(extract: Callable[..., Iterator[Extraction]], stream: Iterator[tuple[int, bytes | None]],
             good_file: BinaryIO, bad_file: BinaryIO, bar: tqdm, min_confidence: float) -> Counts:
    """Extract the lines of `stream` into the two files, showing how far it came; counts what is new."""
    good = bad = cut = 0
    given: dict[int, tuple[int, dict[str, Any]]] = {}  # number of the text -> (line, row)

    def refuse(number: int, reason: str) -> None:
        nonlocal bad
        # At once, ahead of OUT if need be: what stands after the last line of OUT is met again.
        _write(bad_file, {"line": number, "reason": reason})
        bad += 1

    def texts() -> Iterator[str]:
        for count, (number, row) in enumerate(_rows(stream, refuse)):
            given[count] = number, row
            yield row["text"]

    def refuse_text(index: int, reason: str) -> None:
        refuse(given.pop(index)[0], reason)

    for extraction in extract(texts(), on_error=refuse_text):
        number, row = given.pop(extraction.index)
        known = {"id": row["id"]} if "id" in row else {}
        _write(good_file, {"line": number, **known, **extraction.at_least(min_confidence).to_json()})
        good, cut = good + 1, cut + (extraction.pieces > 1)
        bar.update(number - bar.n)
    bar.update(bar.total - bar.n)
    return Counts(good, bad, 0, cut)


def _rows(stream: Iterator[tuple[int, bytes | None]],
          refuse: Callable[[int, str], None]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of the lines that can be read; the others go to `refuse`, blank ones nowhere."""
    for number, line in stream:
        if line is not None and not line.strip():
            continue
        try:
            row = parse_line(line)
        except ValueError as error:
            refuse(number, str(error))
        else:
            yield number, row


def _write(file: BinaryIO, value: Any) -> None:
    line = memoryview(dumps(value))
    while line:
        line = line[file.write(line):]


def _skip(stream: Iterator[tuple[int, bytes | None]], last: int, row: dict[str, Any] | None, out: Path,
          source: Path) -> int:
    """Read over the lines that are done; how many were blank. The last must be what OUT says it was."""
    blank = 0
    for number, line in stream if last else ():
        blank += line is not None and not line.strip()
        if number == last:
            try:
                same = parse_line(line)["text"] == row["text"]
            except (ValueError, KeyError):
                same = False
            if same:
                return blank
            break
    if last:
        raise ExtractFileError(f"line {last} of {source} is not what it was when {out} was written; "
                               "give another -o or --overwrite")
    return blank


def _count_lines(path: Path) -> int:
    count, block = 0, b"\n"
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            count += block.count(b"\n")
    return count + (not block.endswith(b"\n"))
