"""What is killed, and how its end is compared with that of an unbroken one."""

from __future__ import annotations

import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from giellm_utils.core.artifacts import read, Training
from giellm_utils.core.chaos_record import CLOSE, CONFIDENCES, DIGITS, Faults
from giellm_utils.core.conditions import get_condition
from giellm_utils.core.files import read_json, read_jsonl, write_jsonl
from giellm_utils.core.schema import Record
from giellm_utils.experiment.profile import load_profile
from giellm_utils.formats.base import Format
from giellm_utils.formats.registry import make_format

PROFILE = "smoke"
#: Names that only a write in progress may have; left at the end they are litter.
LITTER = (".tmp", ".partial", ".new", ".old", ".taken", ".part")
SCORES = ("scores.json", "decodings.json", "mre.json")
FLEETING = {"seconds", "grad_norm", "steps", "items_per_second"}


class Target(ABC):
    """One command that is killed; it works in a folder of its own and goes on when it is started again."""

    name: str
    #: Exit codes of a command that came to its end.
    ends: tuple[int, ...] = (0,)
    #: The target whose unbroken end it reads.
    needs: str = ""

    def prepare(self, folder: Path) -> None:  # noqa: B027 (nothing, where the command needs nothing)
        """Put into `folder`, which is there, what the command reads."""

    @abstractmethod
    def command(self, folder: Path) -> list[str]:
        """The command line that works in `folder`."""

    @abstractmethod
    def compare(self, whole: Path, broken: Path) -> Faults:
        """The end in `broken` against that in `whole`."""


# -- comparing -------------------------------------------------------------------------------------


def rows_apart(name: str, whole: Iterable[Any], broken: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Rows lost and rows doubled or made up, each named with its file."""
    a, b = (Counter(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
            for rows in (whole, broken))
    return [f"{name}: {row[:80]}" for row in a - b], [f"{name}: {row[:80]}" for row in b - a]


def without_confidences(value: Any) -> tuple[Any, list[float]]:
    """A result without its confidences, and these in their order."""
    found: list[float] = []

    def taken(value: Any) -> Any:
        if isinstance(value, list):
            return [taken(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        found.extend(v for k, v in value.items() if k == "confidence" and v is not None)
        return {k: taken(v) for k, v in value.items() if k != "confidence"}

    return taken(value), found


def far(a: list[float], b: list[float]) -> bool:
    """Whether the confidences of one text differ by more than CONFIDENCES."""
    return len(a) != len(b) or any(abs(x - y) > CONFIDENCES for x, y in zip(a, b, strict=True))


def files(folder: Path) -> set[str]:
    """Every file that is a result; locks and hidden files are none."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")
            if p.is_file() and not p.name.startswith(".") and not _litter(p)}


def litter(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if _litter(p))


def _litter(path: Path) -> bool:
    return path.name.endswith(LITTER) or path.name == "checkpoints"


def weights_apart(whole: Path, broken: Path) -> list[str]:
    """The weight files below `whole` that differ by more than CLOSE."""
    from safetensors.torch import load_file

    found = []
    for path in sorted(whole.rglob("*.safetensors")):
        name = path.relative_to(whole)
        if not (broken / name).exists():
            continue  # named among the lost files
        a, b = load_file(path), load_file(broken / name)
        if a.keys() != b.keys() or max((a[k].float() - b[k].float()).abs().max().item() for k in a) > CLOSE:
            found.append(f"{name.as_posix()}: other weights")
    return found


def training_faults(whole: Path, broken: Path) -> Faults:
    """Two folders of one training: its files, steps, losses and weights."""
    names = files(whole)
    lost, doubled, different = sorted(names - files(broken)), sorted(files(broken) - names), []
    if not lost:
        steps = [[(row["step"], "loss" in row) for row in read_jsonl(folder / "metrics.jsonl")]
                 for folder in (whole, broken)]
        missing, more = rows_apart("metrics.jsonl", *steps)
        lost, doubled = lost + missing, doubled + more
        a, b = (read(folder / "summary.json", Training) for folder in (whole, broken))
        if a.steps != b.steps or abs(a.final_loss - b.final_loss) > CLOSE:
            different.append(f"summary.json: {b.steps} steps, loss {b.final_loss}, "
                             f"not {a.steps}, {a.final_loss}")
    return Faults(lost=lost, doubled=doubled, different=different + weights_apart(whole, broken),
                  litter=litter(broken))


# -- targets ---------------------------------------------------------------------------------------


class RunTarget(Target):
    """`giellm run --profile smoke`: six notebooks. Its folder is the folder of runs."""

    name = "run"

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, "-m", "giellm_utils.cli.main", "run", "--profile", PROFILE]

    def compare(self, whole: Path, broken: Path) -> Faults:
        whole, broken = whole / PROFILE, broken / PROFILE
        there, here = files(whole), files(broken)
        lost, doubled, different = sorted(there - here), sorted(here - there), weights_apart(whole, broken)
        for name in sorted(there & here):
            a, b = whole / name, broken / name
            if name.endswith(".jsonl"):
                missing, more = rows_apart(name, *(map(_timeless, read_jsonl(path)) for path in (a, b)))
                lost, doubled = lost + missing, doubled + more
            elif a.name in SCORES and _timeless(read_json(a)) != _timeless(read_json(b)):
                different.append(f"{name}: other scores")
        return Faults(lost=lost, doubled=doubled, different=different, litter=litter(broken))


