"""`python -m giellm_utils.experiment.chaos`: SIGKILL at random moments, then the end against an unbroken one.

Called again with the same --work it goes on: what was killed is in kills.jsonl there.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_json, read_jsonl, write_json, write_jsonl
from giellm_utils.core.settings import Section
from giellm_utils.experiment.chaos.kills import finish, Kill, kill
from giellm_utils.experiment.chaos.targets import Faults, Target, targets


class ChaosError(GiellmError, RuntimeError):
    """A run that fails without being killed; the message names its log."""


class Life(Section):
    """One folder from its start to its end, killed in between."""

    target: str
    life: int
    kills: list[Kill]
    #: Exit code of the last start, which nobody killed.
    returncode: int | None
    faults: Faults


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
        seconds, kills = self.unbroken(), []
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
        if code not in self.target.ends:
            code = finish(command, environment, log)
        ended = code in self.target.ends
        faults = self.target.compare(self.whole, self.broken) if ended else Faults(
            lost=[f"all: it ends with {code}, see {log}"])
        return Life(target=self.target.name, life=number, kills=kills, returncode=code, faults=faults)

    def _fresh(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.target.prepare(folder)

    def _log(self, name: str) -> Path:
        return self.work / "logs" / f"{self.target.name}-{name}.log"


def table(lives: Sequence[Life]) -> str:
    """Counts a target, as Markdown."""
    lines = ["| target | kills | of the command | of a child | runs to the end | alive 60 s after | "
             "longest end, s | lost | doubled | different | litter |", "|---|" + "---:|" * 10]
    for name in dict.fromkeys(life.target for life in lives):
        mine = [life for life in lives if life.target == name]
        kills = [k for life in mine for k in life.kills]
        counts = [len(kills), sum(k.victim == "command" for k in kills),
                  sum(k.victim == "child" for k in kills), len(mine), sum(k.left for k in kills),
                  max((k.seconds for k in kills if k.victim == "command"), default=0),
                  *(sum(len(getattr(life.faults, kind)) for life in mine) for kind in Faults.model_fields)]
        lines.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def is_clean(life: Life) -> bool:
    return not any(life.faults.model_dump().values()) and not any(k.left for k in life.kills)


def chaos(work: Path, names: Sequence[str], kills: int, seed: int, minutes: float) -> list[Life]:
    """Kill each target until it was killed `kills` times, those of earlier calls counted; no new life is
    begun after `minutes`."""
    log, until = work / "kills.jsonl", time.monotonic() + 60 * minutes
    lives = [Life.model_validate(row) for row in read_jsonl(log)] if log.exists() else []
    for name in names:
        one = Chaos(targets(work)[name], work, seed)
        while (done := sum(len(x.kills) for x in lives if x.target == name)) < kills:
            if time.monotonic() > until:
                print(f"{name}: {done} of {kills} kills; the same command goes on")
                break
            life = one.life(1 + sum(x.target == name for x in lives), kills - done)
            lives.append(life)
            write_jsonl(log, [x.model_dump(mode="json") for x in lives])
            print(f"{name}, life {life.life}: {len(life.kills)} kills, "
                  f"{'as unbroken' if is_clean(life) else life.model_dump_json()}", flush=True)
    return lives


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill runs, trainings and extractions at random moments.")
    known = list(targets(Path()))
    parser.add_argument("--target", choices=known, action="append", help="Default: all of them.")
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs a target.")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--minutes", type=float, default=600, help="Begin nothing new after so long.")
    parser.add_argument("--work", type=Path, default=Path("runs/.chaos"))
    given = parser.parse_args()
    # `timeout` and a closed terminal must not leave what was started behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        lives = chaos(given.work.resolve(), given.target or known, given.kills, given.seed, given.minutes)
    except ChaosError as error:
        parser.exit(2, f"giellm: {error}\n")
    print(table(lives))
    return 0 if all(map(is_clean, lives)) else 1


if __name__ == "__main__":
    sys.exit(main())
