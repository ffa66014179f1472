"""TODO"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from giellm_utils.core.schema import Part, Record, Shape, Span, Split, Task, Word
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.leakage import fold
from giellm_utils.data.offsets import locate_relation, locate_spans

SPLITS: tuple[str, ...] = get_args(Split)
FIELDS = ("id", "text", "label", "words", "split")
#: Where a word stands: its offsets and, beside or instead of them, its surfaces.
PLACES: dict[Shape, tuple[tuple[str, str], ...]] = {
    "span": (("span", "surface"),), "relation": (("head", "head_text"), ("tail", "tail_text"))}
_PLACE_KEYS = {key for pairs in PLACES.values() for pair in pairs for key in pair}


class UserDataError(SourceError):
    """A dataset of the user's that cannot be loaded; the message names the file and the first fault."""


@dataclass(frozen=True)
class Fault:
    """One fault of a data file: its line (from 1), the field, what is wrong and what to do."""

    line: int
    field: str
    message: str

    def shown(self, file: str | Path) -> str:
        return f"{file}:{self.line}: {self.field}: {self.message}"


def read_records(task: Task, data_file: str | Path) -> tuple[list[Record], list[Fault]]:
    """The sound records of `data_file` and every fault of the others."""
    try:
        content = Path(data_file).read_bytes()
    except OSError as error:
        raise UserDataError(f"{data_file} cannot be read ({error.strerror}); check the path") from None
    checker = RecordChecker(task)
    # Not splitlines(): JSON strings may hold U+2028 and its kin unescaped.
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
        except UnicodeDecodeError:
            checker.fault(number, "encoding", "not UTF-8; save the file as UTF-8")
        except json.JSONDecodeError as error:
            checker.fault(number, "json", f"not valid JSON ({error.msg} at column {error.colno}); "
                                          "each line must be one whole JSON object")
        except (ValueError, RecursionError) as error:
            checker.fault(number, "json", f"cannot be read ({error})")
        else:
            checker.add(number, row)
    if not checker.records and not checker.faults:
        checker.fault(1, "file", "holds no record; write one JSON object a line")
    return checker.records, checker.faults


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
    if twice is not None:
        raise ValueError(f"the key {twice!r} stands twice in one object; keep one of them")
    return dict(pairs)