def _timeless(value: Any) -> Any:
    """A result without what differs between any two runs: times, passes of a batch, last digits of losses."""
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in FLEETING}
    if isinstance(value, list):
        return [_timeless(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value


class TrainingTarget(Target):
    """One training on the records of the smoke profile, launched as notebook 03 does it."""

    #: Starts it and dies with it, as a notebook would.
    LAUNCH = ("import sys; from pathlib import Path; from giellm_utils.training.launch import launch; "
              "launch(Path(sys.argv[1]), sys.argv[2])")

    def __init__(self, name: str, machine: str, *, batch_size: int = 8, steps: int = 200) -> None:
        self.name, self.machine, self.batch_size, self.steps = name, machine, batch_size, steps

    def prepare(self, folder: Path) -> None:
        from giellm_utils.training.config import TrainingJob
        from giellm_utils.training.launch import write_job
        from giellm_utils.training.sequences import build

        profile = load_profile(PROFILE)
        records, fmt = smoke_records()
        settings = profile.training.model_copy(update={
            "batch_size": self.batch_size, "max_steps": self.steps, "minutes": 60.0, "machine": self.machine})
        write_job(folder, TrainingJob(condition="joint", task=fmt.task.name, seed=profile.seed,
                                      model=profile.model, training=settings),
                  build({fmt.task.name: fmt}, records, "joint"))

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, "-c", self.LAUNCH, str(folder / "training.yaml"), self.machine]

    def compare(self, whole: Path, broken: Path) -> Faults:
        return training_faults(whole, broken)


def smoke_records() -> tuple[list[Record], Format]:
    """The train records of the smoke profile and the format of their task."""
    from giellm_utils.data.registry import load_dataset

    profile = load_profile(PROFILE)
    data = load_dataset(profile.data.tasks[0], profile.data.source)
    return data.split("train")[:profile.data.limit["train"]], make_format(profile.format.name, data.task)


class ExtractTarget(Target):
    """`giellm extract` on a file of which every 20th line is bad, with the model in a training's folder."""

    name, needs = "extract", "training"
    ends = (3,)  # some lines were bad

    def __init__(self, training: Path, lines: int = 1000) -> None:
        self.model, self.lines = training.with_name("model-for-extract"), lines
        self.training = training

    def prepare(self, folder: Path) -> None:
        records, fmt = smoke_records()
        if not self.model.exists():
            self._copy_model(records, fmt)
        write_jsonl(folder / "in.jsonl", [
            {"id": n, "text": records[n % len(records)].text} if n % 20 else {"id": n, "no text": "here"}
            for n in range(1, self.lines + 1)])

    def _copy_model(self, records: list[Record], fmt: Format) -> None:
        from giellm_utils.models.bundle import card_of_training, write_card

        profile, task = load_profile(PROFILE), fmt.task
        half = self.model.with_name("half")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(self.training / "model", half)
        write_card(half, card_of_training(
            profile.model, fmt.name, [task], get_condition("joint"), records,
            budgets={task.name: dict.fromkeys(fmt.levels, 64)}, max_tokens=profile.training.max_tokens))
        half.rename(self.model)

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, "-m", "giellm_utils.cli.main", "extract", str(folder / "in.jsonl"), "-o",
                str(folder / "out.jsonl"), "--model", str(self.model)]

    def compare(self, whole: Path, broken: Path) -> Faults:
        lost, doubled, names = [], [], ("out.jsonl", "out.jsonl.errors.jsonl")
        # Texts that are decoded beside others after a kill have confidences that are other in the last digit.
        told = {name: [[without_confidences(row) for row in read_jsonl(folder / name)]
                       for folder in (whole, broken)] for name in names}
        for name, (a, b) in told.items():
            missing, more = rows_apart(name, *([row for row, _ in rows] for rows in (a, b)))
            lost, doubled = lost + missing, doubled + more
        different = []
        if not lost and not doubled:
            a, b = told["out.jsonl"]
            if [row for row, _ in a] != [row for row, _ in b]:
                different.append("out.jsonl: another order")
            else:
                different += [f"out.jsonl: confidences of {row.get('id')}: {x}, not {y}"
                              for (row, y), (_, x) in zip(a, b, strict=True) if far(x, y)]
        return Faults(lost=lost, doubled=doubled, litter=litter(broken), different=different)


def targets(work: Path) -> dict[str, Target]:
    """All of them, by name, in the order in which their unbroken runs are made below `work`/whole."""
    found = (RunTarget(), TrainingTarget("training", "single"), ExtractTarget(work / "whole" / "training"),
             TrainingTarget("two-processes", "cpu-2", batch_size=4))
    return {target.name: target for target in found}
