"""TODO"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from transformers import PreTrainedTokenizerFast

from giellm_utils.formats.giellm import Converter


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


def corpus_vocabulary(tokenizer: PreTrainedTokenizerFast, strings: Iterable[str]) -> torch.Tensor:
    """Sorted ids of all tokens that can stand in a copy of any piece of `strings`, and the end of sequence.

    Every token whose text is a substring, not only those the strings are cut into: a span is cut
    otherwise on its own than inside its sentence: with the sentences' own tokens alone, 11 of 1,000 gold
    targets could not be written in the way they are trained, with these 5. Characters too, which
    may be several byte tokens.
    """
    pieces = _pieces(tokenizer)
    longest = max(map(len, pieces))
    ids = {tokenizer.eos_token_id}
    for text in {*strings}:
        ids.update(tokenizer(text, add_special_tokens=False).input_ids)
        for start in range(len(text)):
            for end in range(start + 1, min(len(text), start + longest) + 1):
                ids.update(pieces.get(text[start:end], ()))
    for character in {c for text in strings for c in text}:
        ids.update(tokenizer(character, add_special_tokens=False).input_ids)
    return torch.tensor(sorted(ids))


def _pieces(tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Text of a token -> its ids, for tokens of at most 16 characters (longer ones are runs of spaces and marks)."""
    special, pieces = set(tokenizer.all_special_ids), {}
    for piece, i in tokenizer.get_vocab().items():
        text = tokenizer.convert_tokens_to_string([piece])
        if i not in special and 0 < len(text) <= 16:
            pieces.setdefault(text, []).append(i)
    return pieces


def schema_strings(converter: Converter) -> list[str]:
    """All fixed pieces of a task's targets, as they meet the tokenizer: alone and joined by marks."""
    task = converter.task
    pieces = [converter.options, f":{task.none};", ":;\\", "\\:\\;\\\\"]
    for part in task.parts:
        pieces += [part.instruction, f"{part.instruction}:{task.none};", f"{converter.close}{part.instruction}:",
                   *(f":{label};" for label in part.labels), *(f";{label};" for label in part.labels)]
    return pieces
