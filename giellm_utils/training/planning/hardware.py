"""Hardware to plan for: named devices, the processor of this machine, and a short list of what can be had."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from giellm_utils.core.plan_record import GIB
from giellm_utils.training.planning.architecture import PlanError

#: Dense bf16 TFLOP/s of one device, from the makers' data sheets (NVIDIA; A800 computes as A100).
TFLOPS = {"A800": 312, "A100": 312, "H100": 989, "H200": 989, "L4": 121, "A10": 125, "RTX4090": 165,
          "RTX3090": 71}
#: Of a device sold as N GB, what programs can have: the driver keeps some.
USABLE = 0.985
#: What can be had, by count and GB of one device; the smallest in all first.
SIZES = tuple(sorted(((count, size) for count in (1, 2, 4, 8, 16, 32) for size in (24, 48, 80)),
                     key=lambda s: (s[0] * s[1], s[0])))
_WRITTEN = re.compile(r"(\d+)x(?:([A-Za-z][A-Za-z0-9]*)-)?(\d+)GB")


class Hardware(NamedTuple):
    """`count` devices of `capacity` bytes each; None for speeds that nobody stated."""

    name: str
    count: int
    capacity: int
    tflops: float | None
    cpu: bool = False


def parse(text: str) -> Hardware:
    """`8xA800-80GB`, `1x24GB` (a device of no name, hence of no known speed) or `cpu` (this machine).

    Raises PlanError for anything else.
    """
    if text == "cpu":
        return this_cpu()
    match = _WRITTEN.fullmatch(text)
    if not match or int(match[1]) < 1 or (match[2] and match[2] not in TFLOPS):
        raise PlanError(f"--devices {text!r}: write COUNTxNAME-SIZEGB, such as 8xA800-80GB, COUNTxSIZEGB or "
                        f"cpu; known names: {', '.join(TFLOPS)}")
    return Hardware(text, int(match[1]), capacity(int(match[3])), TFLOPS.get(match[2]))


def capacity(size: int) -> int:
    """Usable bytes of a GPU sold as `size` GB."""
    return int(size * GIB * USABLE)


def this_cpu() -> Hardware:
    """The processors of this machine with all the memory that processes may have; its speed is not stated."""
    import psutil

    return Hardware(f"cpu ({os.cpu_count()} processors)", 1, min(psutil.virtual_memory().total, _cgroup()),
                    None, cpu=True)


def here(count: int) -> Hardware:
    """`count` devices of this machine, with the memory that a training started now can have: whole GPUs, or
    what is free of the main memory for each of so many processes."""
    import psutil
    import torch

    if torch.cuda.is_available():
        sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
        return Hardware(torch.cuda.get_device_name(0), count, min(sizes), None)
    free = min(psutil.virtual_memory().available, _cgroup())
    return this_cpu()._replace(count=count, capacity=free // count)


def _cgroup() -> int:
    """The memory limit of this process's container, where there is one."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int(Path("/sys/fs/cgroup", name).read_text())
        except (OSError, ValueError):
            continue
    return 1 << 62
