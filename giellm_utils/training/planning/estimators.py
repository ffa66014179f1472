"""Published estimates of the same quantities, to hold ours against. Bytes."""

from __future__ import annotations


def zero3_states(parameters: int, largest_layer: int, devices: int) -> int:
    """Parameters, gradients and AdamW states of one device under ZeRO-3 without offload.

    DeepSpeed, deepspeed.runtime.zero.stage3.estimate_zero3_model_states_mem_needs: 18 bytes a parameter
    (fp16 weight 2, and fp32 weight, gradient and two moments) shared out, and 4 for the largest layer, whole.
    """
    return 4 * largest_layer + int(18 * parameters / devices)


def megatron_layer(length: int, batch: int, hidden: int, heads: int, *, fused: bool = False) -> int:
    """Activations that one transformer layer keeps in 16 bit, with dropout and without parallelism.

    Korthikanti et al. 2022 (arXiv 2205.05198), equation 1: s b h (34 + 5 a s / h); `fused`: without the
    second term, which a fused attention computes again.
    """
    return 34 * length * batch * hidden + (0 if fused else 5 * heads * length ** 2 * batch)
