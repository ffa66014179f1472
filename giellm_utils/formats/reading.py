"""What all formats read alike: the text label in marks, a list of items, spans that are not in the text.

Each function appends what it finds wrong to `problems` and returns what can be read all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from giellm_utils.core.answer import Problem
from giellm_utils.core.schema import Item, Part, Task
from giellm_utils.formats.base import FormatError

#: Cuts one item into its fields, at most so many; and takes the escapes out of a span, if there are any.
Fields = Callable[[str, int], list[str]]
Plain = Callable[[str], tuple[str, bool]]


def marked_label(task: Task, output: str, marks: tuple[str, str], words: Sequence[str],
                 problems: list[Problem]) -> tuple[str | None, str]:
    """The text label at the start of `output`, None where there is none, and what follows it.

    Without a marked label the rest starts at the first of `words` (Instruction Words) that occurs.
    """
    opening, closing = marks
    end = output.find(closing, len(opening))
    if not output.startswith(opening) or end < 0:
        problems.append(Problem("no_text_label", output[:20]))
        starts = [i for word in words if (i := output.find(word)) >= 0]
        return None, output[min(starts, default=0):]
    return known_label(task, output[len(opening):end], problems), output[end + len(closing):]


def label_at_end(task: Task, output: str, marks: tuple[str, str],
                 problems: list[Problem]) -> tuple[str | None, str]:
    """The text label at the end of `output`, None where there is none, and what stands before it.

    A label holds no mark, so the last opening one is its own, whatever a span before it holds.
    """
    opening, closing = marks
    start = output.rfind(opening, 0, len(output) - len(closing))
    if not output.endswith(closing) or start < 0:
        problems.append(Problem("no_text_label", output[-20:]))
        return None, output
    return known_label(task, output[start + len(opening):-len(closing)], problems), output[:start]


def known_label(task: Task, label: str, problems: list[Problem]) -> str | None:
    """`label`, or None where the task has no such text label."""
    if label in task.text_labels:
        return label
    problems.append(Problem("unknown_text_label", label))
    return None


def whole_mark(task: Task, label: str | None, output: str, mark: Callable[[str], str]) -> str:
    """`label` in its marks; where there is none, for `output` was cut within it, the first of the task's that
    begins so. Raises FormatError where none does: `output` came from no grammar of the task's."""
    known = map(mark, task.text_labels)
    found = mark(label) if label else next((m for m in known if m.startswith(output)), "")
    if not found:
        raise FormatError(f"output {output[:20]!r} begins with no text label of task {task.name}; give the "
                          "beginning of an output of its grammar")
    return found


def read_items(part: Part, none: str, body: str, chunks: Sequence[str], fields: Fields, plain: Plain,
               problems: list[Problem]) -> list[Item]:
    """The items of one part; `chunks` is its `body` cut at every `:`, so the first one must be empty."""
    if body == f":{none};":
        return []
    head, *chunks = chunks
    if head or not chunks:
        problems.append(Problem("bad_item", head or part.instruction))
    items = []
    for chunk in chunks:
        if chunk == f"{none};":
            problems.append(Problem("none_with_items", body))
        elif item := _item(part, chunk, fields, plain, problems):
            items.append(item)
    return items


def _item(part: Part, chunk: str, fields: Fields, plain: Plain, problems: list[Problem]) -> Item | None:
    wanted = 2 if part.shape == "span" else 3
    found = fields(chunk, wanted)
    if len(found) != wanted:
        problems.append(Problem("bad_item", chunk))
        return None
    label, raw = (found[0], found[1:]) if part.shape == "span" else (found[1], [found[0], found[2]])
    if label not in part.labels:
        problems.append(Problem("unknown_word_label", label))
    spans = [plain(r) for r in raw]
    problems += [Problem("bad_escape", r) for r, (_, right) in zip(raw, spans, strict=True) if not right]
    surfaces = tuple(surface for surface, _ in spans)
    if not all(surfaces):
        problems.append(Problem("empty_span", chunk))
        return None
    return Item(part.kind, label, surfaces)


def check_in_text(items: Iterable[Item], text: str | None, problems: list[Problem]) -> None:
    """Name every surface that is no substring of `text`, where a text is given."""
    if text is not None:
        problems += [Problem("not_in_text", s) for i in items for s in i.surfaces if s not in text]
