"""Bytes of one device in a step of our training, part by part.

What our Trainer keeps (training.run, trainer, loss): full fine-tuning holds fp32 weights, gradients and two
AdamW moments and computes in bf16 copies (autocast), its output layer at target positions only; LoRA holds
bf16 weights and fp32 adapters, its loss in chunks over two kept buffers. How that is shared out: DDP, FSDP2
(fully_shard; accelerate's mixed precision), DeepSpeed ZeRO-3.
"""

from __future__ import annotations

from typing import NamedTuple

from giellm_utils.core.plan_record import GIB, Memory, Method, Moment, Strategy
from giellm_utils.models.processor import fast_in_bf16
from giellm_utils.training.loss import CHUNK
from giellm_utils.training.planning.architecture import Architecture
from giellm_utils.training.planning.trace import Passes

#: NF4 in blocks of 64 with double quantization (Dettmers et al. 2023, arXiv 2305.14314, section 3).
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
#: DeepSpeed's stage3_max_live_parameters: whole weights that may be on a device at once.
ZERO3_LIVE = 10 ** 9
#: Of a GPU, taken for granted: CUDA context and libraries, NCCL where there are several, and the share that
#: PyTorch's caching allocator holds without need.
CONTEXT, NCCL, FRAGMENTS = 1.0 * GIB, 0.5 * GIB, 0.05
#: Of a training process on a CPU, as it was with Gemma-3-270M here: imports, peft, and a row of a tokenizer's
#: vocabulary (in memory, and once more while it is saved).
IMPORTS, PEFT, TOKENIZER_ROW = 520_000_000, 150_000_000, 1_550
#: Share of the activations that a CPU's heap loses in holes beside them: read off the trainings of
#: results/memory (LOG.md, 2026-11-30).
HOLES = 0.2
#: Bytes a logit of full fine-tuning at its worst: log-probabilities and two gradients in fp32 (traced).
LOGIT = 12


class Setting(NamedTuple):
    """How a model is trained, and on what; a batch is one device's."""

    method: Method
    strategy: Strategy
    count: int
    batch: int
    #: Tokens of the longest sequence with loss.
    targets: int
    bf16: bool
    cpu: bool
    accumulate: int
    #: Rows of a frozen output layer that are scored; None for all.
    rows: int | None = None


class Held(NamedTuple):
    """What lasts from step to step, and gradients."""

    parameters: float
    gradients: float
    optimizer: float


def held(arch: Architecture, passes: Passes, setting: Setting) -> Held:
    """Weights, gradients and optimizer state of one device, in bytes."""
    trained = arch.parameters if setting.method == "full" else passes.trainable
    width = 2 if setting.bf16 else 4
    frozen = 0.0 if setting.method == "full" else width * arch.parameters
    if setting.method == "qlora":
        # What is not quantised is made fp32 (peft, prepare_model_for_kbit_training).
        frozen = NF4_BYTES * arch.linear + 4 * (arch.parameters - arch.linear)
    each = _shards(setting)
    # ZeRO-3 keeps a bf16 weight beside the fp32 one; DDP's buckets hold the gradients once more.
    weight = 6 if setting.strategy == "zero3" else 4
    gradient = 8 if setting.strategy == "ddp" else 4
    return Held((frozen + weight * trained) / each, gradient * trained / each, 8 * trained / each)


