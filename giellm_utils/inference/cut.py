"""TODO"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

#: Instruction Words in one piece at most: the grammar grows by one copy of the text with each.
MOST_INSTRUCTIONS = 20
_SENTENCE = re.compile(r"[。！？!?\n]+[」』）)\]\"”’]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


# -- cutting ---------------------------------------------------------------------------------------


def cut(text: str, count_tokens: Callable[[list[str]], list[int]], limit: int,
        instructions: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Ranges [start, end) that tile `text`, each of at most `limit` tokens and MOST_INSTRUCTIONS of
    `instructions`; cut at sentence ends, and within a sentence only where it is too long by itself."""
    def words(piece: str) -> int:
        return sum(piece.count(w) for w in instructions)

    def tokens(pieces: list[str]) -> list[int]:
        return count_tokens([_SURROGATE.sub("\ufffd", p) for p in pieces])

    # No tokenizer here writes more tokens than bytes: most texts need no count.
    if words(text) <= MOST_INSTRUCTIONS and (len(text) * 4 <= limit or tokens([text])[0] <= limit):
        return [(0, len(text))] if text else []
    ends = [m.end() for m in _SENTENCE.finditer(text)]
    borders = sorted({0, *ends, len(text)})
    sentences = list(zip(borders, borders[1:], strict=False))
    # Slices so short that they fit whatever they hold, and are packed closely afterwards.
    most = MOST_INSTRUCTIONS * min(map(len, instructions), default=limit)
    step = max(1, min(limit // 8, most))
    parts = []
    for (start, end), n in zip(sentences, tokens([text[a:b] for a, b in sentences]), strict=True):
        if n <= limit and words(text[start:end]) <= MOST_INSTRUCTIONS:
            parts.append((start, end))
        else:
            parts += [(at, min(at + step, end)) for at in range(start, end, step)]
    pieces, spent, held = [], limit + 1, 0
    for (start, end), n in zip(parts, tokens([text[a:b] for a, b in parts]), strict=True):
        k = words(text[start:end])
        if spent + n <= limit and held + k <= MOST_INSTRUCTIONS:
            pieces[-1] = (pieces[-1][0], end)
            spent, held = spent + n, held + k
        else:
            pieces.append((start, end))
            spent, held = n, k
    return pieces
