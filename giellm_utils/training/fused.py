"""The passes of training.passes, each one loop through memory, compiled by torch.compile (C++).

Compiling takes 10 to 30 seconds, once a machine: what is made is kept in the cache folder. Lengths are
dynamic: nothing is compiled anew for another batch. The numbers differ from training.passes' by roundings.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from giellm_utils.core.paths import cache_dir
from giellm_utils.training.passes import Passes, Tensor

#: Steps from which on this is worth it: a fifteenth to a fifth of each is gained (LOG.md).
WORTH = 300


def why_not() -> str | None:
    """Why nothing can be compiled here; None where it can, which is tried."""
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        return f"there is no C++ compiler {compiler}"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Python's headers (Python.h) are not installed"
    try:
        _made(lambda x: x + 1)(torch.ones(8))
    except Exception as error:  # whatever torch, the compiler or the disk has to say
        return f"torch.compile failed with {type(error).__name__}"
    return None


@cache
def compiled() -> Passes:
    """The passes, each compiled when it is first used."""
    return Passes(_made(_norm), _made(_norm_gradient), _made(_turn), _made(_gate), _made(_gate_gradient))


def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    # torch's cache holds pickles of its own: not below /tmp, its default, where others may write.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "inductor"))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a pool of processes is slower for five
    return torch.compile(function, dynamic=True)


def _norm(x: Tensor, gain: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    wide = x.float()
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * inverse * gain).to(x.dtype).contiguous(), inverse


def _norm_gradient(upstream: Tensor, x: Tensor, inverse: Tensor, gain: Tensor) -> Tensor:
    wide, value = upstream.float() * gain, x.float()
    along = (wide * value).mean(-1, keepdim=True) * inverse.square()
    return ((wide - value * along) * inverse).to(x.dtype).contiguous()


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half].float(), x[..., half:].float()
    cos, sin = cos[..., :half].float(), sin[..., :half].float() * sign
    return torch.cat([first * cos + second * sin, second * cos - first * sin], -1).to(x.dtype)


def _gate(both: Tensor, activation: str) -> tuple[Tensor, None]:
    gate, up = both.float().chunk(2, -1)
    return (gate * torch.sigmoid(STEEPNESS[activation](gate)[0]) * up).to(both.dtype), None


def _gate_gradient(upstream: Tensor, both: Tensor, kept: None, activation: str) -> Tensor:
    gate, up = both.float().chunk(2, -1)
    upstream = upstream.float()
    inner, slope = STEEPNESS[activation](gate)
    share = torch.sigmoid(inner)
    to_gate = upstream * up * (share + gate * share * (1 - share) * slope)
    return torch.cat([to_gate, upstream * gate * share], -1).to(both.dtype)


def _gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    """0.5 (1 + tanh(y)) is sigmoid(2 y), which takes one exponential."""
    k, cubic = 1.5957691216057308, 0.044715  # 2 sqrt(2 / pi)
    square = x * x
    return k * x * (1 + cubic * square), k * (1 + 3 * cubic * square)


#: Activations are x * sigmoid(s(x)): s(x) and its slope.
STEEPNESS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor | float]]] = {
    "gelu_pytorch_tanh": _gelu, "silu": lambda x: (x, 1.0)}
