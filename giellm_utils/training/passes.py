"""What a decoder layer does besides its large products, with gradients written by hand.

Where products are fast (AMX) these passes through memory take most of a training step: the library's
autograd casts, copies and keeps what each small operation leaves. In each pass all operands are of one type:
bf16 and fp32 together take ten times as long on a CPU.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from giellm_utils.models.weights import ACTIVATIONS


class _Norm(torch.autograd.Function):
    """x / rms(x) * gain, in fp32 within; `gain` (fp32) is frozen."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, inverse, gain)
        return torch.mul(wide * inverse, gain, out=torch.empty_like(x, memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor):
        x, inverse, gain = ctx.saved_tensors
        wide, value = upstream.float() * gain, x.float()
        along = torch.linalg.vecdot(wide, value)[..., None].mul_(inverse.square()).div_(x.shape[-1])
        wide.addcmul_(value, along, value=-1)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        return torch.mul(wide, inverse, out=out), None, None


def norm(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    """Root mean square norm of x [..., K] over its last dimension, times `gain`, which broadcasts to it."""
    return _Norm.apply(x, gain, eps)


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, -1)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor):
        return _turned(upstream, *ctx.saved_tensors, 1), None, None


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    out, half = x * cos, x.shape[-1] // 2
    sin = sin[..., :half]
    out[..., :half].addcmul_(x[..., half:], sin, value=sign)
    out[..., half:].addcmul_(x[..., :half], sin, value=-sign)
    return out


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x [B, L, heads, D] by cos and sin [1, L, 1, D], both halves of which are alike."""
    return _Rotation.apply(x, cos, sin)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: torch.Tensor, activation: str) -> torch.Tensor:
        gate, up = both.chunk(2, -1)
        active = ACTIVATIONS[activation](gate)
        ctx.save_for_backward(both, active)
        ctx.slope = SLOPES[activation]
        return active * up

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor):
        both, active = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        out = torch.empty_like(both)
        to_gate, to_up = out.chunk(2, -1)
        ctx.slope(upstream * up, gate, grad_input=to_gate)
        torch.mul(upstream, active, out=to_up)
        return out, None


def gated(both: torch.Tensor, activation: str) -> torch.Tensor:
    """activation(gate) * up of `both` [T, 2 F], the gate's columns first."""
    return _Gate.apply(both, activation)


#: The gradients of models.weights.ACTIVATIONS: of their outputs, then their inputs.
SLOPES = {"gelu_pytorch_tanh": partial(torch.ops.aten.gelu_backward.grad_input, approximate="tanh"),
          "silu": torch.ops.aten.silu_backward.grad_input}
