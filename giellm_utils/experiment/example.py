"""The sentence of the opening picture: what was read and written, and where in it the labels stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from giellm_utils.core.answer import Answer, items_from_json
from giellm_utils.core.artifacts import Example
from giellm_utils.data.offsets import locate
from giellm_utils.formats.base import Format
from giellm_utils.formats.giellm import GiellmFormat


def find_example(fmt: Format, rows: Iterable[Mapping[str, Any]]) -> Example | None:
    """The first text of 20 to 45 characters with two or three words that was got wholly right at level
    joint. Chosen among right ones, and to be called so. None for a format whose texts are not ours or end
    with their label.

    `rows` are those of a predictions file.
    """
    if not isinstance(fmt, GiellmFormat) or fmt.words_first:
        return None
    for row in rows:
        answer, gold = Answer.from_json(row["answer"]), row["gold"]
        right = (not answer.problems and answer.label == gold["label"]
                 and answer.items == items_from_json(gold["items"]))
        if right and 20 <= len(row["text"]) <= 45 and 2 <= len(answer.items) <= 3:
            return example(fmt, row["text"], answer)
    return None


def example(fmt: GiellmFormat, text: str, answer: Answer) -> Example:
    """An Answer without problems at level joint, with the places of its parts in text, prompt and output."""
    words = [word for word in locate(answer.items, text) if word and word.tail is None]
    head = fmt.mark(answer.label)
    prompt, prompt_spans, at = fmt.prompt(text, "joint"), [], len(text)
    for piece in map(fmt.mark, fmt.task.text_labels):
        prompt_spans.append((at, at + len(piece)))
        at += len(piece)
    prompt_spans.append((len(prompt) - len(fmt.instructions), len(prompt)))
    item_spans, at = [], len(head)
    for item in answer.items:
        first, *tail = map(fmt.escape, item.surfaces)
        piece = ";".join((first, item.label, *tail) if tail else (item.label, first))
        start = answer.raw.index(piece, at)
        at = start + len(piece)
        if not tail:
            item_spans.append((start, at, item.label))
    return Example(
        task=fmt.task.name, text=text, label=answer.label, prompt=prompt,
        output=answer.raw, spans=[(w.span.start, w.span.end, w.label) for w in words],
        label_span=(0, len(head)), item_spans=item_spans, prompt_spans=prompt_spans)
