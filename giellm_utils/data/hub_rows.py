"""Rows of a Hub dataset: its files read, and what their fields say as text, label and words."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from giellm_utils.core.files import read_json, StorageError
from giellm_utils.core.schema import Task
from giellm_utils.core.settings import Section
from giellm_utils.data.checker import Fault
from giellm_utils.data.fetch import SourceError
from giellm_utils.formats.base import Format, FormatError
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.registry import FORMATS, make_format

SUFFIXES = (".jsonl", ".json", ".csv")
#: (text, label, words) of one row, as the source has them.
Mapped = tuple[Any, Any, Any]


class HubError(SourceError):
    """A Hub dataset that cannot be had or read; one sentence, with what to do."""


class InOut(Section):
    """Fields of the `inout` layout.

    Without `text` the text is `input` less options and Instruction Words, which our own formats allow.
    """

    layout: Literal["inout"]
    input: str
    output: str
    text: str | None = None
    #: Name of a format: giellm, or giellm-card for the mark ‹ as the GIELLM model cards print it.
    format: str = "giellm"
    #: Whether spans of the output follow the escape rule of our formats; the published ones have none.
    escaped: bool = False

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"must be one of {', '.join(FORMATS)}")
        return name


class Columns(Section):
    """Fields of the `fields` layout; `words` is a list of objects (in .csv: that list as JSON)."""

    layout: Literal["fields"]
    text: str
    label: str
    words: str
    #: Key of a word's kind; without it every word is of the task's first part.
    kind: str | None = None
    word_label: str = "label"
    #: Keys of a word's place; the ones that are there are used.
    span: str = "span"
    surface: str = "surface"
    head: str = "head"
    tail: str = "tail"
    head_text: str = "head_text"
    tail_text: str = "tail_text"


def read_rows(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """(line or row number from 1, row) of a .jsonl, .json or .csv file."""
    try:
        if path.suffix == ".csv":
            with open(path, encoding="utf-8-sig", newline="") as file:
                yield from enumerate(csv.DictReader(file), 1)
        elif path.suffix == ".json":
            rows = read_json(path)
            if not isinstance(rows, list):
                raise HubError(f"{name}: holds {type(rows).__name__} where a list of objects is expected; "
                               "if it has one object a line, call it .jsonl")
            yield from enumerate(rows, 1)
        else:
            with open(path, encoding="utf-8-sig", newline="\n") as file:
                yield from ((i, json.loads(line)) for i, line in enumerate(file, 1) if line.strip())
    except (json.JSONDecodeError, UnicodeDecodeError, csv.Error, StorageError) as error:
        raise HubError(f"{name}: cannot be read as {path.suffix[1:]} in UTF-8 ({error})") from None


def row_reader(fields: InOut | Columns, task: Task) -> Callable[[dict[str, Any]], Mapped | Fault]:
    """What maps a row of the source to (text, label, words), words as the data file of a user has them.

    It gives a Fault (line 0) for a row that cannot be read. Raises HubError for a format that does not fit
    the task or from whose prompts no text can be cut.
    """
    if isinstance(fields, Columns):
        return partial(_columns, fields=fields, task=task)
    try:
        fmt = make_format(fields.format, task)
    except FormatError as error:
        raise HubError(str(error)) from None
    if fields.text is None and not isinstance(fmt, GiellmFormat):
        raise HubError(f"a text cannot be cut out of a prompt of format {fields.format}; name the field "
                       "that holds it as fields.text")
    return partial(_inout, fields=fields, fmt=fmt)


def _inout(row: dict[str, Any], fields: InOut, fmt: Format) -> Mapped | Fault:
    """(text, label, words) of an in/out row; a Fault (line 0) where the output cannot be read."""
    for name in filter(None, (fields.input, fields.output, fields.text)):
        if not isinstance(row.get(name), str):
            return Fault(0, name, f"is missing or no string; the row has {', '.join(map(str, row))}")
    text = row[fields.text] if fields.text else _strip_prompt(row[fields.input], fmt)
    if text is None:
        return Fault(0, fields.input, f"does not end with {fmt.options}{fmt.instructions}; check "
                                      "format, the task's labels and their order")
    output = row[fields.output].strip()
    if isinstance(fmt, GiellmFormat) and not fields.escaped:
        output = output.replace("\\", "\\\\")
    answer = fmt.parse(output, "joint", text)
    if answer.problems:
        problem = answer.problems[0]
        return Fault(0, fields.output, f"{problem.name} ({problem.detail!r})")
    words = [{"kind": item.kind, "label": item.label,
              **dict(zip(("surface",) if len(item.surfaces) == 1 else ("head_text", "tail_text"),
                         item.surfaces, strict=True))} for item in answer.items]
    return text, answer.label, words


def _strip_prompt(prompt: str, fmt: GiellmFormat) -> str | None:
    """The text of a prompt; whether white space stands between the parts is not known of the cards."""
    rest = prompt.strip()
    for suffix in (fmt.instructions, fmt.options):
        if not rest.endswith(suffix):
            return None
        rest = rest.removesuffix(suffix).rstrip()
    return rest


def _columns(row: dict[str, Any], fields: Columns, task: Task) -> Mapped | Fault:
    """(text, label, words) of a row with separate fields; a Fault (line 0) where one is missing."""
    for name in (fields.text, fields.label, fields.words):
        if name not in row:
            return Fault(0, name, f"no such field; the row has {', '.join(map(str, row))}")
    words = row[fields.words]
    if isinstance(words, str):
        try:
            words = json.loads(words)
        except json.JSONDecodeError:
            return Fault(0, fields.words, "is a string that is no JSON; words must be a list of objects")
    if isinstance(words, list) and all(isinstance(w, dict) for w in words):
        words = [_word(w, fields, task) for w in words]
    label = row[fields.label]
    # A numeric class is a label only through `text_labels`; bool is left for the checker to refuse.
    return row[fields.text], str(label) if type(label) is int else label, words


def _word(word: dict[str, Any], fields: Columns, task: Task) -> dict[str, Any]:
    part = next((p for p in task.parts if p.kind == word.get(fields.kind or "")), task.parts[0])
    keys = ("span", "surface") if part.shape == "span" else ("head", "tail", "head_text", "tail_text")
    mapped = {key: word[name] for key in keys if (name := getattr(fields, key)) in word}
    for end, name in (("head", "head_text"), ("tail", "tail_text")):
        # Many datasets call the surface of an end `head` or `tail`.
        if isinstance(mapped.get(end), str):
            mapped[name] = mapped.pop(end)
    return {"kind": word.get(fields.kind) if fields.kind else part.kind,
            "label": word.get(fields.word_label), **mapped}
