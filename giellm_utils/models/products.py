"""Matrix products in bf16 that are fast on a CPU without bf16 instructions too.

There oneDNN emulates them at a quarter of fp32's speed (LOG.md). Widened to fp32 here, multiplied and rounded
once, they are the same numbers but for the order of summation: a product of two bf16 is exact in fp32, and
processors with bf16 instructions sum in fp32 as well.
"""

from __future__ import annotations

from functools import cache

import torch


@cache
def has_bf16_instructions() -> bool:
    """Whether this processor multiplies bf16 by itself (AVX512-BF16 or AMX)."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def widens(x: torch.Tensor) -> bool:
    """Whether products of `x` are made in fp32 and rounded."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and not has_bf16_instructions()


def widened(x: torch.Tensor) -> torch.Tensor:
    """`x` as `product` multiplies it here: in fp32 where products of its type are widened, to do so once."""
    return x.float() if widens(x) else x


def product(a: torch.Tensor, b: torch.Tensor, added: torch.Tensor | None = None,
            out: torch.Tensor | None = None) -> torch.Tensor:
    """a [..., M, K] times b [..., K, N], plus `added` [M, N]; in the type of `a`, rounded once, in `out` if
    given. `b` is of the type of `a`, or `widened`."""
    if not widens(a):
        return torch.matmul(a, b, out=out) if added is None else torch.addmm(added, a, b, out=out)
    # Under autocast the widened operands would be narrowed again.
    with torch.autocast("cpu", enabled=False):
        wide = a.float() @ b.float() if added is None else torch.addmm(added.float(), a.float(), b.float())
    return wide.to(a.dtype) if out is None else out.copy_(wide)
