"""The plans of results/plan (giellm plan --out) as Markdown tables. Computed, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from giellm_utils.core.plan_record import (
    GIB,
    Memory,
    MemoryCase,
    MemoryFile,
    METHODS,
    Option,
    Plan,
    PlanFile,
    STRATEGIES,
)
from giellm_utils.reporting.tables import rows_to_markdown

#: How every table, figure and page of plans says where its numbers come from.
COMPUTED = "Computed from the models' published configurations, not run here"
#: How far a planned peak may lie from a measured one.
TOLERANCE = 0.1
TENTH = f"{100 * TOLERANCE:.0f} %"
#: Columns of memory: head -> parts of core.plan_record.Memory that it adds up.
GROUPS: dict[str, tuple[str, ...]] = {
    "weights": ("parameters", "copies", "gathered"), "gradients": ("gradients",),
    "AdamW": ("optimizer",), "activations": ("activations",), "logits, loss": ("logits",),
    "temporary, framework": ("temporary", "overhead")}


def grouped(memory: Memory) -> dict[str, float]:
    """GiB of one device by the heads of GROUPS; they add up to the memory's total."""
    return {head: sum(getattr(memory, part) for part in parts) / GIB for head, parts in GROUPS.items()}


def gib(size: float) -> str:
    """`9.31` or `36.1`: bytes as GiB with three digits."""
    return f"{size / GIB:.2f}" if size < 10 * GIB else f"{size / GIB:.1f}"


def way(option: Option) -> str:
    """`full, FSDP2`"""
    return f"{METHODS[option.method]}, {STRATEGIES[option.strategy]}"


def fits(option: Option) -> str:
    """Whether an option fits, or that our training refuses it (training.sharded)."""
    return "refused" if option.refused else "yes" if option.fits else "no"


def verdict(plan: Plan) -> str:
    """The profile's own way in three sentences: whether it fits, the work, and what others' formulas say."""
    own, work = plan.own, plan.effort
    time = ("" if work.hours is None else f", {work.hours:.2g} hours at {work.utilisation:.0%} of "
            f"{work.tflops:g} TFLOP/s a device")
    return (f"{way(own)} {'fits' if own.fits else 'does not fit'}: {gib(own.memory.total)} of "
            f"{gib(plan.capacity)} GiB"
            f"{'' if own.largest_batch is None else f', batch {own.largest_batch} at most'}"
            f"{'' if own.smallest is None else f', {own.smallest} is the smallest machine'}. "
            f"{work.sequences:,} sequences, {work.steps:,} steps, {work.flops:.2g} FLOPs{time}; "
            f"{plan.trainings} training{'s' if plan.trainings > 1 else ''} in the profile. For comparison: "
            f"DeepSpeed's estimator gives {gib(plan.published.zero3_states)} GiB of weights, gradients and "
            f"optimizer state under ZeRO-3, Megatron's formula {gib(plan.published.activations_fused)} to "
            f"{gib(plan.published.activations)} GiB of activations for one sequence.")


def pairs(plan: Plan) -> list[tuple[Option, Option]]:
    """Each way of a plan without and with gradient checkpointing."""
    other = {(o.method, o.strategy): o for o in plan.options if o.checkpointing}
    return [(o, other[o.method, o.strategy]) for o in plan.options if not o.checkpointing]


def memory_table(result: Mapping[str, Any]) -> str:
    """Planned beside measured peaks of one file of results/memory."""
    file = MemoryFile.model_validate(result)
    rows = [(c.model, f"{c.parameters / 1e6:.0f} × 10⁶", METHODS[c.method], c.batch, c.longest,
             c.longest_targets, gib(c.predicted.total), gib(c.measured), f"{c.ratio:.3f}",
             "yes" if within(c) else "no", c.predicted.moment) for c in file.cases]
    good = sum(map(within, file.cases))
    return (f"{file.source}, the longest sequences of train, joint, {file.dtype}, {file.threads} threads on "
            "a CPU. Planned: giellm plan's sum before the training; measured: most resident memory of the "
            f"training process. {good} of {len(rows)} within {TENTH}.\n\n"
            + rows_to_markdown(("model", "parameters", "method", "batch", "longest", "with loss",
                                "planned GiB", "measured GiB", "planned / measured",
                                f"within {TENTH}", "most is held when"), rows))


def within(case: MemoryCase) -> bool:
    """Whether the planned peak is within TOLERANCE of the measured one."""
    return abs(case.ratio - 1) <= TOLERANCE


def plan_table(result: Mapping[str, Any]) -> str:
    """Memory of every way, then the work of the profiles' own way, of one file of results/plan."""
    plans = PlanFile.model_validate(result).plans
    first = plans[0]
    memory = rows_to_markdown(
        ("profile", "way", *GROUPS, "sum", "fits", "batch at most", "smallest machine",
         "sum with checkpointing", "batch at most with it"),
        [(p.profile, f"**{way(o)}**" if o == p.own else way(o),
          *(f"{x:.1f}" for x in grouped(o.memory).values()), gib(o.memory.total), fits(o),
          o.largest_batch, o.smallest, gib(c.memory.total), c.largest_batch)
         for p in plans for o, c in pairs(p)])
    work = rows_to_markdown(
        ("profile", "base model", "parameters", "the profile's way", "it needs", "of", "smallest machine",
         "steps", "FLOPs", "hours", "states under ZeRO-3 (DeepSpeed's estimator)",
         "activations of a sequence (Megatron's formula)"),
        [(p.profile, p.model, f"{p.parameters / 1e9:.2f} × 10⁹", f"{way(p.own)}: {fits(p.own)}",
          f"{gib(p.own.memory.total)} GiB", f"{gib(p.capacity)} GiB", p.own.smallest, f"{p.effort.steps:,}",
          f"{p.effort.flops:.2g}", None if p.effort.hours is None else f"{p.effort.hours:.2g}",
          f"{gib(p.published.zero3_states)} GiB",
          f"{gib(p.published.activations_fused)} to {gib(p.published.activations)} GiB") for p in plans])
    return (f"{COMPUTED}: {first.devices}, {gib(first.capacity)} GiB usable a device, {first.dtype}, "
            f"{first.batch} sequence{'s' if first.batch > 1 else ''} a device, the longest of "
            f"{first.longest} tokens with loss on {first.longest_targets}. GiB of one device at the moment "
            "of a step that holds most (gradients are 0 where that is the beginning of the backward pass); "
            "bold: the profile's own way; refused: our training does not start that way.\n\n"
            f"{memory}\n{work}\nTaken for granted: {'; '.join(first.assumed)}.\n")