def memory(arch: Architecture, passes: Passes, setting: Setting) -> Memory:
    """The moment of a step that holds most, and what it holds."""
    states, full = held(arch, passes, setting), setting.method == "full"
    sharded = _shards(setting) > 1 or setting.strategy in ("fsdp2", "zero3")
    head = arch.head if full else 0
    cast = 0 if sharded and full else passes.cast + (2 * head if setting.bf16 else 0)
    # Of the output layer's gradient: bf16 and fp32 at once, or bf16 alone where weights are gathered in it.
    made = head * (2 if sharded else 6 if setting.bf16 else 4)
    kept = {"parameters": states.parameters, "optimizer": states.optimizer, "copies": passes.stacked}
    early = setting.accumulate > 1 or setting.strategy == "ddp"
    wide = _gathered(arch, setting)
    begins = {**kept, "gradients": states.gradients if early else 0, "copies": passes.stacked + cast,
              "gathered": wide, "activations": passes.activations, "logits": _logits(arch, setting, made),
              "temporary": passes.transient + _dequantised(arch, setting)}
    ends = {**kept, "gradients": states.gradients, "gathered": wide,
            "temporary": max(passes.transient, (2 if sharded else 4) * head if arch.tied else 0)}
    step = {**kept, "gradients": states.gradients, "temporary": _optimizer(arch, passes, setting)}
    if not full:
        buffers = _buffers(arch, setting)
        ends["logits"] = step["logits"] = buffers
    kept_by_heap = (1 + HOLES) * passes.activations + passes.cast if setting.cpu else 0
    moments: dict[Moment, dict[str, float]] = {
        "backward begins": {**begins, "overhead": _overhead(arch, setting, sum(begins.values()))},
        "backward ends": {**ends, "overhead": _overhead(arch, setting, sum(ends.values())) + kept_by_heap},
        "optimizer step": {**step, "overhead": _overhead(arch, setting, sum(step.values())) + kept_by_heap}}
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    parts = {"gathered": 0, "activations": 0, "logits": 0, **moments[moment]}
    return Memory(moment=moment, **{name: int(size) for name, size in parts.items()})


def _shards(setting: Setting) -> int:
    """Devices that share one copy of the weights."""
    return setting.count if setting.strategy in ("fsdp2", "zero3") else 1


def _gathered(arch: Architecture, setting: Setting) -> float:
    """Whole weights that are on a device for a while: FSDP2 a layer, the next one and the root (embedding,
    output layer), with a layer's bf16 gradient and its copy for the exchange; ZeRO-3 up to ZERO3_LIVE."""
    layer, root = arch.body / arch.layers, arch.parameters - arch.body
    width = NF4_BYTES if setting.method == "qlora" else 2
    if setting.strategy == "fsdp2":
        return 2 * width * layer + 2 * root + (4 * layer if setting.method == "full" else 0)
    if setting.strategy == "zero3":
        return width * min(ZERO3_LIVE, arch.parameters)
    return 0


def _logits(arch: Architecture, setting: Setting, made: float) -> float:
    """Logits and what is made of them; of full fine-tuning either at their worst, or as one gradient (and its
    bf16 copy) when the output layer's, of `made` bytes, is made of it."""
    tokens = setting.batch * setting.targets
    if setting.method == "full":
        logits = tokens * arch.vocabulary
        return max(LOGIT * logits, (6 if setting.bf16 else 4) * logits + made)
    # The picked hidden states, their gradient and its copy.
    return _buffers(arch, setting) + 6 * tokens * arch.hidden + _widened(arch, setting)


def _buffers(arch: Architecture, setting: Setting) -> float:
    """The frozen output layer's two kept buffers, and the picked rows where only some are scored."""
    width = 2 if setting.bf16 and setting.method == "lora" else 4
    rows = arch.vocabulary if setting.rows is None else setting.rows
    picked = 0 if setting.rows is None else width * rows * arch.hidden
    return CHUNK * rows * (4 + width) + picked


def _widened(arch: Architecture, setting: Setting) -> float:
    """The scored rows in fp32, where their products are widened (models.products)."""
    if not (setting.cpu and setting.bf16 and setting.method == "lora") or fast_in_bf16():
        return 0
    return 4 * arch.hidden * (arch.vocabulary if setting.rows is None else setting.rows)


def _dequantised(arch: Architecture, setting: Setting) -> float:
    return 2 * arch.largest_linear if setting.method == "qlora" else 0


def _optimizer(arch: Architecture, passes: Passes, setting: Setting) -> float:
    """Of AdamW's step: nothing where it is fused (training.run), one number a parameter under FSDP2 (all at
    once, foreach); ZeRO-3's fp32 gradients are counted with the gradients."""
    if setting.strategy != "fsdp2":
        return 0
    return 4 * (arch.parameters if setting.method == "full" else passes.trainable) / _shards(setting)


def _overhead(arch: Architecture, setting: Setting, rest: float) -> float:
    if setting.cpu:
        adapters = 0 if setting.method == "full" else PEFT
        return IMPORTS + adapters + TOKENIZER_ROW * arch.vocabulary
    return CONTEXT + (NCCL if setting.count > 1 else 0) + FRAGMENTS * rest
