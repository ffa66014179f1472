"""What a training needs before it starts: memory of a device, what fits, on what machine, for how long.

`make_plan` is what `giellm plan` shows; `refuse_if_too_large` keeps `giellm run` from starting in vain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import get_args, NamedTuple

import torch

from giellm_utils.core.plan_record import FORCED, GIB, Memory, Method, Option, Plan, Published, Strategy
from giellm_utils.core.settings import ConfigError
from giellm_utils.models.spec import ModelConfig, statement
from giellm_utils.models.weights import dtype_for
from giellm_utils.training import machines, sharded
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.planning import hardware
from giellm_utils.training.planning.architecture import Architecture, architecture, find_config, PlanError
from giellm_utils.training.planning.effort import effort, flops, Work
from giellm_utils.training.planning.estimators import megatron_layer, zero3_states
from giellm_utils.training.planning.hardware import Hardware
from giellm_utils.training.planning.memory import memory, Setting
from giellm_utils.training.planning.trace import trace, Traced

#: Beyond this no batch is looked for.
LARGEST_BATCH = 4096
UTILISATION = 0.3
#: distributed_type of configs/accelerate -> how that shares a training out.
KINDS: dict[str, Strategy] = {"NO": "one", "MULTI_GPU": "ddp", "MULTI_CPU": "ddp", "FSDP": "fsdp2",
                              "DEEPSPEED": "zero3"}


class Way(NamedTuple):
    """One way to train a model."""

    method: Method
    strategy: Strategy
    checkpointing: bool

    @classmethod
    def of(cls, training: TrainingConfig, count: int) -> Way:
        """How a profile trains on `count` devices; machine auto: as machines.choose would have it there."""
        name = machines.choose(training, count)[0] if training.machine == "auto" else training.machine
        strategy = KINDS[machines.machine(name).kind] if count > 1 else "one"
        return cls(training.method, strategy, training.gradient_checkpointing)

    def refused(self, training: TrainingConfig) -> bool:
        """Whether our training refuses it (training.sharded)."""
        if self.strategy not in ("fsdp2", "zero3"):
            return False
        try:
            sharded.refuse(training.model_copy(update={"method": self.method}),
                           {"FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}, self.strategy)
        except ConfigError:
            return True
        return False


class Planner:
    """Memory of one base model under one profile's training, by way, number of devices and batch.

    `rows`: rows of a frozen output layer that are scored, None for all. Raises PlanError, ModelError.
    """

    def __init__(self, model: ModelConfig, training: TrainingConfig, work: Work, *, cpu: bool,
                 rows: int | None = None) -> None:
        self.arch: Architecture = architecture(find_config(model))
        self.training, self.work, self.cpu, self.rows = training, work, cpu, rows
        self.model = model
        self._traced: Callable[[str, bool], Traced] = cache(self._trace)

    def dtype(self, method: str) -> torch.dtype:
        """What is computed in; a GPU is taken for one that computes in bf16."""
        by_model = self.cpu or self.model.dtype != "auto"
        return dtype_for(self.model, full=method == "full") if by_model else torch.bfloat16

    def _trace(self, method: str, checkpointing: bool) -> Traced:
        return trace(self.arch.config, self.training, method=method, checkpointing=checkpointing,
                     length=self.work.longest, dtype=self.dtype(method), cpu=self.cpu,
                     layers=self.arch.layers)

    def memory(self, way: Way, count: int, batch: int) -> Memory:
        """Of one of `count` devices with so many sequences a pass."""
        traced = self._traced("full" if way.method == "full" else "lora", way.checkpointing)
        accumulate = self.training.accumulate
        if self.training.global_batch:
            accumulate = math.ceil(self.training.global_batch / (count * batch))
        return memory(self.arch, traced.at(batch), Setting(
            way.method, way.strategy, count, batch, self.work.longest_targets,
            self.dtype(way.method) == torch.bfloat16, self.cpu, accumulate, self.rows))

    def option(self, way: Way, machine: Hardware, batch: int) -> Option:
        """All that is said of one way on one machine."""
        count = 1 if way.strategy == "one" else machine.count
        found = self.memory(way, count, batch)
        return Option(
            method=way.method, strategy=way.strategy, checkpointing=way.checkpointing, memory=found,
            fits=found.total <= machine.capacity, refused=way.refused(self.training),
            largest_batch=self.largest_batch(way, count, machine.capacity),
            smallest=None if self.cpu else self.smallest(way, batch))

    def largest_batch(self, way: Way, count: int, capacity: int) -> int | None:
        """Sequences a pass that still fit; memory grows with each."""
        def fits(batch: int) -> bool:
            return self.memory(way, count, batch).total <= capacity

        if not fits(1):
            return None
        low, high = 1, 2
        while high <= LARGEST_BATCH and fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def smallest(self, way: Way, batch: int) -> str | None:
        """The smallest machine of hardware.SIZES that this way fits on."""
        for count, size in hardware.SIZES:
            if (count == 1) == (way.strategy == "one") and (
                    self.memory(way, count, batch).total <= hardware.capacity(size)):
                return f"{count} × {size} GB"
        return None


def make_plan(profile: str, model: ModelConfig, training: TrainingConfig, work: Work, machine: Hardware, *,
              assumed: Sequence[str] = (), utilisation: float = UTILISATION) -> Plan:
    """The plan of one profile on one machine. Raises PlanError, ModelError, ConfigError."""
    own = Way.of(training, machine.count)
    if machine.cpu and own.method == "qlora":
        raise PlanError(f"{profile}: training.method qlora is for NVIDIA GPUs; set it to lora, or plan for a "
                        "machine that has one")
    planner = Planner(model, training, work, cpu=machine.cpu)
    used = machine.count if own.strategy != "one" else 1
    if training.machine == "auto" and not machine.cpu:
        used = machines.choose(training, machine.count)[1]
    step = training.batch(used)
    strategies: tuple[Strategy, ...] = get_args(Strategy) if machine.count > 1 else ("one",)
    methods: tuple[Method, ...] = ("full", "lora") if machine.cpu else get_args(Method)
    options = {way: planner.option(way, machine, step.per_device)
               for way in (Way(m, s, c) for m in methods for s in strategies for c in (False, True))}
    steps = training.max_steps or math.ceil(training.epochs * math.ceil(work.sequences / step.total))
    return Plan(
        profile=profile, model=statement(model), parameters=planner.arch.parameters, devices=machine.name,
        count=machine.count, capacity=machine.capacity,
        dtype=str(planner.dtype(own.method)).removeprefix("torch."),
        batch=step.per_device, longest=work.longest, longest_targets=work.longest_targets,
        trainings=len(training.conditions), assumed=[*assumed, *_assumed(machine, utilisation)],
        options=list(options.values()), own=options[own],
        effort=effort(
            work, flops(planner.arch, own.method, work, checkpointing=own.checkpointing), steps=steps,
            epochs=steps * step.total / work.sequences, count=used, tflops=machine.tflops,
            utilisation=utilisation),
        published=_published(planner.arch, work.longest, machine.count))


def _assumed(machine: Hardware, utilisation: float) -> list[str]:
    said = [] if machine.cpu else ["a CUDA context of 1 GiB, 0.5 GiB for NCCL and 5 % lost by the allocator "
                                   "(taken for granted, not measured here)"]
    return [*said, f"{utilisation:.0%} of the speed of a plain product (a short sequence a device uses less, "
                   "for weights travel at every step)"]


def _published(arch: Architecture, longest: int, count: int) -> Published:
    heads = arch.config.num_attention_heads
    whole, fused = (arch.layers * megatron_layer(longest, 1, arch.hidden, heads, fused=f)
                    for f in (False, True))
    return Published(zero3_states=zero3_states(arch.parameters, arch.largest, count), activations=whole,
                     activations_fused=fused)


def refuse_if_too_large(model: ModelConfig, training: TrainingConfig, work: Work,
                        machine: Hardware | None = None) -> None:
    """Raise PlanError, one sentence, where the devices that the training would run on here cannot hold it.

    `machine` stands in their place. A model that cannot be planned for is let through: it may train all the
    same. Raises ConfigError where training.machine cannot be had here.
    """
    kind, count, _ = machines.plan(training)
    machine = machine or hardware.here(count)
    batch = training.batch(count).per_device
    way = Way(training.method, KINDS[kind.kind], training.gradient_checkpointing)
    try:
        planner = Planner(model, training, work, cpu=machine.cpu)
        needed = planner.memory(way, count, batch).total
    except (PlanError, NotImplementedError, RuntimeError):
        return
    if needed <= machine.capacity:
        return
    raise PlanError(
        f"the training needs about {needed / GIB:.1f} GiB a device ({way.method}, batch {batch}, texts of "
        f"up to {work.longest} tokens) and {machine.capacity / GIB:.1f} GiB are free here; "
        f"{_instead(planner, way, machine._replace(count=count), batch)}, or start it all the same with "
        f"giellm run --force (in a notebook: set {FORCED} to 1 in its environment)")


def _instead(planner: Planner, way: Way, machine: Hardware, batch: int) -> str:
    """The smallest change of a profile with which it fits `machine`, as an order; else where it fits."""
    training, orders = planner.training, {way: []}
    if not way.checkpointing and training.engine != "stacked":
        orders[way._replace(checkpointing=True)] = ["training.gradient_checkpointing to true"]
    if way.method == "full":
        orders |= {w._replace(method="lora"): ["training.method to lora", *said]
                   for w, said in orders.items()}
    for other, said in orders.items():
        largest = planner.largest_batch(other, machine.count, machine.capacity)
        if largest and not other.refused(training):
            smaller = [f"training.batch_size to {largest}"] if largest < batch else []
            return f"set {' and '.join([*said, *smaller])}"
    smallest = None if planner.cpu else planner.smallest(way, batch)
    where = f"{smallest} is" if smallest else "giellm plan --devices names"
    return f"none of its settings fits here, {where} the smallest machine"
