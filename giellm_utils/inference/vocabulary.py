"""An output layer of a few thousand tokens in the place of all: those that the texts and the format can need.

The output layer is most of a small multilingual model (168 M of Gemma-3-270M's 268 M parameters).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.inference.borrowed import borrow
from giellm_utils.inference.texts import tokenizable

#: Characters of the longest token that counts; longer ones are runs of spaces and marks.
LONGEST = 16


class RestrictedHead(torch.nn.Module):
    """An output layer that scores only `ids`; all other logits are -inf.

    forward: hidden [..., H] -> logits [..., V]. Exact on the rows it scores.
    """

    def __init__(self, head: torch.nn.Linear, ids: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("ids", ids.to(head.weight.device))
        self.register_buffer("rows", head.weight.detach()[self.ids].clone())
        self.vocabulary = head.weight.shape[0]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = hidden.new_full((*hidden.shape[:-1], self.vocabulary), float("-inf"))
        logits[..., self.ids] = hidden @ self.rows.T
        return logits


def restricted(model: PreTrainedModel, ids: torch.Tensor) -> PreTrainedModel:
    """A borrowed `model` whose output layer scores only `ids`; `model` itself is left as it is."""
    twin = borrow(model)
    twin.set_output_embeddings(RestrictedHead(model.get_output_embeddings(), ids))
    return twin


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
        texts = {*strings}
        ids = {self.tokenizer.eos_token_id}
        for piece in texts | {character for text in texts for character in text}:
            ids.update(self.tokenizer(tokenizable(piece), add_special_tokens=False).input_ids)
        for text in texts:
            for start in range(len(text)):
                for end in range(start + 1, min(len(text), start + self._longest) + 1):
                    ids.update(self._ids.get(text[start:end], ()))
        return torch.tensor(sorted(ids))
