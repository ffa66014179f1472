"""One training a folder, and none that outlives who launched it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from giellm_utils.core.paths import shown
from giellm_utils.training.launch import LAUNCHED, TrainingFailed

#: Seconds that a killed training may take to be gone.
PATIENCE = 30


@contextmanager
def alone(training: Path) -> Iterator[None]:
    """Held by the first process of a training; raises TrainingFailed where another training writes there."""
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    # Beside the folder, not in it: the folder is moved, and all that lies in it is a result.
    lock = FileLock(training.with_name(f".{training.name}.lock"), timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingFailed(f"{shown(training)} is being trained by another process; wait for it or end it"
                             ) from None
    try:
        yield
    finally:
        lock.release()


def end_with_launcher() -> None:
    """End this process as soon as the one that launched it, or one between them, is gone; also where that
    happened before it came here, for its first seconds go into imports.

    The launcher holds the other end of our standard input, which the process between hands down; an id
    alone could not be trusted, for a dead process that nobody waited for still has one.
    """
    launcher = os.environ.get(LAUNCHED)
    if not launcher:
        return
    parent = os.getppid()
    if int(launcher) not in (p.pid for p in psutil.Process().parents()):
        os._exit(1)
    threading.Thread(target=_wait, args=(parent,), daemon=True).start()


def _wait(parent: int) -> None:
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], 1.0)
        if ready and not os.read(0, 1):
            break
    os._exit(1)
