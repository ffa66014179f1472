"""An output of a model that was not trained on a format, read with good will.

What is mended is form alone: code fences and quotes around the answer, talk before and after it, wide
marks, blanks around fields, a label without its marks, other ways of saying that there is nothing. No
label and no span is changed, added or put into another order. Scores of answers read so stand beside
those of the strict reading, never in their place.
"""

from __future__ import annotations

import re

from giellm_utils.core.answer import Answer
from giellm_utils.core.schema import Level, Part, Task
from giellm_utils.formats.base import Format
from giellm_utils.formats.giellm import GiellmFormat

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_QUOTES = {"「": "」", "『": "』", '"': '"', "'": "'", "`": "`", "“": "”"}
#: Wide marks are narrowed only where the text that is read holds none of them.
_WIDE = {"＜": "<", "＞": ">", "：": ":", "；": ";"}
#: What models write for nothing to extract, besides the task's own word.
_NOTHING = ("なし", "無し", "ない", "該当なし", "None", "none", "null")
_SEPARATOR = re.compile(r"(?<!\\):")
_FIELD = re.compile(r"\s*(?<!\\);\s*")


def read_leniently(fmt: Format, output: str, level: Level = "joint", text: str = "") -> Answer:
    """What `output` says of `text`, its form mended first; total like `parse`. `raw` stays the output.

    Formats other than GIELLM's, text label first, lose only fences, quotes and blanks around the answer.
    """
    tidy = _unwrapped(output)
    if isinstance(fmt, GiellmFormat) and not fmt.words_first:
        tidy = _mended(fmt, tidy, level, text)
    answer = fmt.parse(tidy, level, text)
    return Answer(answer.label, answer.items, answer.problems, output)


def _unwrapped(output: str) -> str:
    """The first code fence's inside, where there is one, without quotes and blanks around it."""
    if fence := _FENCE.search(output):
        output = fence[1]
    output = output.strip()
    while len(output) > 1 and _QUOTES.get(output[0]) == output[-1]:
        output = output[1:-1].strip()
    return output


def _mended(fmt: GiellmFormat, output: str, level: Level, text: str) -> str:
    """A string that the format can read, made of what `output` holds."""
    task = fmt.task
    for wide, narrow in _WIDE.items():
        if wide not in text:
            output = output.replace(wide, narrow)
    head, sections = _cut(task, "".join(_answer_lines(fmt, output)))
    if not sections and len(task.parts) == 1 and ":" in head:
        # One part needs no Instruction Word to be known.
        head, _, body = head.partition(":")
        sections = {task.parts[0].instruction: f":{body}"}
    label = "" if level == "words" else _label(fmt, head)
    if level == "text":
        return label
    return label + "".join(p.instruction + _section(p, task.none, sections[p.instruction])
                           for p in task.parts if p.instruction in sections)


def _answer_lines(fmt: GiellmFormat, output: str) -> list[str]:
    """The lines of the answer: from the first that looks like one, as long as they go on looking so."""
    words = [p.instruction for p in fmt.task.parts]

    def looks(line: str) -> bool:
        return line.startswith((fmt.open, ":", *words)) or any(word in line for word in words)

    lines = [line.strip() for line in output.split("\n") if line.strip()]
    start = next((i for i, line in enumerate(lines) if looks(line)), 0)
    end = next((i for i in range(start + 1, len(lines)) if not looks(lines[i])), len(lines))
    if start and lines[start].startswith((":", *words)):
        # The label may stand in a line of its own, without marks.
        start -= any(label in lines[start - 1] for label in fmt.task.text_labels)
    return lines[start:end]


def _cut(task: Task, output: str) -> tuple[str, dict[str, str]]:
    """What stands before the first Instruction Word, and what follows each; the first of each counts."""
    pattern = "|".join(rf"(?<!\\){re.escape(p.instruction)}" for p in task.parts)
    head, *rest = re.split(f"({pattern})", output)
    sections: dict[str, str] = {}
    for word, body in zip(rest[::2], rest[1::2], strict=True):
        sections.setdefault(word, body)
    return head, sections


def _label(fmt: GiellmFormat, head: str) -> str:
    """The first text label that stands in `head`, in its marks; the longest of those that begin there.
    Without one, `head` as it is."""
    found = [(head.find(label), -len(label), label) for label in fmt.task.text_labels if label in head]
    return fmt.mark(min(found)[2]) if found else head


def _section(part: Part, none: str, body: str) -> str:
    """One part's items without blanks and empty fields; `:無い;` for what says that there is nothing."""
    if body.strip(" \t:;。.()（）") in (none, *_NOTHING):
        return f":{none};"
    wanted = 2 if part.shape == "span" else 3
    items = []
    for chunk in _SEPARATOR.split(body):
        fields = _FIELD.split(chunk.strip())
        while len(fields) > wanted and not fields[-1]:
            fields.pop()
        if any(fields):
            items.append(":" + ";".join(fields))
    return "".join(items)
