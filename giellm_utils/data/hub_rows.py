"""What the fields of one row of a Hub dataset say as text, label and words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from pydantic import Field, field_validator

from giellm_utils.core.schema import SchemaError, Task
from giellm_utils.core.settings import Section
from giellm_utils.data.checker import Fault
from giellm_utils.data.hub_files import HubError
from giellm_utils.formats.base import Format, FormatError
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.registry import FORMATS, make_format

#: (text, label, words) of one row, as the source has them.
Mapped = tuple[Any, Any, Any]
#: Stands for the text while a prompt is taken apart.
_SLOT = "\0"


def _known_format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return name


class InOut(Section):
    """Fields of the `inout` layout.

    Without `text` the text is what `input` holds beside options, labels and Instruction Words; where
    `input` is the bare text, `text` names the same field. With `separator`, `input` and `output` are one
    field that holds both, cut at its last separator.
    """

    layout: Literal["inout"]
    input: str
    output: str
    text: str | None = None
    separator: str | None = None
    #: Name of a format: giellm, or giellm-card for the mark ‹ as the GIELLM model cards print it.
    format: str = "giellm"
    #: Whether spans of the output follow the escape rule of our formats; the published ones have none.
    escaped: bool = False

    _known = field_validator("format")(_known_format)

    def shown(self) -> str:
        text = f", text {self.text}" if self.text and self.text != self.input else ""
        if self.separator:
            return f"{self.input} cut at {self.separator!r} as {self.format}"
        return f"input {self.input}{text}, output {self.output} as {self.format}"


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

    def shown(self) -> str:
        return f"text {self.text}, label {self.label}, words {self.words}"


class Auto(Section):
    """Fields that could not be seen: found by their names and by what the first rows say (hub_columns)."""

    layout: Literal["auto"]
    formats: list[str] = Field(default_factory=lambda: list(FORMATS), min_length=1)

    @field_validator("formats")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return [_known_format(n) for n in names]


@dataclass(frozen=True)
class Source:
    """How the source writes a task: `task` is ours, `asked` has its labels as its prompts offer them,
    `written` every label that its outputs may hold. `loose`: its labels are not known yet, so any stand."""

    task: Task
    asked: Task
    written: Task
    loose: bool = False


def source_of(task: Task, text_labels: dict[str, str], word_labels: dict[str, str],
              instructions: dict[str, str], loose: bool = False) -> Source:
    """`task` with the source's own labels (source label -> ours) and Instruction Words (kind -> word).

    Raises HubError where these could not be told apart in a target.
    """
    def named(ours: tuple[str, ...], names: dict[str, str], both: bool) -> tuple[str, ...]:
        found: list[str] = []
        for label in ours:
            theirs = [s for s, o in names.items() if o == label]
            found += [*theirs, *([label] if both or not theirs else [])]
        return tuple(dict.fromkeys(found))

    def task_of(both: bool) -> Task:
        parts = tuple(replace(p, instruction=instructions.get(p.kind, p.instruction),
                              labels=named(p.labels, word_labels, both)) for p in task.parts)
        return replace(task, text_labels=named(task.text_labels, text_labels, both), parts=parts)

    try:
        return Source(task, task_of(False), task_of(True), loose)
    except SchemaError as error:
        raise HubError(f"the source's labels or Instruction Words: {error}") from None


def row_reader(fields: InOut | Columns, source: Source) -> Callable[[dict[str, Any]], Mapped | Fault]:
    """What maps a row of the source to (text, label, words), words as the data file of a user has them.

    It gives a Fault (line 0) for a row that cannot be read. Raises HubError for a format that does not fit
    the task.
    """
    if isinstance(fields, Columns):
        return partial(_columns, fields=fields, task=source.task)
    try:
        fmt, asked = make_format(fields.format, source.written), make_format(fields.format, source.asked)
    except FormatError as error:
        raise HubError(str(error)) from None
    return partial(_inout, fields=fields, fmt=fmt, loose=source.loose,
                   text_of=Prompt(asked, source.loose).text)


class Prompt:
    """The way back from a format's prompt to its text, whatever white space stands between the parts."""

    def __init__(self, fmt: Format, loose: bool = False) -> None:
        before, *between = fmt.prompt(_SLOT).split(_SLOT)
        #: What follows the text (last).
        self.end = between[-1]
        pieces = [r"(?P<text>.+?)", *["(?P=text)"] * (len(between) - 1)]
        pattern = self._piece(before, loose) + "".join(
            piece + self._piece(fixed, loose) for piece, fixed in zip(pieces, between, strict=True))
        self._pattern = re.compile(pattern, re.S)

    @staticmethod
    def _piece(fixed: str, loose: bool) -> str:
        """A fixed piece of a prompt; `loose`, its lists of labels stand for lists of any."""
        lists = r"((?:[<‹][^<>‹›]+>)+|(?::[^:;]+;)+)"
        found = []
        for i, part in enumerate(re.split(lists, fixed)):
            if loose and i % 2:
                found.append(r"(?:[<‹][^<>‹›]+>\s*)+" if part[0] in "<‹" else r"(?::[^:;]+;\s*)+")
            else:
                found.append(r"\s*".join(re.escape(c) for c in part if not c.isspace()))
        return r"\s*" + r"\s*".join(filter(None, found)) + r"\s*"

    def text(self, prompt: str) -> str | None:
        """The text of `prompt`, white space at its ends taken off; None for no prompt of this format."""
        found = self._pattern.fullmatch(prompt)
        return found["text"] if found else None


def _inout(row: dict[str, Any], fields: InOut, fmt: Format, loose: bool,
           text_of: Callable[[str], str | None]) -> Mapped | Fault:
    """(text, label, words) of an in/out row; a Fault (line 0) where the output cannot be read."""
    for name in filter(None, (fields.input, fields.output, fields.text)):
        if not isinstance(row.get(name), str):
            return Fault(0, name, f"is missing or no string; the row has {', '.join(map(str, row))}")
    given, output = row[fields.input], row[fields.output].strip()
    if fields.separator:
        given, cut, output = row[fields.input].rpartition(fields.separator)
        if not cut:
            return Fault(0, fields.input, f"holds no {fields.separator!r}")
    text = row[fields.text] if fields.text else text_of(given)
    if text is None:
        return Fault(0, fields.input, f"does not end with {fmt.prompt('')}; check "
                                      "format, the task's labels and their order")
    answer = fmt.parse(_plain(output.strip(), fields, fmt), "joint", text)
    label = answer.label
    for problem in answer.problems:
        if not loose or problem.name not in ("unknown_text_label", "unknown_word_label"):
            return Fault(0, fields.output, f"{problem.name} ({problem.detail!r})")
        if problem.name == "unknown_text_label":
            label = problem.detail
    words = [{"kind": item.kind, "label": item.label,
              **dict(zip(("surface",) if len(item.surfaces) == 1 else ("head_text", "tail_text"),
                         item.surfaces, strict=True))} for item in answer.items]
    return text, label, words


def _plain(output: str, fields: InOut, fmt: Format) -> str:
    """`output` as the format reads it: the SLG code writes ：type；name in full width, and the published
    formats have no escapes."""
    if fields.escaped:
        return output
    output = re.sub(r"：([^：；:;]+)；", r":\1;", output)
    return output.replace("\\", "\\\\") if isinstance(fmt, GiellmFormat) else output


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
