"""One training a folder, and none that outlives who launched it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """End this process as soon as the one that launched it is gone, killed or not.

    It holds the other end of our standard input, which the processes between hand down; a process id
    could not be trusted, for a dead parent that nobody waited for still has one.
    """
    if os.environ.get(LAUNCHED):
        threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