class RecordChecker:
    """Takes rows one by one; keeps the sound ones as `records` and what is wrong as `faults`."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.records: list[Record] = []
        self.faults: list[Fault] = []
        self._ids: dict[str, str] = {}
        self._texts: dict[str, list[tuple[str, str, str]]] = defaultdict(list)

    def fault(self, line: int, field: str, message: str) -> None:
        self.faults.append(Fault(line, field, message))

    def add(self, line: int, row: Any, place: str = "") -> bool:
        """Check one row; True if it became a record. `place` names it in later rows' faults."""
        before = len(self.faults)
        place = place or f"line {line}"
        if not isinstance(row, dict):
            self.fault(line, "record", f"is {_type(row)}, not a JSON object with {', '.join(FIELDS)}")
            return False
        for key in row:
            if key not in (*FIELDS, "meta"):
                self.fault(line, str(key), f"unknown field; known are {', '.join(FIELDS)} and meta")
        id_, text, label, split = (self._string(line, row, f) for f in ("id", "text", "label", "split"))
        if id_ is not None:
            if id_ in self._ids:
                self.fault(line, "id", f"{id_!r} is the id of {self._ids[id_]} already; ids must differ")
            self._ids.setdefault(id_, place)
        if label is not None and label not in self.task.text_labels:
            self.fault(line, "label", f"{label!r} is not one of {', '.join(self.task.text_labels)}")
        if split is not None and split not in SPLITS:
            self.fault(line, "split", f"{split!r} is not one of {', '.join(SPLITS)}")
        if text is not None:
            self._seen(line, text, split, place)
        if not isinstance(row.get("meta", {}), dict):
            self.fault(line, "meta", f"is {_type(row['meta'])}, not an object")
        words = self._words(line, row, text)
        if len(self.faults) > before:
            return False
        record = Record(id_, self.task.name, text, label, tuple(words), split, row.get("meta", {}))
        self.records.append(record.validate(self.task))
        return True

    def _string(self, line: int, row: dict[str, Any], field: str, path: str = "") -> str | None:
        path = path or field
        value = row.get(field)
        if field not in row:
            self.fault(line, path, "is missing")
        elif not isinstance(value, str):
            self.fault(line, path, f"is {_type(value)}, not a string")
        elif not value.strip():
            self.fault(line, path, "is empty")
        elif any("\ud800" <= c <= "\udfff" for c in value):
            self.fault(line, path, "holds half a surrogate pair, which is no character; repair the export")
        else:
            return value
        return None

    def _seen(self, line: int, text: str, split: str | None, place: str) -> None:
        for other, other_split, where in self._texts[fold(text)]:
            if split in SPLITS and other_split in SPLITS and split != other_split:
                self.fault(line, "text", f"stands in {other_split} already ({where}; equal after NFKC) and "
                                         f"here in {split}; keep it in one of them")
                break
            if text == other:
                self.fault(line, "text", f"is the text of {where} already; keep one of them")
                break
        self._texts[fold(text)].append((text, split or "", place))

    def _words(self, line: int, row: dict[str, Any], text: str | None) -> list[Word]:
        values = row.get("words")
        if "words" not in row:
            self.fault(line, "words", "is missing; write [] where there is none")
            return []
        if not isinstance(values, list):
            self.fault(line, "words", f"is {_type(values)}, not a list; write [] where there is none")
            return []
        parts = [self._part(line, value, f"words[{i}]") for i, value in enumerate(values)]
        by_surface = self._by_surface(values, parts, text)
        words: list[Word] = []
        for i, (value, part) in enumerate(zip(values, parts, strict=True)):
            path = f"words[{i}]"
            if part is None:
                continue
            spans = self._spans(line, value, part, path, text, by_surface.get(i))
            if spans is None:
                continue
            word = Word(part.kind, value["label"], *spans)
            if word in words:
                self.fault(line, path, "stands twice with the same label and place; keep one of them")
            words.append(word)
        return words

    def _part(self, line: int, value: Any, path: str) -> Part | None:
        """The part a word belongs to; None (and its faults) where kind, label or shape is wrong."""
        before = len(self.faults)
        if not isinstance(value, dict):
            self.fault(line, path, f"is {_type(value)}, not an object with kind, label and its place")
            return None
        kinds = [p.kind for p in self.task.parts]
        kind, label = (self._string(line, value, f, f"{path}.{f}") for f in ("kind", "label"))
        if kind is not None and kind not in kinds:
            self.fault(line, f"{path}.kind", f"{kind!r} is not one of {', '.join(kinds)}")
        part = self.task.part(kind) if kind in kinds else None
        if part and label is not None and label not in part.labels:
            self.fault(line, f"{path}.label", f"{label!r} is not one of {', '.join(part.labels)}")
        for key in value:
            if key not in ("kind", "label", *_PLACE_KEYS):
                self.fault(line, f"{path}.{key}", "unknown field; known are kind, label, "
                           + ", ".join(k for pairs in PLACES.values() for pair in pairs for k in pair))
        if part:
            wanted = {key for pair in PLACES[part.shape] for key in pair}
            wrong = [key for key in value if key in _PLACE_KEYS - wanted]
            if wrong or any(not set(pair) & set(value) for pair in PLACES[part.shape]):
                needs = " and ".join(f"{a} (or {b})" for a, b in PLACES[part.shape])
                has = f"has {', '.join(wrong)}" if wrong else "lacks its place"
                self.fault(line, path, f"{has}, but a word of kind {part.kind!r} has the shape "
                                       f"{part.shape}: it needs {needs}")
        return part if len(self.faults) == before else None

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

    def _spans(self, line: int, value: dict[str, Any], part: Part, path: str, text: str | None,
               located: tuple[Span, ...] | None) -> list[Span] | None:
        """The spans of a word; None (and its faults) where one is no range of the text."""
        before = len(self.faults)
        pairs = PLACES[part.shape]
        for key, name in pairs:
            if name in value and self._string(line, value, name, f"{path}.{name}") is not None \
                    and text is not None and value[name] not in text:
                self.fault(line, f"{path}.{name}", f"{value[name]!r} is not in the text")
        by_offset = [self._offsets(line, value, key, name, path, text) for key, name in pairs if key in value]
        if len(self.faults) > before or text is None:
            return None
        if len(by_offset) == len(pairs):
            return [span for span in by_offset if span is not None]
        if by_offset:
            self.fault(line, path, "gives offsets for one end and the surface for the other; "
                                   "give both ends the same way")
        elif located is None:
            name = pairs[0][1]
            self.fault(line, f"{path}.{name}",
                       f"{value[name]!r} is named more often than it stands in the text")
        return list(located) if located and not by_offset else None

    def _offsets(self, line: int, value: dict[str, Any], key: str, name: str, path: str,
                 text: str | None) -> Span | None:
        field, given = f"{path}.{key}", value[key]
        if not (isinstance(given, list) and len(given) == 2 and all(type(n) is int for n in given)):
            self.fault(line, field,
                       f"{json.dumps(given, ensure_ascii=False)} is not [start, end], two whole numbers")
            return None
        start, end = given
        if start < 0 or start > end:
            self.fault(line, field, f"[{start}, {end}] is no range: start must be at least 0 and before end")
        elif start == end:
            self.fault(line, field, f"[{start}, {end}] is empty; the end is exclusive")
        elif text is not None and end > len(text):
            self.fault(line, field, f"[{start}, {end}] ends after the text, which has {len(text)} "
                                    "characters; offsets count Unicode characters, not bytes")
        elif text is not None and isinstance(value.get(name), str) and value[name] != text[start:end]:
            self.fault(line, field, f"[{start}, {end}] reads {text[start:end]!r} in the text, but {name} is "
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
