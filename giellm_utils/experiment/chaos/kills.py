"""One process tree, started and killed; what of it lives on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from giellm_utils.core.chaos_record import Kill

#: Seconds in which all children must end once the command is dead; those after which a command hangs.
ENDS, HANGS = 60.0, 600.0


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """The command in a session of its own; nothing of it outlives the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    tree: list[psutil.Process] = []
    try:
        yield process
        tree = children(process.pid)
    except BaseException:
        tree = children(process.pid)
        raise
    finally:
        for one in (*tree, process):
            try:
                one.kill()
            except psutil.NoSuchProcess:
                pass
        process.wait()


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def finish(command: Sequence[str], environment: Mapping[str, str], log: Path) -> int | None:
    """Run to the end; the exit code, None where it hung."""
    with started(command, environment, log) as process:
        try:
            return process.wait(HANGS)
        except subprocess.TimeoutExpired:
            return None


def kill(command: Sequence[str], environment: Mapping[str, str], log: Path, after: float,
         rng: random.Random) -> Kill:
    """Start the command and kill it, or one of its children, `after` so many seconds.

    Then its children must end by themselves within ENDS seconds after the command. A command that lost a
    child may fail or go on without it.
    """
    with started(command, environment, log) as process:
        try:
            return Kill(after=after, victim=None, returncode=process.wait(after))
        except subprocess.TimeoutExpired:
            pass
        tree = children(process.pid)
        child = bool(tree) and rng.random() < 0.5
        victim = rng.choice(tree).pid if child else process.pid
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:  # a child that has just ended by itself
            child, victim = False, process.pid
            os.kill(victim, signal.SIGKILL)
        others = [p for p in tree if p.pid != victim]
        began = time.monotonic()
        try:
            returncode = process.wait(HANGS if child else ENDS)
        except subprocess.TimeoutExpired:
            returncode = None
        _, alive = psutil.wait_procs(others, timeout=ENDS)
        took = time.monotonic() - began
        for one in alive:
            one.kill()
        psutil.wait_procs(alive, timeout=10)
        return Kill(after=round(after, 1), victim="child" if child else "command", returncode=returncode,
                    others=len(others), left=len(alive), seconds=round(took, 1))
