"""Passes with gradients written by hand, as they are and compiled, against what autograd makes of the plain
formulas."""

from __future__ import annotations

import pytest
import torch

from giellm_utils.models.weights import ACTIVATIONS
from giellm_utils.training import fused
from giellm_utils.training.passes import EAGER, gated, norm, rotate, SLOPES

EPS = 1e-6


@pytest.fixture(params=["eager", "compiled"])
def passes(request):
    if request.param == "eager":
        return EAGER
    if reason := fused.why_not():
        pytest.skip(f"nothing can be compiled here: {reason}")
    return fused.compiled()


def plain_norm(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    wide = x.double() if x.dtype == torch.float32 else x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS) * gain).to(x.dtype)


def plain_rotation(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def same(ours, plain, x: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Values and gradients of x."""
    found, wanted = ours(x), plain(x)
    upstream = torch.randn_like(wanted)
    assert found.dtype == x.dtype and torch.allclose(found, wanted, rtol=tolerance, atol=tolerance)
    (a,), (b,) = (torch.autograd.grad(y, x, upstream) for y in (found, wanted))
    assert a.dtype == x.dtype and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("shape", [(7, 64), (2, 5, 3, 16)])
def test_norm(shape, dtype, tolerance, passes) -> None:
    gain = torch.rand(shape[-1]) + 0.5
    x = torch.randn(shape).to(dtype).requires_grad_()
    same(lambda x: norm(x, gain, EPS, passes), lambda x: plain_norm(x, gain), x, tolerance)


def test_norm_of_a_part_whose_gains_differ_by_head(passes) -> None:
    """As queries and keys are normed together: the part is not contiguous."""
    gain = torch.rand(3, 8) + 0.5
    x = torch.randn(2, 4, 5, 8, requires_grad=True)
    same(lambda x: norm(x[:, :, :3], gain, EPS, passes), lambda x: plain_norm(x[:, :, :3], gain), x)
    assert norm(x[:, :, :3], gain, EPS, passes).is_contiguous()


def test_a_norm_of_nothing_is_nothing(passes) -> None:
    x = torch.zeros(2, 8, requires_grad=True)
    y = norm(x, torch.ones(8), EPS, passes)
    y.sum().backward()
    assert not y.any() and torch.isfinite(x.grad).all()


def test_rotation(passes) -> None:
    angle = torch.randn(1, 4, 1, 8).repeat(1, 1, 1, 2)
    cos, sin = angle.cos(), angle.sin()
    x = torch.randn(2, 4, 3, 16, requires_grad=True)
    same(lambda x: rotate(x, cos, sin, passes), lambda x: plain_rotation(x, cos, sin), x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gate(name, passes) -> None:
    def plain(both: torch.Tensor) -> torch.Tensor:
        gate, up = both.chunk(2, -1)
        return ACTIVATIONS[name](gate) * up

    same(lambda both: gated(both, name, passes), plain, (3 * torch.randn(6, 32)).requires_grad_())
    same(lambda both: gated(both, name, passes), plain,
         (3 * torch.randn(6, 32)).bfloat16().requires_grad_(), tolerance=2e-2)


def test_each_activation_has_its_slope() -> None:
    assert set(SLOPES) == set(ACTIVATIONS) == set(fused.STEEPNESS)
