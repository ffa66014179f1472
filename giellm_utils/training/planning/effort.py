"""Work of a training in FLOPs, and how long that takes at a stated share of a machine's speed."""

from __future__ import annotations

from typing import NamedTuple

from giellm_utils.core.plan_record import Effort, Method
from giellm_utils.training.planning.architecture import Architecture


class Work(NamedTuple):
    """What is trained on: sequences, their tokens in all and those with loss, and the longest sequence."""

    sequences: int
    tokens: int
    targets: int
    longest: int
    longest_targets: int


def flops(arch: Architecture, method: Method, work: Work, *, checkpointing: bool) -> float:
    """FLOPs of one epoch.

    Forward: 2 a weight of a layer and token, attention's two products over the whole square, and the output
    layer at tokens with loss only. Backward: twice that, once where weights are frozen; once more forward
    where activations are recomputed. (Kaplan et al. 2020, arXiv 2001.08361, section 2.1, counts alike.)
    """
    config = arch.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    square = work.tokens * (work.tokens / work.sequences)
    forward = 2 * arch.linear * work.tokens + 4 * size * config.num_attention_heads * arch.layers * square
    back = 2 if method == "full" else 1
    return forward * (1 + back + checkpointing) + 2 * arch.head * work.targets * (1 + back)


def effort(work: Work, epoch_flops: float, *, epochs: float, steps: int, count: int, tflops: float | None,
           utilisation: float) -> Effort:
    """The whole training on `count` devices of `tflops` each, of which `utilisation` is used."""
    total = epochs * epoch_flops
    hours = None if tflops is None else total / (count * tflops * 1e12 * utilisation) / 3600
    return Effort(sequences=work.sequences, epochs=epochs, steps=steps, tokens=work.tokens,
                  targets=work.targets, flops=total, tflops=tflops, utilisation=utilisation, hours=hours)
