"""An output layer of a few thousand tokens in the place of all: those that the texts and the format can need.

The output layer is most of a small multilingual model (168 M of Gemma-3-270M's 268 M parameters).
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from giellm_utils.inference.borrowed import borrow
from giellm_utils.models.products import product, widened


class RestrictedHead(torch.nn.Module):
    """An output layer that scores only `ids`; all other logits are -inf.

    forward: hidden [..., H] -> logits [..., V]. Exact on the rows it scores.
    """

    def __init__(self, head: torch.nn.Linear, ids: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("ids", ids.to(head.weight.device))
        self.register_buffer("rows", widened(head.weight.detach()[self.ids].clone()))
        self.vocabulary = head.weight.shape[0]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = hidden.new_full((*hidden.shape[:-1], self.vocabulary), float("-inf"))
        logits[..., self.ids] = product(hidden, self.rows.T)
        return logits


def restricted(model: PreTrainedModel, ids: torch.Tensor) -> PreTrainedModel:
    """A borrowed `model` whose output layer scores only `ids`; `model` itself is left as it is."""
    twin = borrow(model)
    twin.set_output_embeddings(RestrictedHead(model.get_output_embeddings(), ids))
    return twin
