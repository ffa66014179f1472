"""A model that shares another's weights and can be changed without changing it.

Decoding needs another output layer, another attention and dropout switched off. Set on the caller's model
these would have to be put back on every way out, and a generator that is read halfway has no way out.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from giellm_utils.core.errors import GiellmError


class BorrowError(GiellmError, ValueError):
    """A model whose parts cannot be borrowed; the message says which and why."""


def borrow(model: PreTrainedModel) -> PreTrainedModel:
    """`model` with the same weights (no copy), but modules, hooks and configs of its own, ready to decode.

    Raises BorrowError where a module's `forward` was replaced (device hooks, a training in progress): it
    would still run the lender's.
    """
    return _borrow(model, {})


def _borrow(module: torch.nn.Module, known: dict[int, Any]) -> torch.nn.Module:
    """`known`: what was borrowed before, by the lender's id, so that what is shared there is shared here."""
    if id(module) in known:
        return known[id(module)]
    if "forward" in vars(module):
        raise BorrowError(f"the forward of a {type(module).__name__} was replaced (by device hooks or by "
                          "training); load the model again to decode it")
    twin = known[id(module)] = copy.copy(module)
    # The dicts of torch (hooks, buffers, parameters) are copied, the tensors in them shared.
    own = {key: copy.copy(value) for key, value in vars(module).items() if isinstance(value, dict)}
    vars(twin).update(own)
    vars(twin)["_modules"] = {
        name: None if child is None else _borrow(child, known) for name, child in module._modules.items()}
    twin.training = False
    config = vars(module).get("config")
    if isinstance(config, PreTrainedConfig):
        twin.config = known.setdefault(id(config), copy.deepcopy(config))
    return twin
