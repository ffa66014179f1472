r"""Escapes of our own formats: a backslash before `\`, `:`, `;` and a task's Instruction Words in a span.

The rule is ours (the published formats have none): without it a span with a mark could not be read back.
"""

from __future__ import annotations

from collections.abc import Sequence


class Escapes:
    """The rule for one task: `instructions` are its Instruction Words."""

    def __init__(self, instructions: Sequence[str]) -> None:
        self.instructions = tuple(instructions)

    def instruction_at(self, text: str, at: int) -> str:
        """The Instruction Word that stands in `text` at offset `at`, or ""."""
        return next((word for word in self.instructions if text.startswith(word, at)), "")

    def pieces(self, text: str) -> list[str]:
        r"""`text` cut into one piece a character, each escaped; joined, they are the escaped text.

        The first character of an Instruction Word that stands in the text carries its backslash.
        So `"".join(pieces[i:j])` is the escape of `text[i:j]` for every i < j but those where j cuts an
        Instruction Word that began at or after i: alone, its beginning needs no backslash
        (`grammar.span_chunks` adds these).
        """
        pieces, i = [], 0
        while i < len(text):
            word = self.instruction_at(text, i)
            if word:
                pieces += ["\\" + word[0], *word[1:]]
                i += len(word)
            else:
                pieces.append("\\" + text[i] if text[i] in "\\:;" else text[i])
                i += 1
        return pieces

    def escape(self, span: str) -> str:
        return "".join(self.pieces(span))

    def unescape(self, span: str) -> tuple[str, bool]:
        """`span` without its escapes, and whether each of them was called for."""
        out, right, i = [], True, 0
        while i < len(span):
            if span[i] == "\\":
                right &= span[i + 1:i + 2] in ("\\", ":", ";") or bool(self.instruction_at(span, i + 1))
                i += 1
            out.append(span[i:i + 1])
            i += 1
        return "".join(out), right

    @staticmethod
    def cut(body: str, mark: str) -> list[str]:
        """`body` cut at every unescaped `mark`."""
        pieces, start, i = [], 0, 0
        while i < len(body):
            if body[i] == "\\":
                i += 2
                continue
            if body[i] == mark:
                pieces.append(body[start:i])
                start = i + 1
            i += 1
        return [*pieces, body[start:]]
