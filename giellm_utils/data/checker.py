"""Every fault of a data file at once: each row on its own, then what rows have in common.

Places given as surfaces are found by the rule of data.offsets.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from giellm_utils.core.schema import Part, Record, Shape, Span, Task, Word
from giellm_utils.data.dataset import SPLITS
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.leakage import fold
from giellm_utils.data.offsets import locate_relation, locate_spans

FIELDS = ("id", "text", "label", "words", "split")
#: Where a word stands: its offsets and, beside or instead of them, its surfaces.
PLACES: dict[Shape, tuple[tuple[str, str], ...]] = {
    "span": (("span", "surface"),), "relation": (("head", "head_text"), ("tail", "tail_text"))}
_PLACE_KEYS = {key for pairs in PLACES.values() for pair in pairs for key in pair}


class UserDataError(SourceError):
    """A dataset of the user's that cannot be loaded; the message names the file and the first fault."""


@dataclass(frozen=True)
class Fault:
    """One fault of a data file: its line (from 1), the field, what is wrong and what to do.

    `repeated`: the row is sound in itself, but its text stands in another one too.
    """

    line: int
    field: str
    message: str
    repeated: bool = False

    def shown(self, file: str | Path) -> str:
        return f"{file}:{self.line}: {self.field}: {self.message}"


@dataclass(frozen=True)
class CheckedRow:
    """One row on its own: its record, or None and its faults; id, text and split as far as they are sound."""

    line: int
    id: str | None
    text: str | None
    split: str | None
    record: Record | None
    faults: tuple[Fault, ...]


def read_records(task: Task, data_file: str | Path) -> tuple[list[Record], list[Fault]]:
    """The sound records of `data_file` and every fault of the others, in the order of its lines."""
    checker = RecordChecker(task)
    for line, raw in read_lines(data_file):
        checker.add_checked(check_line(task, line, raw))
    if not checker.records and not checker.faults:
        checker.fault(1, "file", "holds no record; write one JSON object a line")
    return checker.records, checker.faults


