"""One record's output grammar (llguidance): exactly what the converter can write for one text.

The whole output is one terminal, a regular expression over bytes with the substrings of the text in
it. Split into several, llguidance's longest-match lexer would refuse right outputs: a span that could
go on as its text does swallows the Instruction Word behind it, `:無い;` swallows a head that starts so.
Sources: llguidance docs/syntax.md (`%regex`, `&`), llguidance 1.9 `LLMatcher`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from giellm_utils.core.schema import Level, Part, Record, Task
from giellm_utils.formats.giellm import Converter

#: Stands between chunks that do not touch in the text. No UNIT matches it: `<` is never escaped.
_BORDER = "\\<"


def span_chunks(converter: Converter, text: str) -> list[str]:
    """Escaped chunks whose UNIT+ substrings are exactly the escapes of the substrings of `text`.

    One chunk a character; after it, for each Instruction Word in the text, the text up to it with
    the word's beginning bare: a span that ends inside the word does not hold it, so the converter
    writes no backslash there. (UNIT+ refuses the beginning with the backslash.) Lone surrogates
    have no bytes, so no span holds them. Size: (1 + Instruction Words in the text) * characters; a
    text of 1,000 characters compiles in 8 ms, with 100 Instruction Words in it in 0.35 s.
    """
    pieces = [_BORDER if "\ud800" <= character <= "\udfff" else piece
              for character, piece in zip(text, converter.escaped_pieces(text), strict=True)]
    chunks = list(pieces)
    for at in range(len(text)):
        word = converter.instruction_at(text, at)
        if len(word) > 1:
            chunks += [_BORDER, *pieces[:at], *word[:-1]]
    return chunks


def build_grammar(converter: Converter, level: Level, text: str, *,
                  max_items: Mapping[str, int] | int) -> str:
    """A Lark grammar (llguidance's dialect) of every output the converter can write for `text`.

    The text label is one of the task's, Instruction Words stand in the task's order, each part holds
    1 to `max_items` items (of its kind; items in any order, as `Converter.words` takes them) or
    `:無い;`, and every span, head and tail is a non-empty substring of `text`, escaped.
    Raises ValueError for a bound below 0 and KeyError for a part without one.
    """
    body = []
    if level != "words":
        body.append(_one_of(converter.mark(label) for label in converter.task.text_labels))
    chunks = span_chunks(converter, text)
    spans = any(chunk != _BORDER for chunk in chunks)
    if level != "text":
        for part in converter.task.parts:
            bound = max_items if isinstance(max_items, int) else max_items[part.kind]
            if bound < 0:
                raise ValueError(f"max_items of part {part.kind!r} is {bound}; give 0 or more")
            body += [json.dumps(part.instruction), _items(converter, part, bound if spans else 0)]
    lines = ["start: OUTPUT", "OUTPUT: " + " ".join(body)]
    if level != "text" and spans:
        words = (part.instruction for part in converter.task.parts)
        escapes = [json.dumps("\\" + what) for what in ("\\", ":", ";", *words)]
        lines += ["SPAN: SUBSTRING & UNITS", "UNITS: UNIT+", f"UNIT: /[^\\\\]/ | {' | '.join(escapes)}",
                  "SUBSTRING: %regex " + json.dumps({"substring_chunks": chunks})]
    return "\n".join(lines) + "\n"


def _items(converter: Converter, part: Part, bound: int) -> str:
    none = json.dumps(f":{converter.task.none};")
    if not bound:
        return none
    label = _one_of(part.labels)
    item = f'":" {label} ";" SPAN' if part.shape == "span" else f'":" SPAN ";" {label} ";" SPAN'
    return f"({none} | ({item}){{1,{bound}}})"


def _one_of(values: Iterable[str]) -> str:
    return "(" + " | ".join(json.dumps(value) for value in values) + ")"


def item_bounds(task: Task, records: Iterable[Record], factor: float = 3.0) -> dict[str, int]:
    """`max_items` from training records: `factor` times the most items a record has, per part.

    At least 1; the factor leaves room for test records that hold more than any training record.
    """
    most = {part.kind: 0 for part in task.parts}
    for record in records:
        for kind, count in Counter(word.kind for word in record.words).items():
            most[kind] = max(most[kind], count)
    return {kind: max(1, math.ceil(count * factor)) for kind, count in most.items()}


def close_output(converter: Converter, level: Level, text: str, output: str) -> str:
    """A complete output from `output`, the beginning of an accepted one that ran out of tokens.

    Items that can be read and stand in the text stay (the last one as far as it was written), the rest
    is dropped; a text label that was cut becomes the first that begins so. Raises ValueError where
    none does: `output` did not come from this grammar.
    """
    parsed = converter.parse(output, level, text)
    head = ""
    if level != "words":
        marks = [converter.mark(label) for label in converter.task.text_labels]
        head = (converter.mark(parsed.label) if parsed.label
                else next((m for m in marks if m.startswith(output)), ""))
        if not head:
            raise ValueError(f"output {output[:20]!r} begins with no text label of task "
                             f"{converter.task.name}; give the beginning of an output of its grammar")
    if level == "text":
        return head
    return head + converter.words(item for item in parsed.items if all(s in text for s in item.surfaces)
                                  and item.label in converter.task.part(item.kind).labels)
