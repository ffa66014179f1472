"""What a training runs on: the files of configs/accelerate, which of them fits the devices that are here,
and the command that starts it there."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import yaml

from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError
from giellm_utils.training.config import Batch, TrainingConfig

MACHINES = ROOT / "configs" / "accelerate"


class Machine(NamedTuple):
    """One file of configs/accelerate. `purpose` and `tried` are its first two comment lines."""

    name: str
    file: Path
    kind: str
    cpu: bool
    #: As the file says it; on GPUs the command counts those that are visible.
    nodes: int
    processes: int
    purpose: str
    tried: str

    @property
    def sharded(self) -> bool:
        """Whether the processes share one copy of the model."""
        return self.kind in ("FSDP", "DEEPSPEED")


class Nodes(NamedTuple):
    """The machines of one training: how many, which one this is, and where they meet."""

    count: int
    rank: str
    address: str
    port: int
    slurm: bool


class Command(NamedTuple):
    """A command line and what it adds to the environment; `str()` is what a terminal takes in the
    repository's folder."""

    argv: list[str]
    environment: dict[str, str]

    def __str__(self) -> str:
        # A path of this machine's would say nothing to whoever reads the notebook elsewhere.
        argv = [part.replace(f"{ROOT}/", "") for part in self.argv]
        if Path(argv[0]).is_absolute():
            argv[0] = "python"
        return " ".join([*(f"{k}={shlex.quote(v)}" for k, v in self.environment.items()), shlex.join(argv)])


class Devices(NamedTuple):
    """What a training runs on here, why, how a step is made up, and the exact command."""

    machine: Machine
    why: str
    processes: int
    batch: Batch
    command: str

    def rows(self) -> list[dict[str, str]]:
        """One row a fact, for a notebook."""
        batch = self.batch
        return [{"devices": key, "value": value} for key, value in (
            ("machine", f"{self.machine.name} ({self.why})"), ("what that is", self.machine.purpose),
            ("tried", self.machine.tried), ("processes", str(self.processes)),
            ("sequences a step", f"{batch.total} = {batch.per_device} a device x {batch.accumulate} passes x "
                                 f"{self.processes} processes"))]


def machine(name: str) -> Machine:
    """The file configs/accelerate/`name`.yaml; raises ConfigError where there is none."""
    file = MACHINES / f"{name}.yaml"
    if not file.exists():
        known = ", ".join(["auto", *sorted(p.stem for p in MACHINES.glob("*.yaml"))])
        raise ConfigError(f"training.machine: no {name!r} in configs/accelerate; it holds {known}")
    text = file.read_text(encoding="utf-8")
    said = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    data = yaml.safe_load(text)
    return Machine(name, file, data["distributed_type"], data["use_cpu"], data["num_machines"],
                   data["num_processes"], *[*said, "", ""][:2])


def machines() -> list[Machine]:
    """All of configs/accelerate, by name."""
    return [machine(p.stem) for p in sorted(MACHINES.glob("*.yaml"))]


