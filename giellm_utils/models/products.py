"""Matrix products in bf16 that are fast on a CPU that multiplies fp32 faster, too.

Without bf16 instructions oneDNN emulates them at a quarter of fp32's speed; with AVX512-BF16 they can take
1.7 times as long as in fp32 (models.processor, LOG.md). Widened to fp32 there, multiplied and rounded once,
they are by construction the numbers of other processors but for the order of summation and the smallest
numbers: a product of two bf16 is exact in fp32, and those sum in fp32 as well.
"""

from __future__ import annotations

import torch

from giellm_utils.models.processor import fast_in_bf16


def autocasts(method: str = "lora", *, cpu: bool | None = None) -> bool:
    """Whether a training in bf16 does so by autocast: not of frozen bf16 weights whose products are widened.

    `cpu`: whether it runs on one; None: where no GPU is visible.
    """
    cpu = not torch.cuda.is_available() if cpu is None else cpu
    return method == "full" or not cpu or fast_in_bf16()


def widens(x: torch.Tensor) -> bool:
    """Whether products of `x` are made in fp32 and rounded."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and not fast_in_bf16()


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


class WideLinear(torch.nn.Linear):
    """A linear module without bias whose product is `product`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return product(input, self.weight.t())


def widen_linears(model: torch.nn.Module) -> None:
    """Let the linear modules of `model` whose products are widened here be WideLinear: the library's layers
    compute as fast as ours. Parameters and their names stay."""
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.bias is None and widens(module.weight):
            module.__class__ = WideLinear
