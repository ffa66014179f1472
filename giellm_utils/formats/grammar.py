"""One text's output grammar (llguidance's Lark dialect): exactly what our format can write for it.

The whole output is one terminal, a regular expression over bytes with the substrings of the text in
it. Split into several, llguidance's longest-match lexer would refuse right outputs: a span that could
go on as its text does swallows the Instruction Word behind it, `:無い;` swallows a head that starts so.
Sources: llguidance docs/syntax.md (`%regex`, `&`), llguidance 1.9 `LLMatcher`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from giellm_utils.core.schema import Part, Record, Task
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.escapes import Escapes

#: Stands between chunks that do not touch in the text. No UNIT matches it: `<` is never escaped.
_BORDER = "\\<"


def span_chunks(escapes: Escapes, text: str) -> list[str]:
    """Escaped chunks whose UNIT+ substrings are exactly the escapes of the substrings of `text`.

    One chunk a character; after it, for each Instruction Word in the text, the text up to it with
    the word's beginning bare: a span that ends inside the word does not hold it, so it is written
    without a backslash there. (UNIT+ refuses the beginning with the backslash.) Lone surrogates
    have no bytes, so no span holds them. Size: (1 + Instruction Words in the text) * characters.
    """
    pieces = [_BORDER if "\ud800" <= character <= "\udfff" else piece
              for character, piece in zip(text, escapes.pieces(text), strict=True)]
    chunks = list(pieces)
    for at in range(len(text)):
        word = escapes.instruction_at(text, at)
        if len(word) > 1:
            chunks += [_BORDER, *pieces[:at], *word[:-1]]
    return chunks


def build_grammar(heads: Sequence[str], parts: Sequence[Part], none: str, text: str,
                  max_items: Mapping[str, int] | int, *, words_first: bool = False) -> str:
    """A Lark grammar of every output for `text`: one of `heads` (marked text labels), then the parts, or the
    other way round.

    Each part holds 1 to `max_items` items (of its kind, in any order) or `:{none};`, and every span,
    head and tail is a non-empty substring of `text`, escaped. `heads` or `parts` may be empty. Raises
    FormatError for a bound below 0 and for a part without one.
    """
    escapes = Escapes([part.instruction for part in parts])
    label = [_one_of(heads)] if heads else []
    body = [] if words_first else label
    chunks = span_chunks(escapes, text)
    spans = any(chunk != _BORDER for chunk in chunks)
    for part in parts:
        bound = _bound(part, max_items)
        body = [*body, json.dumps(part.instruction), _items(part, none, bound if spans else 0)]
    body = [*body, *label] if words_first else body
    lines = ["start: OUTPUT", "OUTPUT: " + " ".join(body)]
    if parts and spans:
        escaped = [json.dumps("\\" + what) for what in ("\\", ":", ";", *escapes.instructions)]
        lines += ["SPAN: SUBSTRING & UNITS", "UNITS: UNIT+", f"UNIT: /[^\\\\]/ | {' | '.join(escaped)}",
                  "SUBSTRING: %regex " + json.dumps({"substring_chunks": chunks})]
    return "\n".join(lines) + "\n"


def build_plain_grammar(heads: Sequence[str], word: str, part: Part, none: str, text: str,
                        max_items: Mapping[str, int] | int) -> str:
    """The same for formats without escapes, with one part of spans under the Instruction Word `word`.

    Their items are cut at every `:`, so a span is a non-empty substring of `text` without one.
    """
    # What no span holds stands as ":", which ends the chunks that may be joined.
    chunks = [":" if "\ud800" <= character <= "\udfff" else character for character in text]
    bound = _bound(part, max_items)
    bound = bound if any(chunk != ":" for chunk in chunks) else 0
    lines = ["start: OUTPUT", f"OUTPUT: {_one_of(heads)} {json.dumps(word)} {_items(part, none, bound)}"]
    if bound:
        lines += ["SPAN: SUBSTRING & /[^:]+/",
                  "SUBSTRING: %regex " + json.dumps({"substring_chunks": chunks})]
    return "\n".join(lines) + "\n"


def _bound(part: Part, max_items: Mapping[str, int] | int) -> int:
    bound = max_items if isinstance(max_items, int) else max_items.get(part.kind)
    if bound is None or bound < 0:
        raise FormatError(f"max_items of part {part.kind!r} is {bound}; give 0 or more")
    return bound


def _items(part: Part, none: str, bound: int) -> str:
    nothing = json.dumps(f":{none};")
    if not bound:
        return nothing
    label = _one_of(part.labels)
    item = f'":" {label} ";" SPAN' if part.shape == "span" else f'":" SPAN ";" {label} ";" SPAN'
    return f"({nothing} | ({item}){{1,{bound}}})"


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
