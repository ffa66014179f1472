"""Whether this CPU multiplies bf16 faster than fp32.

Instructions for it do not say so: AMX is many times as fast, oneDNN's emulation without any several times as
slow, and AVX512-BF16 is faster on some processors and slower on others (LOG.md). So there it is measured,
once a cache, kind of processor, torch and number of threads: what is kept decides, or the same training
would differ from start to start.
"""

from __future__ import annotations

import hashlib
import platform
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.paths import cache_dir

#: Of a product as large as a layer's: tokens, inputs, outputs; and how often each way is tried.
SHAPE, TRIES = (256, 640, 1024), 9


def instructions() -> str:
    """By which instructions this CPU multiplies bf16, if by any."""
    return ("AMX" if torch.cpu._is_amx_tile_supported()
            else "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else "no bf16")


@cache
def fast_in_bf16() -> bool:
    """Whether bf16 products are to be made in bf16 here, and not in fp32 and rounded (models.products)."""
    found = instructions()
    return found == "AMX" or (found == "AVX512-BF16" and _measured())


def _measured() -> bool:
    """What the cache says, or is made to say: of processes that start together the first one measures."""
    try:
        path = cache_dir() / "processors" / f"{_name()}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if (kept := _kept(path)) is None:
                write_json(path, {"fast_in_bf16": (kept := _faster())})
            return kept
    except (OSError, GiellmError, RuntimeError):  # no place to keep it: measured again next time
        return _faster()


def _kept(path: Path) -> bool | None:
    try:
        return bool(read_json(path)["fast_in_bf16"])
    except (OSError, GiellmError, KeyError, TypeError):
        return None


def _faster() -> bool:
    """Whether the fastest of some products in bf16 beats the fastest that is widened and rounded."""
    tokens, inputs, outputs = SHAPE
    a, b = (torch.ones(shape, dtype=torch.bfloat16) for shape in ((tokens, inputs), (inputs, outputs)))
    best = [float("inf")] * 2
    with torch.autocast("cpu", enabled=False):
        for _ in range(TRIES):
            for way, multiply in enumerate((lambda: a @ b, lambda: (a.float() @ b.float()).bfloat16())):
                start = time.perf_counter()
                multiply()
                best[way] = min(best[way], time.perf_counter() - start)
    return best[0] < best[1]


def _name() -> str:
    """This processor (of the first core the model and flags, where Linux tells them), torch, and how many
    threads."""
    told = platform.processor()
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
        told = "\n".join(line for line in first.splitlines()
                         if line.split("\t")[0] in ("model name", "cpu family", "model", "stepping", "flags"))
    return hashlib.sha256(f"{told}\n{torch.__version__}\n{torch.get_num_threads()}".encode()).hexdigest()[:16]
