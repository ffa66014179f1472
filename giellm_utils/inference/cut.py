"""Long texts -> pieces of the lengths that a model was trained on, cut at sentence ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from giellm_utils.models.bundle import Lengths
from giellm_utils.models.pieces import tokenizable

#: Instruction Words in one piece at most: the grammar grows by one copy of the text with each.
MOST_INSTRUCTIONS = 20
#: A sentence of more than so many times the 95th percentile is cut, however long a text of training was.
OVERLONG = 2
_UNBOUNDED = 1 << 40
_SENTENCE = re.compile(r"[。！？!?\n]+[」』）)\]\"”’]*")
#: Where a sentence that is too long is cut first.
_PAUSE = re.compile(r"[、，,;；:：\s]+")

CountTokens = Callable[[list[str]], list[int]]
Range = tuple[int, int]


@dataclass(frozen=True)
class Limits:
    """What one piece may hold: `tokens`, MOST_INSTRUCTIONS of `instructions`, and characters: `whole` where
    it is a text that is not cut or one sentence, `packed` where it is several sentences or a part of one."""

    tokens: int
    packed: int = _UNBOUNDED
    whole: int = _UNBOUNDED
    instructions: Sequence[str] = ()

    @classmethod
    def of(cls, tokens: int, lengths: Lengths | None, instructions: Sequence[str] = ()) -> Limits:
        """Those of the training texts' `lengths`, where they are known; else `tokens` alone."""
        if lengths is None:
            return cls(tokens, instructions=instructions)
        return cls(tokens, lengths.p95, min(lengths.longest, OVERLONG * lengths.p95), instructions)

    @property
    def slice(self) -> int:
        """Characters of a part of a sentence: so few that it fits whatever it holds."""
        words = MOST_INSTRUCTIONS * min(map(len, self.instructions), default=self.tokens)
        return max(1, min(self.packed, self.tokens // 8, words))

    def words(self, piece: str) -> int:
        """How many Instruction Words stand in `piece`."""
        return sum(piece.count(word) for word in self.instructions)


def cut(text: str, count_tokens: CountTokens, limits: Limits) -> list[Range]:
    """Ranges [start, end) that tile `text`: all of it where it is within `limits`, else its sentences, short
    neighbours put together, those that are too long by themselves in parts."""
    def tokens(ranges: list[Range]) -> list[int]:
        return count_tokens([tokenizable(text[a:b]) for a, b in ranges])

    def fits(start: int, end: int, tokens: int) -> bool:
        return (end - start <= limits.whole and tokens <= limits.tokens
                and limits.words(text[start:end]) <= MOST_INSTRUCTIONS)

    if not text:
        return []
    all_of_it = (0, len(text))
    # No tokenizer here writes more tokens than bytes: most texts need no count.
    if len(text) <= limits.whole and fits(
            *all_of_it, 0 if len(text) * 4 <= limits.tokens else tokens([all_of_it])[0]):
        return [all_of_it]
    borders = sorted({0, *(m.end() for m in _SENTENCE.finditer(text)), len(text)})
    sentences, parts = list(zip(borders, borders[1:], strict=False)), []
    for (start, end), n in zip(sentences, tokens(sentences), strict=True):
        parts += [(start, end)] if fits(start, end, n) else _slices(text, start, end, limits.slice)
    return _packed(text, parts, tokens(parts), limits)


def _slices(text: str, start: int, end: int, most: int) -> list[Range]:
    """A long sentence in parts of about one length, at most `most` characters, cut at pauses if possible."""
    parts = []
    while end - start > most:
        even = -(-(end - start) // -(-(end - start) // most))
        pauses = [m.end() for m in _PAUSE.finditer(text, start + even // 2, start + most)]
        stop = min(pauses, key=lambda at: abs(at - start - even), default=start + even)
        parts.append((start, stop))
        start = stop
    return [*parts, (start, end)]


def _packed(text: str, parts: Sequence[Range], tokens: Sequence[int], limits: Limits) -> list[Range]:
    """Neighbouring `parts` put together as far as `limits` allow."""
    pieces: list[Range] = []
    spent = held = 0
    for (start, end), n in zip(parts, tokens, strict=True):
        k = limits.words(text[start:end])
        if (pieces and end - pieces[-1][0] <= limits.packed and spent + n <= limits.tokens
                and held + k <= MOST_INSTRUCTIONS):
            pieces[-1] = (pieces[-1][0], end)
            spent, held = spent + n, held + k
        else:
            pieces.append((start, end))
            spent, held = n, k
    return pieces