def gpus() -> list[str]:
    """The visible GPUs, as CUDA_VISIBLE_DEVICES names them; counting them starts nothing on them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = torch.cuda.device_count()
    return named.split(",")[:found] if named else [str(i) for i in range(found)]


def choose(training: TrainingConfig, visible: int) -> tuple[str, int, str]:
    """(machine, processes on it, why) of training.machine auto where so many GPUs are visible.

    More GPUs than one are used only where training.global_batch keeps the step as it is, or the same
    profile would learn something else there.
    """
    if visible == 0:
        return "cpu", 1, "auto: no GPU is visible"
    if visible == 1:
        return "single", 1, "auto: one GPU is visible"
    if not training.global_batch:
        return "single", 1, (f"auto: one of {visible} visible GPUs; training.global_batch would use them all "
                             "with the same step")
    used = max(n for n in range(1, visible + 1) if training.global_batch % n == 0)
    if used == 1:
        return "single", 1, (f"auto: 2 to {visible} GPUs cannot share out training.global_batch "
                             f"{training.global_batch}")
    why = f"auto: {used} of {visible} GPUs share out training.global_batch {training.global_batch}"
    return ("fsdp2" if training.method == "full" else "ddp"), used, why


def nodes(environment: Mapping[str, str]) -> Nodes:
    """The machines of a training on several, from Slurm's environment or torchrun's variables.

    Raises ConfigError where neither says so.
    """
    e = environment
    port = int(e.get("MASTER_PORT", "29500"))
    if int(e.get("SLURM_JOB_NUM_NODES", "1")) > 1 and "MASTER_ADDR" in e:
        return Nodes(int(e["SLURM_JOB_NUM_NODES"]), "$SLURM_NODEID", e["MASTER_ADDR"], port, slurm=True)
    if {"NNODES", "NODE_RANK", "MASTER_ADDR"} <= set(e):
        return Nodes(int(e["NNODES"]), e["NODE_RANK"], e["MASTER_ADDR"], port, slurm=False)
    raise ConfigError("training.machine multi-node needs a Slurm job (sbatch configs/accelerate/slurm.sh "
                      "--profile NAME), or NNODES, NODE_RANK and MASTER_ADDR set on every machine")


def _processes(found: Machine, used: int, visible: int) -> int:
    """Processes on one machine; raises ConfigError where its devices are not here."""
    if found.cpu:
        return found.processes // found.nodes
    if found.kind == "NO":
        return 1
    if visible < 2 and found.nodes == 1:
        raise ConfigError(f"training.machine {found.name} is for several GPUs, and {visible or 'none'} is "
                          "visible here; set it to auto")
    if found.kind == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise ConfigError(f"training.machine {found.name} needs DeepSpeed, which is not installed; pip "
                          "install deepspeed, or set it to fsdp2")
    return used or max(visible, 1)


def plan(training: TrainingConfig) -> tuple[Machine, int, str]:
    """(machine, processes on this computer, why); raises ConfigError where it cannot be had here."""
    visible = len(gpus())
    name, used, why = training.machine, 0, "training.machine"
    if name == "auto":
        name, used, why = choose(training, visible)
    found = machine(name)
    return found, _processes(found, used, visible), why


def command(config: Path, training: TrainingConfig) -> Command:
    """What trains the job file `config`: accelerate's launcher on training.machine.

    Raises ConfigError where that machine cannot be had here, or cannot share out training.global_batch.
    """
    found, local, _ = plan(training)
    there = nodes(os.environ) if found.nodes > 1 else None
    training.batch(local * (there.count if there else 1))
    # accelerate gives each process one thread unless told otherwise.
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // local))
    head = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(found.file),
            "--num_cpu_threads_per_process", str(threads)]
    tail = ["-m", "giellm_utils.training.run", "--config", str(config)]
    if there:
        return _on_nodes(there, local, head, tail)
    # One process that sees several GPUs would train in nn.DataParallel; one on the CPU must see none.
    hidden = {"CUDA_VISIBLE_DEVICES": "" if found.cpu else gpus()[0]} if (
        gpus() and (found.cpu or found.kind == "NO")) else {}
    return Command([*head, "--num_processes", str(local), *tail], hidden)


def _on_nodes(there: Nodes, local: int, head: list[str], tail: list[str]) -> Command:
    """This machine's part of a training on several, or under Slurm the one command that starts all parts."""
    where = ["--num_machines", str(there.count), "--num_processes", str(there.count * local),
             "--main_process_ip", there.address, "--main_process_port", str(there.port)]
    if not there.slurm:
        return Command([*head, *where, "--machine_rank", there.rank, *tail], {})
    # Each task fills in its own rank; one that ends badly ends all, so that none waits for a dead one.
    part = f"{shlex.join([*head, *where])} --machine_rank {there.rank} {shlex.join(tail)}"
    return Command(["srun", f"--nodes={there.count}", f"--ntasks={there.count}", "--ntasks-per-node=1",
                    "--kill-on-bad-exit=1", "bash", "-c", part], {})


def devices(training: TrainingConfig, config: Path = Path("FOLDER/training.yaml")) -> Devices:
    """What the training `config` runs on here and the exact command; raises ConfigError."""
    found, local, why = plan(training)
    count = nodes(os.environ).count if found.nodes > 1 else 1
    return Devices(found, why, local * count, training.batch(local * count), str(command(config, training)))
