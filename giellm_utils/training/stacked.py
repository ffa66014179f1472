"""A causal LM's body with LoRA, forward and backward written for short sequences on a CPU.

The library computes, for each of a layer's seven linear modules, a product with the frozen weight, two
with the rank-r adapters, a scaling and a sum, each a pass through memory of its own. Here modules that
read the same input stand in one product: y = [x, x Aᵀ] [W, s B]ᵀ, q, k and v together, gate and up
together.

`stack` puts this in the place of the decoder's forward; parameters, saving, the output layer and the
Trainer stay the library's. Written for Llama and Gemma 3 (text); others keep the library's forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from giellm_utils.models.products import product, widened
from giellm_utils.models.weights import KNOWN, NORMS, Shape, shape_of
from giellm_utils.training.passes import EAGER, gated, norm, Passes, rotate

#: What the tokens that the last layer is computed for are filled up to a multiple of: for each new number
#: oneDNN makes its products anew.
ROWS = 32


class _StackedProduct(torch.autograd.Function):
    """x [T, K] -> [T, N] by `wide` [N, K + R], the frozen weight beside the scaled B of its modules.

    `low` [R, K]: the A of the modules, one below the other, differentiable; `blocks`: where each B stands
    in `wide` (rows from, rows to, columns from); `ups`: the B themselves, for their gradients.
    """

    @staticmethod
    def forward(ctx, x, wide, low, blocks, scale, *ups):
        inner = product(x, low.t())
        ctx.save_for_backward(x, inner, wide, low)
        ctx.blocks, ctx.scale = blocks, scale
        return product(torch.cat([x, inner], -1), wide.t())

    @staticmethod
    def backward(ctx, upstream):
        x, inner, wide, low = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            both = product(upstream, wide)
            dinner = both[:, x.shape[1]:]
            dx = product(dinner, low, both[:, :x.shape[1]])
        else:  # of the first layer, which reads frozen embeddings
            dx, dinner = None, product(upstream, wide[:, x.shape[1]:])
        ups = product(upstream.t(), inner).float().mul_(ctx.scale)
        ups = [ups[top:bottom, at:at + rank] for top, bottom, at, rank in ctx.blocks]
        return dx, None, product(dinner.t(), x), None, None, *ups


class _Group:
    """Linear modules with LoRA that read the same input."""

    def __init__(self, modules: Sequence[Any]) -> None:
        weights = [m.base_layer.weight.detach() for m in modules]
        self.downs = [m.lora_A["default"].weight for m in modules]
        self.ups = tuple(m.lora_B["default"].weight for m in modules)
        self.scale = modules[0].scaling["default"]
        inputs, rank = weights[0].shape[1], self.downs[0].shape[0]
        self.inputs, self.dtype, tops = inputs, weights[0].dtype, [0]
        for weight in weights:
            tops.append(tops[-1] + weight.shape[0])
        self.blocks = tuple((tops[i], tops[i + 1], i * rank, rank) for i in range(len(modules)))
        wide = weights[0].new_zeros(tops[-1], inputs + rank * len(modules))
        wide[:, :inputs] = torch.cat(weights)
        self.wide = widened(wide)

    def tensors(self) -> tuple[Any, ...]:
        """What _StackedProduct takes after x, the adapters as they are now."""
        with torch.no_grad():
            for up, (top, bottom, at, rank) in zip(self.ups, self.blocks, strict=True):
                scaled = (up * self.scale).to(self.dtype)
                self.wide[top:bottom, self.inputs + at:self.inputs + at + rank] = scaled
        low = torch.cat(self.downs).to(self.dtype)
        return self.wide, low, self.blocks, self.scale, *self.ups


def _attend(q, k, v, mask, shape: Shape):
    """q [B, L, heads, D], k and v [B, L, shared, D] -> [B * L, heads * D]; plain products, for the
    sequences are short, and heads that share keys stand one below the other."""
    batch, length = q.shape[:2]
    group = shape.heads // shape.shared
    q = q.reshape(batch, length, shape.shared, group, shape.size).permute(0, 2, 3, 1, 4)
    q = q.reshape(batch * shape.shared, group * length, shape.size)
    k, v = (x.permute(0, 2, 1, 3).reshape(batch * shape.shared, length, shape.size) for x in (k, v))
    scores = product(q, k.transpose(1, 2)).mul_(shape.scaling).add_(mask.repeat(group, 1))
    out = product(torch.softmax(scores, -1), v)
    out = out.view(batch, shape.shared, group, length, shape.size).permute(0, 3, 1, 2, 4)
    return out.reshape(batch * length, shape.heads * shape.size)


def _layer(x, cos, sin, mask, norms, products, passes: Passes, batch: int, length: int, shape: Shape,
           rows: torch.Tensor | None):
    """One decoder layer over x [batch * length, H], or its output at `rows` [N] alone. `norms`: before and
    after attention, before and after the feed-forward part, of queries and keys together; None where the
    model has none."""
    def normed(value, weight):
        return value if weight is None else norm(value, weight, shape.eps, passes)

    before, after, inner, outer, of_qk = norms
    qkv = _StackedProduct.apply(normed(x, before), *products[0])
    heads = [shape.heads + shape.shared, shape.shared]
    qk, v = qkv.view(batch, length, -1, shape.size).split(heads, 2)
    q, k = rotate(normed(qk, of_qk), cos, sin, passes).split([shape.heads, shape.shared], 2)
    seen = _attend(q, k, v, mask, shape)
    if rows is not None:
        x, seen = x.index_select(0, rows), seen.index_select(0, rows)
    x = x + normed(_StackedProduct.apply(seen, *products[1]), after)
    hidden = gated(_StackedProduct.apply(normed(x, inner), *products[2]), shape.activation, passes)
    return x + normed(_StackedProduct.apply(hidden, *products[3]), outer)


def _some(wanted: torch.Tensor) -> torch.Tensor:
    """Where `wanted` [T] is true, and some more, up to a multiple of ROWS."""
    places, others = wanted.nonzero()[:, 0], (~wanted).nonzero()[:, 0]
    return torch.cat([places, others[:-len(places) % ROWS]])


class StackedBody:
    """The forward of one decoder (transformers, with peft's LoRA in all linear modules of its layers)."""

    def __init__(self, decoder: Any) -> None:
        self.decoder, self.shape = decoder, shape_of(decoder.config.to_dict())
        names = NORMS[decoder.config.model_type]
        self.layers = [(self._norms(block, names), [_Group(g) for g in _groups(block)])
                       for block in decoder.layers]
        #: Gives the tokens whose hidden states are read, a mask [B, L]: the last layer leaves out what others
        #: alone need, and theirs are zeros but for a few. None: all are read.
        self.wanted: Callable[[], torch.Tensor] | None = None
        #: training.passes.EAGER, or those of training.fused.
        self.passes = EAGER

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> BaseModelOutputWithPast:
        """input_ids [B, L], padded on the right -> hidden states [B, L, H].

        No attention mask is needed: under the causal one no token sees the padding behind it.
        """
        batch, length = input_ids.shape
        with torch.autocast(input_ids.device.type, enabled=False):
            x = self.decoder.embed_tokens(input_ids)
            x = x.to(self.layers[0][1][0].dtype).view(batch * length, -1)
            positions = torch.arange(length, device=x.device)[None]
            looks = {kind: self._look(kind, x, positions) for kind in set(self.shape.kinds)}
            rows = None if self.wanted is None else _some(self.wanted().flatten())
            for i, (kind, (norms, groups)) in enumerate(zip(self.shape.kinds, self.layers, strict=True), 1):
                x = _layer(x, *looks[kind], norms, [g.tensors() for g in groups], self.passes, batch, length,
                           self.shape, rows if i == len(self.layers) else None)
            hidden = norm(x, self._gain(self.decoder.norm), self.shape.eps, self.passes)
            if rows is not None:  # each of `rows` in its place
                hidden = hidden.new_zeros(batch * length, hidden.shape[1]).index_copy(0, rows, hidden)
        return BaseModelOutputWithPast(last_hidden_state=hidden.view(batch, length, -1))

    def _gain(self, norm: Any) -> torch.Tensor:
        """What a norm multiplies with, in fp32; it is frozen."""
        return norm.weight.detach().float() + (1.0 if self.shape.gemma else 0.0)

    def _norms(self, block: Any, names: Sequence[str | None]) -> list[torch.Tensor | None]:
        """The gains of one layer's norms [H]; those of queries and keys in one, [heads + shared, D]."""
        *outer, q, k = [name and self._gain(block.get_submodule(name)) for name in names]
        both = None if q is None else torch.cat([q.expand(self.shape.heads, -1),
                                                 k.expand(self.shape.shared, -1)])
        return [*outer, both]

    def _look(self, kind: str, x: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """cos and sin [1, L, 1, D] and the mask [L, L], -inf where a token may not look."""
        typed = {"layer_type": kind} if self.shape.gemma else {}
        cos, sin = (part[:, :, None].to(x.dtype) for part in self.decoder.rotary_emb(x, positions, **typed))
        ahead = positions[0][None, :] - positions[0][:, None]
        shut = ahead > 0
        if kind == "sliding_attention":
            shut |= ahead <= -self.shape.window
        return cos, sin, x.new_zeros(ahead.shape).masked_fill(shut, float("-inf"))


def _groups(block: Any) -> list[list[Any]]:
    a, m = block.self_attn, block.mlp
    return [[a.q_proj, a.k_proj, a.v_proj], [a.o_proj], [m.gate_proj, m.up_proj], [m.down_proj]]


def why_not(model: Any) -> str | None:
    """Why `model` (with LoRA) keeps the library's forward; None where `stack` can take its place."""
    decoder = model.get_decoder()
    if decoder.config.model_type not in KNOWN:
        return f"its layers are of type {decoder.config.model_type}, not one of {', '.join(KNOWN)}"
    if shape_of(decoder.config.to_dict()) is None:
        return "its attention, rotation or activation is none that it knows"
    modules = [m for block in decoder.layers for group in _groups(block) for m in group]
    if any(not hasattr(m, "lora_A") or "default" not in m.lora_A for m in modules):
        return "not all of its linear modules have LoRA"
    if any(m.base_layer.bias is not None for m in modules):
        return "its linear modules have a bias"
    if any(m.lora_dropout["default"].__class__.__name__ == "Dropout" for m in modules):
        return "lora_dropout draws for every module's input, which it does not do"
    return None


def stack(model: Any) -> None:
    """Let `model` (peft LoRA over a causal LM) compute its decoder with StackedBody.

    Raises ValueError where `why_not` says why not.
    """
    if reason := why_not(model):
        raise ValueError(reason)
    decoder = model.get_decoder()
    decoder.forward = StackedBody(decoder)


def read_only(model: Any, wanted: Callable[[], torch.Tensor]) -> None:
    """Tell the body of `model`, where it is stacked, which hidden states are read: `wanted` gives a mask
    [B, L] of the batch that comes next."""
    if body := body_of(model):
        body.wanted = wanted


def body_of(model: Any) -> StackedBody | None:
    """What computes the decoder of `model` since `stack`."""
    forward = model.get_decoder().forward if hasattr(model, "get_decoder") else None
    return forward if isinstance(forward, StackedBody) else None
