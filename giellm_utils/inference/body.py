"""A decoder's forward written for packed rows: plain tensors in, no module, no mask, no cache class.

The arithmetic, its order and its roundings are those of transformers. What is left out is exact: modules
that read the same input stand in one product, in the layout that the processor's library multiplies in,
and the last layer attends and feeds forward for the tokens alone whose hidden state is asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from giellm_utils.inference.kv_rows import attend, Block, Body, RowCache, Step
from giellm_utils.models.products import product, widens
from giellm_utils.models.weights import ACTIVATIONS, Layer, of_model, Weights


def body_of(model: Any, lean: bool = True) -> Body:
    """`model` (Weights, or a causal language model of transformers, which is left as it is) ready to
    decode: LeanBody where it is known and `lean`, else the library's forward. Raises BorrowError."""
    weights = model if isinstance(model, Weights) else of_model(model) if lean else None
    if weights is not None:
        return LeanBody(weights)
    from giellm_utils.inference.library_body import LibraryBody

    return LibraryBody(model.get_decoder())


class _Product:
    """x [T, K] -> [T, N], the weights [n, K] one below the other.

    Where bf16 is fast oneDNN's own layout is made once (a second copy of the weights),
    where it would else be made in every call: 10 to 50 % of the time, the fewer tokens the more; same bits.
    Elsewhere the second copy is in fp32 (models.products).
    """

    def __init__(self, *weights: torch.Tensor) -> None:
        self.weights, self.packed = weights, None
        if weights[0].device.type == "cpu":
            self.weights = (torch.cat(weights) if len(weights) > 1 else weights[0],)
            if widens(weights[0]):
                self.weights = (self.weights[0].float(),)
            elif weights[0].dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported():
                self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weights[0])
                self.weights = ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, self.packed, None, "none", [], "")
        parts = [product(x, weight.t()) for weight in self.weights]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


class _Norm:
    """RMSNorm over the last dimension; `weight` [..., D]."""

    def __init__(self, weight: torch.Tensor, eps: float, gemma: bool) -> None:
        self.weight, self.eps, self.gemma = 1.0 + weight.float() if gemma else weight, eps, gemma

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        if wide is x:
            wide = x.clone()
        wide.mul_(wide.square().mean(-1, keepdim=True).add_(self.eps).rsqrt_())
        return wide.mul_(self.weight).to(x.dtype) if self.gemma else self.weight * wide.to(x.dtype)


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


class _Layer:
    """One layer over tokens [T, H]."""

    def __init__(self, weights: Weights, layer: Layer, number: int) -> None:
        self.shape, self.number = weights.shape, number
        q, k, v, o, gate, up, down = layer.linear
        self.qkv, self.o = _Product(q, k, v), _Product(o)
        self.gate_up, self.down = _Product(gate, up), _Product(down)
        self.window = self.shape.window if self.kind == "sliding_attention" else None

        def norm(weight: torch.Tensor | None) -> Any:
            return _same if weight is None else _Norm(weight, self.shape.eps, self.shape.gemma)

        self.before, self.after, self.inner, self.outer = map(norm, layer.norms[:4])
        of_q, of_k = layer.norms[4:]
        # Queries and keys in one pass.
        self.of_qk = norm(None if of_q is None else torch.cat(
            [of_q.expand(self.shape.heads, -1), of_k.expand(self.shape.shared, -1)]))

    @property
    def kind(self) -> str:
        return self.shape.kinds[self.number]

    def __call__(self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], cache: RowCache,
                 blocks: list[Block], ends: torch.Tensor | None) -> torch.Tensor:
        """`ends`: go on with these tokens alone, of which `blocks` are."""
        shape = self.shape
        qkv = self.qkv(self.before(x)).view(len(x), -1, shape.size)
        qk, values = qkv.split([shape.heads + shape.shared, shape.shared], 1)
        query, keys = _rotated(self.of_qk(qk), *turn).split([shape.heads, shape.shared], 1)
        held = cache.keep(keys, values, self.number)
        if ends is not None:
            query, x = query[ends], x[ends]
        x = x + self.after(self.o(attend(query, *held, blocks, shape.scaling, self.window)))
        gate, up = self.gate_up(self.inner(x)).chunk(2, -1)
        return x + self.outer(self.down(ACTIVATIONS[shape.activation](gate).mul_(up)))


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """`sin` with its first half negative."""
    first, second = x.chunk(2, -1)
    return (x * cos).add_(torch.cat([second, first], -1).mul_(sin))


class LeanBody:
    """The decoder of `weights`, as they are now: a copy of them may be kept."""

    def __init__(self, weights: Weights) -> None:
        self.shape, self.embedding = weights.shape, weights.embedding
        self.device = weights.embedding.device
        self.layers = [_Layer(weights, layer, i) for i, layer in enumerate(weights.layers)]
        self.norm = _Norm(weights.norm, self.shape.eps, self.shape.gemma)
        half = torch.arange(0, self.shape.size, 2, dtype=torch.float, device=self.device) / self.shape.size
        self.steps = {kind: 1.0 / theta ** half for kind, theta in self.shape.thetas.items()}

    def _turns(self, positions: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """cos and sin [T, 1, D] of each kind of layer."""
        found = {}
        for kind, steps in self.steps.items():
            angles = positions[:, None].float() * steps
            cos, sin = (f(angles).to(self.embedding.dtype) for f in (torch.cos, torch.sin))
            found[kind] = torch.cat([cos, cos], -1)[:, None], torch.cat([-sin, sin], -1)[:, None]
        return found

    def __call__(self, step: Step, cache: RowCache) -> torch.Tensor:
        x = functional.embedding(step.ids, self.embedding)
        if self.shape.gemma:
            x = x * torch.tensor(x.shape[-1] ** 0.5, dtype=x.dtype)
        turns = self._turns(step.positions)
        for layer in self.layers[:-1]:
            x = layer(x, turns[layer.kind], cache, step.blocks, None)
        last = self.layers[-1]
        return self.norm(last(x, turns[last.kind], cache, step.last, step.ends))
