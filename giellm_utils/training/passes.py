"""What a decoder layer does besides its large products, with gradients written by hand.

Where products are fast (AMX) these passes through memory take most of a training step: the library's
autograd casts, copies and keeps what each small operation leaves. In each pass all operands are of one type:
bf16 and fp32 together take ten times as long on a CPU. training.fused has the same passes compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from giellm_utils.models.weights import ACTIVATIONS

Tensor = torch.Tensor


class Passes(NamedTuple):
    """What computes the passes; each gives tensors of the type of its first argument.

    norm: x, gain, eps -> x / rms(x) * gain, contiguous, and 1 / rms(x) in fp32; norm_gradient: of its output,
    x, 1 / rms(x), gain -> that of x. turn: x, cos, sin, sign -> x turned by the angle (-1) or back (1).
    gate: gate and up side by side, name of the activation -> activation(gate) * up, and what its gradient
    wants kept; gate_gradient: of its output, gate and up, what was kept, name -> that of both.
    """

    norm: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    norm_gradient: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    turn: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    gate: Callable[[Tensor, str], tuple[Tensor, Tensor | None]]
    gate_gradient: Callable[[Tensor, Tensor, Tensor | None, str], Tensor]


def _norm(x: Tensor, gain: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return torch.mul(wide * inverse, gain, out=_like(x)), inverse


def _norm_gradient(upstream: Tensor, x: Tensor, inverse: Tensor, gain: Tensor) -> Tensor:
    wide, value = upstream.float() * gain, x.float()
    along = torch.linalg.vecdot(wide, value)[..., None].mul_(inverse.square()).div_(x.shape[-1])
    wide.addcmul_(value, along, value=-1)
    return torch.mul(wide, inverse, out=_like(x))


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    out, half = x * cos, x.shape[-1] // 2
    sin = sin[..., :half]
    out[..., :half].addcmul_(x[..., half:], sin, value=sign)
    out[..., half:].addcmul_(x[..., :half], sin, value=-sign)
    return out


def _gate(both: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    gate, up = both.chunk(2, -1)
    active = ACTIVATIONS[activation](gate)
    return active * up, active


def _gate_gradient(upstream: Tensor, both: Tensor, active: Tensor, activation: str) -> Tensor:
    gate, up = both.chunk(2, -1)
    out = torch.empty_like(both)
    to_gate, to_up = out.chunk(2, -1)
    SLOPES[activation](upstream * up, gate, grad_input=to_gate)
    torch.mul(upstream, active, out=to_up)
    return out


#: One operation of the library after the other.
EAGER = Passes(_norm, _norm_gradient, _turn, _gate, _gate_gradient)
#: The gradients of models.weights.ACTIVATIONS: of their outputs, then their inputs.
SLOPES = {"gelu_pytorch_tanh": partial(torch.ops.aten.gelu_backward.grad_input, approximate="tanh"),
          "silu": torch.ops.aten.silu_backward.grad_input}


class _Norm(torch.autograd.Function):
    """`gain` (fp32) is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float, passes: Passes) -> Tensor:
        out, inverse = passes.norm(x, gain, eps)
        ctx.save_for_backward(x, inverse, gain)
        ctx.passes = passes
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor):
        return ctx.passes.norm_gradient(upstream, *ctx.saved_tensors), None, None, None


def norm(x: Tensor, gain: Tensor, eps: float, passes: Passes = EAGER) -> Tensor:
    """Root mean square norm of x [..., K] over its last dimension, times `gain`, which broadcasts to it."""
    return _Norm.apply(x, gain, eps, passes)


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, passes: Passes) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.passes = passes
        return passes.turn(x, cos, sin, -1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor):
        return ctx.passes.turn(upstream, *ctx.saved_tensors, 1), None, None, None


def rotate(x: Tensor, cos: Tensor, sin: Tensor, passes: Passes = EAGER) -> Tensor:
    """Rotary embedding of x [B, L, heads, D] by cos and sin [1, L, 1, D], both halves of which are alike."""
    return _Rotation.apply(x, cos, sin, passes)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor, activation: str, passes: Passes) -> Tensor:
        out, kept = passes.gate(both, activation)
        ctx.save_for_backward(both, kept)
        ctx.activation, ctx.passes = activation, passes
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor):
        return ctx.passes.gate_gradient(upstream, *ctx.saved_tensors, ctx.activation), None, None


def gated(both: Tensor, activation: str, passes: Passes = EAGER) -> Tensor:
    """activation(gate) * up of `both` [T, 2 F], the gate's columns first."""
    return _Gate.apply(both, activation, passes)
