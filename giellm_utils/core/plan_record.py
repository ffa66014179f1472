"""Plan: what a training would need, as `giellm plan` prints it and results/plan keeps it. All in bytes."""

from __future__ import annotations

from typing import Literal

from giellm_utils.core.artifacts import Artifact

Method = Literal["full", "lora", "qlora"]
Strategy = Literal["one", "ddp", "fsdp2", "zero3"]
METHODS: dict[Method, str] = {"full": "full", "lora": "LoRA", "qlora": "QLoRA"}
STRATEGIES: dict[Strategy, str] = {"one": "one device", "ddp": "DDP", "fsdp2": "FSDP2", "zero3": "ZeRO-3"}
GIB = 1 << 30
#: Set by giellm run --force: a training starts even where it cannot fit.
FORCED = "GIELLM_FORCE"
#: When a step holds most.
Moment = Literal["backward begins", "backward ends", "optimizer step"]
#: The parts of Memory, in the order in which tables and figures show them, with their titles.
PARTS = {
    "parameters": "parameters", "gradients": "gradients", "optimizer": "optimizer state",
    "copies": "copies of weights", "gathered": "gathered weights", "activations": "activations",
    "logits": "output layer, loss", "temporary": "temporary", "overhead": "framework, allocator"}


class Memory(Artifact):
    """Bytes of one device at the moment of a step that holds most; the parts add up to `total`."""

    moment: Moment
    parameters: int
    gradients: int
    optimizer: int
    #: bf16 copies of fp32 weights (autocast), and those of the stacked products (in fp32 where bf16 is slow).
    copies: int
    #: Weights of other devices' shards that are here for a while, and their unsharded gradients.
    gathered: int
    activations: int
    logits: int
    #: Of the optimizer, or of one layer's backward pass.
    temporary: int
    overhead: int

    @property
    def total(self) -> int:
        return sum(getattr(self, part) for part in PARTS)


class Option(Artifact):
    """One way to train on the machine asked for."""

    method: Method
    strategy: Strategy
    checkpointing: bool
    memory: Memory
    fits: bool
    #: Whether our training refuses it (training.sharded).
    refused: bool
    #: Largest batch of one device that fits, None where not even one sequence does.
    largest_batch: int | None
    #: Smallest machine of the short list that it fits on, at the batch planned for.
    smallest: str | None


class Effort(Artifact):
    """Work of one training; hours are None where no speed is known."""

    sequences: int
    epochs: float
    steps: int
    #: Tokens of all sequences, once, and those of them that carry loss.
    tokens: int
    targets: int
    flops: float
    tflops: float | None
    utilisation: float
    hours: float | None


class Published(Artifact):
    """What published estimators say of the same model, for comparison."""

    #: DeepSpeed's estimate_zero3_model_states_mem_needs without offload: bytes a device.
    zero3_states: int
    #: Megatron's activations of all layers for one sequence: 34 s b h + 5 a s² b a layer.
    activations: int
    #: The same without what a fused attention does not keep.
    activations_fused: int


class Plan(Artifact):
    """What a profile's trainings need on a machine."""

    profile: str
    model: str
    parameters: int
    devices: str
    count: int
    capacity: int
    dtype: str
    batch: int
    #: Tokens of the longest sequence, of which so many carry loss.
    longest: int
    longest_targets: int
    trainings: int
    #: What was taken for granted, for want of knowledge; each a sentence.
    assumed: list[str]
    options: list[Option]
    #: The profile's own way.
    own: Option
    effort: Effort
    published: Published


class PlanFile(Artifact):
    """results/plan/MACHINE.json: the plans of some profiles on one machine."""

    plans: list[Plan]


class MemoryCase(Artifact):
    """One training that was run to hold its plan against: the peak that was planned, and the one measured."""

    model: str
    parameters: int
    method: Method
    batch: int
    #: Of the longest sequence, as in Plan.
    longest: int
    longest_targets: int
    steps: int
    predicted: Memory
    #: Most resident memory of the training's process, from its start to its end.
    measured: int

    @property
    def ratio(self) -> float:
        """Planned over measured."""
        return self.predicted.total / self.measured


class MemoryFile(Artifact):
    """results/memory/NAME.json: planned and measured peaks, of one run on one machine.

    `dtype`: what it computed in, and what was planned for.
    """

    source: str
    dtype: Literal["bfloat16", "float32"]
    processors: int
    threads: int
    memory: int
    system: str
    #: Of the code that trained, and of the code that planned.
    git: str
    planned_git: str
    packages: dict[str, str]
    cases: list[MemoryCase]