def read_lines(data_file: str | Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of every line that is not blank; raises UserDataError for no readable file."""
    try:
        content = Path(data_file).read_bytes()
    except OSError as error:
        raise UserDataError(f"{data_file} cannot be read ({error.strerror}); check the path") from None
    # Not splitlines(): JSON strings may hold U+2028 and its kin unescaped.
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if raw.strip():
            yield number, raw


def check_line(task: Task, line: int, raw: bytes) -> CheckedRow:
    """One line of a data file, checked on its own."""
    try:
        row = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except UnicodeDecodeError:
        fault = Fault(line, "encoding", "not UTF-8; save the file as UTF-8")
    except json.JSONDecodeError as error:
        fault = Fault(line, "json", f"not valid JSON ({error.msg} at column {error.colno}); "
                                    "each line must be one whole JSON object")
    except (ValueError, RecursionError) as error:
        fault = Fault(line, "json", f"cannot be read ({error})")
    else:
        return check_row(task, line, row)
    return CheckedRow(line, None, None, None, None, (fault,))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
    if twice is not None:
        raise ValueError(f"the key {twice!r} stands twice in one object; keep one of them")
    return dict(pairs)


def check_row(task: Task, line: int, row: Any) -> CheckedRow:
    """One row, checked on its own: ids and texts are not compared with those of others."""
    return _RowCheck(task, line).check(row)


class RecordChecker:
    """Takes rows one by one; keeps the sound ones as `records` and what is wrong as `faults`.

    Beyond each row's own faults: ids must differ, a text must not stand twice in one split, nor in two
    splits in any form that NFKC makes equal.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.records: list[Record] = []
        self.faults: list[Fault] = []
        self._ids: dict[str, str] = {}
        self._texts: dict[str, list[tuple[str, str, str]]] = defaultdict(list)

    def fault(self, line: int, field: str, message: str, repeated: bool = False) -> None:
        self.faults.append(Fault(line, field, message, repeated))

    def add(self, line: int, row: Any, place: str = "") -> bool:
        """Check one row; True if it became a record. `place` names it in later rows' faults."""
        return self.add_checked(check_row(self.task, line, row), place)

    def add_checked(self, row: CheckedRow, place: str = "") -> bool:
        """Take a row that was checked on its own; True if it became a record."""
        self.faults += row.faults
        before = len(self.faults)
        place = place or f"line {row.line}"
        if row.id is not None:
            if row.id in self._ids:
                self.fault(row.line, "id",
                           f"{row.id!r} is the id of {self._ids[row.id]} already; ids must differ")
            self._ids.setdefault(row.id, place)
        if row.text is not None:
            self._seen(row.line, row.text, row.split, place)
        if row.record is None or len(self.faults) > before:
            return False
        self.records.append(row.record)
        return True

    def _seen(self, line: int, text: str, split: str | None, place: str) -> None:
        for other, other_split, where in self._texts[fold(text)]:
            if split and other_split and split != other_split:
                self.fault(line, "text", f"stands in {other_split} already ({where}; equal after NFKC) and "
                                         f"here in {split}; keep it in one of them", repeated=True)
                break
            if text == other:
                self.fault(line, "text", f"is the text of {where} already; keep one of them", repeated=True)
                break
        self._texts[fold(text)].append((text, split or "", place))


class _RowCheck:
    """The check of one row: collects its faults."""

    def __init__(self, task: Task, line: int) -> None:
        self.task = task
        self.line = line
        self.faults: list[Fault] = []

    def fault(self, field: str, message: str) -> None:
        self.faults.append(Fault(self.line, field, message))

    def check(self, row: Any) -> CheckedRow:
        if not isinstance(row, dict):
            self.fault("record", f"is {_type(row)}, not a JSON object with {', '.join(FIELDS)}")
            return CheckedRow(self.line, None, None, None, None, tuple(self.faults))
        for key in row:
            if key not in (*FIELDS, "meta"):
                self.fault(str(key), f"unknown field; known are {', '.join(FIELDS)} and meta")
        id_, text, label, split = (self._string(row, f) for f in ("id", "text", "label", "split"))
        if label is not None and label not in self.task.text_labels:
            self.fault("label", f"{label!r} is not one of {', '.join(self.task.text_labels)}")
        if split is not None and split not in SPLITS:
            self.fault("split", f"{split!r} is not one of {', '.join(SPLITS)}")
            split = None
        if not isinstance(row.get("meta", {}), dict):
            self.fault("meta", f"is {_type(row['meta'])}, not an object")
        words = self._words(row, text)
        record = None if self.faults else Record(
            id_, self.task.name, text, label, tuple(words), split, row.get("meta", {})).validate(self.task)
        return CheckedRow(self.line, id_, text, split, record, tuple(self.faults))

    def _string(self, row: dict[str, Any], field: str, path: str = "") -> str | None:
        path = path or field
        value = row.get(field)
        if field not in row:
            self.fault(path, "is missing")
        elif not isinstance(value, str):
            self.fault(path, f"is {_type(value)}, not a string")
        elif not value.strip():
            self.fault(path, "is empty")
        elif any("\ud800" <= c <= "\udfff" for c in value):
            self.fault(path, "holds half a surrogate pair, which is no character; repair the export")
        else:
            return value
        return None

    def _words(self, row: dict[str, Any], text: str | None) -> list[Word]:
        values = row.get("words")
        if "words" not in row:
            self.fault("words", "is missing; write [] where there is none")
            return []
        if not isinstance(values, list):
            self.fault("words", f"is {_type(values)}, not a list; write [] where there is none")
            return []
        parts = [self._part(value, f"words[{i}]") for i, value in enumerate(values)]
        by_surface = self._by_surface(values, parts, text)
        words: list[Word] = []
        for i, (value, part) in enumerate(zip(values, parts, strict=True)):
            path = f"words[{i}]"
            if part is None:
                continue
            spans = self._spans(value, part, path, text, by_surface.get(i))
            if spans is None:
                continue
            word = Word(part.kind, value["label"], *spans)
            if word in words:
                self.fault(path, "stands twice with the same label and place; keep one of them")
            words.append(word)
        return words

    def _part(self, value: Any, path: str) -> Part | None:
        """The part a word belongs to; None (and its faults) where kind, label or shape is wrong."""
        before = len(self.faults)
        if not isinstance(value, dict):
            self.fault(path, f"is {_type(value)}, not an object with kind, label and its place")
            return None
        kinds = [p.kind for p in self.task.parts]
        kind, label = (self._string(value, f, f"{path}.{f}") for f in ("kind", "label"))
        if kind is not None and kind not in kinds:
            self.fault(f"{path}.kind", f"{kind!r} is not one of {', '.join(kinds)}")
        part = self.task.part(kind) if kind in kinds else None
        if part and label is not None and label not in part.labels:
            self.fault(f"{path}.label", f"{label!r} is not one of {', '.join(part.labels)}")
        for key in value:
            if key not in ("kind", "label", *_PLACE_KEYS):
                self.fault(f"{path}.{key}", "unknown field; known are kind, label, "
                           + ", ".join(k for pairs in PLACES.values() for pair in pairs for k in pair))
        if part:
            self._shape(value, part, path)
        return part if len(self.faults) == before else None

    def _shape(self, value: dict[str, Any], part: Part, path: str) -> None:
        pairs = PLACES[part.shape]
        wrong = [key for key in value if key in _PLACE_KEYS - {key for pair in pairs for key in pair}]
        if wrong or any(not set(pair) & set(value) for pair in pairs):
            needs = " and ".join(f"{a} (or {b})" for a, b in pairs)
            has = f"has {', '.join(wrong)}" if wrong else "lacks its place"
            self.fault(path, f"{has}, but a word of kind {part.kind!r} has the shape {part.shape}: "
                             f"it needs {needs}")

    def _by_surface(self, values: list[Any], parts: list[Part | None],
                    text: str | None) -> dict[int, tuple[Span, ...] | None]:
        """Word index -> its spans (None: not in the text), for words given by surfaces alone."""
        found: dict[int, tuple[Span, ...] | None] = {}
        surfaces: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for i, (value, part) in enumerate(zip(values, parts, strict=True)):
            if part is None or text is None or any(key in value for key, _ in PLACES[part.shape]):
                continue
            given = [value[name] for _, name in PLACES[part.shape]]
            if not all(isinstance(s, str) and s for s in given):
                continue
            if part.shape == "relation":
                found[i] = locate_relation(*given, text)
            else:
                surfaces[part.kind].append((i, given[0]))
        for items in surfaces.values():
            for (i, _), span in zip(items, locate_spans([s for _, s in items], text or ""), strict=True):
                found[i] = None if span is None else (span,)
        return found

    def _spans(self, value: dict[str, Any], part: Part, path: str, text: str | None,
               located: tuple[Span, ...] | None) -> list[Span] | None:
        """The spans of a word; None (and its faults) where one is no range of the text."""
        before = len(self.faults)
        pairs = PLACES[part.shape]
        for _, name in pairs:
            if name in value and self._string(value, name, f"{path}.{name}") is not None \
                    and text is not None and value[name] not in text:
                self.fault(f"{path}.{name}", f"{value[name]!r} is not in the text")
        by_offset = [self._offsets(value, key, name, path, text) for key, name in pairs if key in value]
        if len(self.faults) > before or text is None:
            return None
        if len(by_offset) == len(pairs):
            return [span for span in by_offset if span is not None]
        if by_offset:
            self.fault(path, "gives offsets for one end and the surface for the other; "
                             "give both ends the same way")
        elif located is None:
            name = pairs[0][1]
            self.fault(f"{path}.{name}", f"{value[name]!r} is named more often than it stands in the text")
        return list(located) if located and not by_offset else None

    def _offsets(self, value: dict[str, Any], key: str, name: str, path: str,
                 text: str | None) -> Span | None:
        field, given = f"{path}.{key}", value[key]
        if not (isinstance(given, list) and len(given) == 2 and all(type(n) is int for n in given)):
            self.fault(field,
                       f"{json.dumps(given, ensure_ascii=False)} is not [start, end], two whole numbers")
            return None
        start, end = given
        if start < 0 or start > end:
            self.fault(field, f"[{start}, {end}] is no range: start must be at least 0 and before end")
        elif start == end:
            self.fault(field, f"[{start}, {end}] is empty; the end is exclusive")
        elif text is not None and end > len(text):
            self.fault(field, f"[{start}, {end}] ends after the text, which has {len(text)} "
                              "characters; offsets count Unicode characters, not bytes")
        elif text is not None and isinstance(value.get(name), str) and value[name] != text[start:end]:
            self.fault(field, f"[{start}, {end}] reads {text[start:end]!r} in the text, but {name} is "
                              f"{value[name]!r}")
        else:
            return Span(start, end)
        return None


def _type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list",
             dict: "an object"}
    return names.get(type(value), type(value).__name__)
