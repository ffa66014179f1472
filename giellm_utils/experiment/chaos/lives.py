"""Lives of a command: SIGKILL at random moments, started again, and its end against an unbroken one's.

What was killed is in kills.jsonl of the working folder; with the same folder it goes on from there.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from giellm_utils.core.chaos_record import ChaosFile, Faults, Kill, Life
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_json, read_jsonl, write_json, write_jsonl
from giellm_utils.experiment.chaos.kills import finish, kill
from giellm_utils.experiment.chaos.targets import PROFILE, Target, targets
from giellm_utils.experiment.environment import environment, git_revision


class ChaosError(GiellmError, RuntimeError):
    """A run that fails without being killed; the message names its log."""


class Chaos:
    """The kills of one target; `work` holds whole/<target>, broken/<target> and kills.jsonl."""

    def __init__(self, target: Target, work: Path, seed: int) -> None:
        self.target, self.work, self.seed = target, work, seed
        self.whole, self.broken = (work / name / target.name for name in ("whole", "broken"))

    def environment(self, folder: Path) -> dict[str, str]:
        """Its own folder of runs, one cache for all, no network, the same order of sums in every start."""
        return {**os.environ, "GIELLM_RUNS_DIR": str(folder), "GIELLM_CACHE_DIR": str(self.work / "cache"),
                "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

    def unbroken(self) -> float:
        """Seconds of a start that nobody kills; made once."""
        facts = self.work / "whole" / f"{self.target.name}.json"
        if not facts.exists():
            self._fresh(self.whole)
            start = time.monotonic()
            code = finish(self.target.command(self.whole), self.environment(self.whole), self._log("whole"))
            if code not in self.target.ends:
                raise ChaosError(f"{self.target.name} ends with {code} though nobody killed it: "
                                 f"{self._log('whole')}")
            write_json(facts, {"seconds": round(time.monotonic() - start, 1)})
        return read_json(facts)["seconds"]

    def life(self, number: int, most: int) -> Life:
        """Start, kill and start again, up to `most` kills or until it ends before the next; then compare."""
        rng = random.Random(f"{self.seed} {self.target.name} {number}")
        seconds = self.unbroken()
        kills: list[Kill] = []
        self._fresh(self.broken)
        command, environment = self.target.command(self.broken), self.environment(self.broken)
        log, code = self._log(f"broken-{number}"), None
        log.unlink(missing_ok=True)
        while len(kills) < most:
            # Not up to the very end, or many a life would see no kill; later starts are shorter anyway.
            done = kill(command, environment, log, rng.uniform(0, 0.85 * seconds), rng)
            if done.victim is None:
                code = done.returncode
                break
            kills.append(done)
        else:
            code = finish(command, environment, log)
        # A start that fails though nobody killed it is a fault, whatever a further start would do.
        ended = code in self.target.ends
        faults = self.target.compare(self.whole, self.broken) if ended else Faults(
            lost=[f"all: it ends with {code}, see {log}"])
        found = Life(seed=self.seed, git=git_revision(), target=self.target.name, life=number, kills=kills,
                     returncode=code, faults=faults)
        if not found.is_clean:
            kept = self.broken.with_name(f"{self.target.name}-{number}-kept")
            shutil.rmtree(kept, ignore_errors=True)
            self.broken.rename(kept)
        return found

    def _fresh(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.target.prepare(folder)

    def _log(self, name: str) -> Path:
        return self.work / "logs" / f"{self.target.name}-{name}.log"


def chaos(work: Path, names: Sequence[str], kills: int, seed: int, minutes: float,
          show: Callable[[str], Any] = print) -> ChaosFile:
    """Kill each target until it was killed `kills` times, those of earlier calls counted; no new life is
    begun after `minutes`. Raises ChaosError where a target fails that was never killed, and for lives of
    another seed."""
    log, until = work / "kills.jsonl", time.monotonic() + 60 * minutes
    lives = [Life.model_validate(row) for row in read_jsonl(log)] if log.exists() else []
    if other := {life.seed for life in lives} - {seed}:
        raise ChaosError(f"{log} holds lives of seed {min(other)}: give --seed {min(other)} or another "
                         "--work")
    all_targets, unbroken = targets(work), {}
    for name in names:
        if all_targets[name].needs:
            Chaos(all_targets[all_targets[name].needs], work, seed).unbroken()
        one = Chaos(all_targets[name], work, seed)
        unbroken[name] = one.unbroken()
        while (done := sum(len(x.kills) for x in lives if x.target == name)) < kills:
            if time.monotonic() > until:
                show(f"{name}: {done} of {kills} kills; the same command goes on")
                break
            life = one.life(1 + sum(x.target == name for x in lives), kills - done)
            lives.append(life)
            write_jsonl(log, [x.model_dump(mode="json") for x in lives])
            show(f"{name}, life {life.life}: {len(life.kills)} kills, "
                 f"{'as unbroken' if life.is_clean else life.model_dump_json()}")
    about = environment()
    return ChaosFile(profile=PROFILE, processors=os.cpu_count() or 1, system=about["system"],
                     packages=about["packages"], unbroken=unbroken,
                     lives=[x for x in lives if x.target in names])
