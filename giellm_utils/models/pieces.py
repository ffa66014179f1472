"""Tokens by their text, and texts as tokenizers take them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

#: Characters of the longest token that counts; longer ones are runs of spaces and marks.
LONGEST = 16
_SURROGATES = re.compile("[\ud800-\udfff]")


def tokenizable(text: str) -> str:
    """`text` with a replacement character for every lone surrogate, which no tokenizer takes."""
    return _SURROGATES.sub("\ufffd", text)


class PieceIndex:
    """The tokens of one tokenizer by their text, read once: its vocabulary may hold 262,144.

    Tokens of at most LONGEST characters; special ones are left out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        special, self._ids = set(tokenizer.all_special_ids), {}
        for piece, i in tokenizer.get_vocab().items():
            text = tokenizer.convert_tokens_to_string([piece])
            if i not in special and 0 < len(text) <= LONGEST:
                self._ids.setdefault(text, []).append(i)
        self._longest = max(map(len, self._ids))

    def ids_for(self, strings: Iterable[str]) -> torch.Tensor:
        """Sorted ids [n] of all tokens that can stand in a copy of any piece of `strings`, and the end of
        sequence.

        Every token whose text is a substring, not only those the strings are cut into: a span is cut
        otherwise on its own than inside its sentence. Characters too, which may be several byte tokens.
        """
        import torch

        texts = {*strings}
        ids = {self.tokenizer.eos_token_id}
        for piece in texts | {character for text in texts for character in text}:
            ids.update(self.tokenizer(tokenizable(piece), add_special_tokens=False).input_ids)
        for text in texts:
            for start in range(len(text)):
                for end in range(start + 1, min(len(text), start + self._longest) + 1):
                    ids.update(self._ids.get(text[start:end], ()))
        return torch.tensor(sorted(ids))
