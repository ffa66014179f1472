"""The columns of a dataset that nobody here could look at: found by name, proved by its first rows.

Every pairing of columns that bear a name of the lists below is tried with every format; the one that reads
most of the first hundred rows (of a tie, the first in the lists) is taken if it reads nine in ten. docs/
your-own-data.md holds the same lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from giellm_utils.core.schema import SchemaError, Task
from giellm_utils.data.checker import Fault
from giellm_utils.data.hub_files import HubError
from giellm_utils.data.hub_rows import Auto, Columns, InOut, Mapped, row_reader, Source

INPUTS = ("in", "input", "prompt", "instruction", "source", "src", "question")
OUTPUTS = ("out", "output", "target", "tgt", "completion", "response", "answer", "label")
TEXTS = ("text", "sentence", "content", "review", "body", "input", "in", "source", "instruction")
LABELS = ("label", "sc", "class", "category", "text_label", "topic", "polarity", "sentiment")
WORDS = ("words", "entities", "ner", "items", "spans", "relations", "events")
WORD_LABELS = ("type", "label", "category", "polarity", "sentiment", "class")
SURFACES = ("surface", "name", "word", "text", "mention", "entity")
KINDS = ("kind", "task", "level")
#: Between prompt and target where the SLG code puts both into one column.
SEPARATOR = ",,"
#: So many rows are looked at, and this share of them must be read.
FIRST, ENOUGH = 100, 0.9
#: A label that stands in fewer rows than this is a slip rather than a label.
RARE = 2
_SHOWN = 80

#: (row number, row) as hub_files.read_rows gives them; what says why a mapped row is no record, or None.
Rows = Sequence[tuple[int, Any]]
Check = Callable[[Mapped], Fault | None]


@dataclass(frozen=True)
class Reading:
    """One way to read the rows: the fields, how many of the first it reads, the first fault."""

    fields: InOut | Columns
    read: int
    fault: Fault | None

    @property
    def rank(self) -> tuple[int, int]:
        """What the best of several has most of: rows read, then how far its first fault lets one read."""
        if self.fault is None:
            return self.read, 3
        if isinstance(self.fields, InOut) and self.fault.field == self.fields.input:
            return self.read, 0
        return self.read, 1 if self.fault.message.startswith("no_text_label") else 2


def columns(rows: Rows) -> list[str]:
    """The names of the fields of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(str(name) for _, row in rows if isinstance(row, dict) for name in row))


def find_fields(rows: Rows, auto: Auto, source: Source, check: Check, name: str, yaml: str
                ) -> InOut | Columns:
    """The fields of file `name` by its first `rows`; prints its columns and what they were read as.

    Raises HubError with the columns, a row and the lines to write into `yaml` where nothing fits.
    """
    names = columns(rows)
    print(f"{name}: columns {', '.join(names)}")
    best: Reading | None = None
    for fields in _candidates(names, rows, auto):
        found = _try(fields, rows, source, check)
        if found and (best is None or found.rank > best.rank):
            best = found
        if best and best.read == len(rows):
            break
    if best is None or not rows or best.read < ENOUGH * len(rows):
        raise HubError(_what_to_write(name, names, rows, best, yaml))
    print(f"{name}: {best.fields.shown()} reads {best.read} of the first {len(rows)} rows")
    return best.fields


def _candidates(names: Sequence[str], rows: Rows, auto: Auto) -> Iterator[InOut | Columns]:
    outputs, texts = _named(names, OUTPUTS), _named(names, TEXTS)
    for output in outputs:
        # A prompt of the format, then a bare text, which may have a column beside the prompt.
        inputs = [(i, None) for i in _named(names, INPUTS)] + [(t, t) for t in texts]
        for (given, text), fmt in product(inputs, auto.formats):
            if output != given:
                yield InOut(layout="inout", input=given, output=output, text=text, format=fmt)
    for name, fmt in product(names, auto.formats):
        if any(isinstance(row, dict) and SEPARATOR in str(row.get(name)) for _, row in rows):
            yield InOut(layout="inout", input=name, output=name, separator=SEPARATOR, format=fmt)
    for text, label, words in product(texts, _named(names, LABELS), _named(names, WORDS)):
        if len({text, label, words}) == 3:
            yield _separate(text, label, words, rows)


def _separate(text: str, label: str, words: str, rows: Rows) -> Columns:
    """Separate columns, the keys of their words by name."""
    lists = (row.get(words) for _, row in rows if isinstance(row, dict))
    keys = list(dict.fromkeys(key for found in lists if isinstance(found, list)
                              for word in found if isinstance(word, dict) for key in word))
    chosen = {field: _named(keys, known)[0] for field, known in (
        ("word_label", WORD_LABELS), ("surface", SURFACES), ("kind", KINDS)) if _named(keys, known)}
    return Columns(layout="fields", text=text, label=label, words=words, **chosen)


def _named(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The `names` that are `known` (any case), in the order of `known`."""
    return [n for k in known for n in names if n.strip().lower() == k]


def _try(fields: InOut | Columns, rows: Rows, source: Source, check: Check) -> Reading | None:
    """How many rows `fields` read; None where their format does not fit the task."""
    try:
        read = row_reader(fields, source)
    except HubError:
        return None
    count, first = 0, None
    for number, row in rows:
        mapped = read(row) if isinstance(row, dict) else Fault(number, "record", "is no object")
        fault = mapped if isinstance(mapped, Fault) else check(mapped)
        count += fault is None
        first = first or fault
    return Reading(fields, count, first)


def _what_to_write(name: str, names: Sequence[str], rows: Rows, best: Reading | None, yaml: str) -> str:
    row = next((row for _, row in rows if isinstance(row, dict)), {})
    shown = "; ".join(f"{k}={_cut(v)}" for k, v in row.items()) or "nothing"
    near = ""
    if best and best.fault:
        near = (f", the nearest reads {best.read} of {len(rows)} ({best.fields.shown()}; its first fault is "
                f"{best.fault.field}: {_cut(best.fault.message, 90)})")
    first, last = (names[0], names[-1]) if names else ("COLUMN", "COLUMN")
    return (f"{name}: its columns {', '.join(names) or 'have no names'} could not be told by name{near}; its "
            f"first row is [{shown}]: write into {yaml} what holds what, as in 'fields: {{layout: inout, "
            f"input: {first}, output: {last}, format: giellm}}' (with labels of other names, text_labels and "
            f"word_labels; with other Instruction Words, instructions)")


def _cut(value: Any, most: int = _SHOWN) -> str:
    """`value` in one line; of a long one both ends, for a prompt ends with what is asked of it."""
    text = " ".join(str(value).split())
    return repr(text if len(text) <= most else f"{text[:most // 2]}…{text[-most // 2:]}")


def with_found_labels(task: Task, mapped: Sequence[Mapped], name: str) -> Task:
    """`task` with the labels that stand in `mapped` rows, the most frequent first; rare ones are slips.

    Raises HubError where a part has none, or where labels could not be told apart in a target.
    """
    texts = Counter(label for _, label, _ in mapped if isinstance(label, str))
    words = {part.kind: Counter(w["label"] for *_, items in mapped for w in items if w["kind"] == part.kind)
             for part in task.parts}

    def kept(counts: Counter) -> tuple[str, ...]:
        return tuple(label for label, n in counts.most_common() if n >= RARE)

    try:
        return replace(task, text_labels=kept(texts), parts=tuple(
            replace(part, labels=kept(words[part.kind])) for part in task.parts))
    except SchemaError as error:
        raise HubError(f"{name}: the labels found in its files do not make a task ({error}); name a task "
                       "YAML of your own as `task`") from None
