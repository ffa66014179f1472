"""`giellm evaluate`: a system, or anyone's weights, on one dataset of a profile: a row of results/systems."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

import typer

from giellm_utils.core.paths import runs_dir, shown
from giellm_utils.core.schema import Split
from giellm_utils.core.settings import ConfigError, parse_override
from giellm_utils.core.system_result import SystemResult

if TYPE_CHECKING:
    from giellm_utils.experiment.profile import Profile
    from giellm_utils.systems.base import Entry

ProfileOption = Annotated[str, typer.Option("--profile", "-p",
                                            help="Name in configs/profiles, or a YAML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change a profile key: seed=7.")]
TaskOption = Annotated[str, typer.Option("--task", "-t", help="One of the profile's datasets.")]
LimitOption = Annotated[int | None, typer.Option(
    min=1, help="Documents, the first by text hash; default: the profile's evaluation.limit.")]
SplitOption = Annotated[str | None, typer.Option(
    help="test or dev; default: the profile's evaluation.split.")]
OutOption = Annotated[Path, typer.Option(help="Folder in which systems/SYSTEM/SOURCE/TASK.json goes.")]
ForceOption = Annotated[bool, typer.Option(
    "--force", help="Replace a result of other settings or documents.")]


SystemOption = Annotated[str | None, typer.Option("--system", "-s", help="A registered system.")]
ModelOption = Annotated[str | None, typer.Option(
    "--model", help="Instead of a system: weights as they are, a folder or a Hub id (safetensors).")]
FormatOption = Annotated[str | None, typer.Option(
    "--format", help="What that model reads and writes; default: the profile's format.")]


def evaluate(profile: ProfileOption, task: TaskOption, system: SystemOption = None, model: ModelOption = None,
             format_: FormatOption = None, limit: LimitOption = None, split: SplitOption = None,
             set_: SetOption = None, out: OutOption = Path("results"), force: ForceOption = False) -> None:
    """Fit one system on a profile's train records, score its answers and write the row."""
    from giellm_utils.experiment import system_row
    from giellm_utils.experiment.profile import load_profile
    from giellm_utils.systems.weights import NAME, PublishedWeights

    if (system is None) == (model is None) or (system and format_):
        raise ConfigError("give either --system NAME, or --model FOLDER_OR_ID and, with it, --format NAME")
    if system:
        entry = _buildable(system)
    loaded = load_profile(profile, dict(parse_override(s) for s in set_ or ()))
    asked = system_row.select(loaded, task, limit, checked_split(split))
    if system and not entry.applies(asked.task):
        raise ConfigError(f"system {system} is not defined for task {task}")
    here, command = system_row.machine(), this_command()
    if system and entry.trains:
        made = entry.make(asked.task, **_of_profile(loaded, entry))
        answered = replace(system_row.ask(made, asked, made.title), entry=entry.name)
        command = without_folder(command, loaded.model.id)
    elif system:
        options = {"config": getattr(loaded.systems, system)} if entry.configured else {}
        answered = system_row.ask(entry.make(asked.task, **options), asked, entry.title)
    else:
        made = PublishedWeights(asked.task, model, format_ or loaded.format.name, loaded.generation)
        answered = replace(system_row.ask(made, asked, made.title), entry=NAME)
        command = without_folder(command, model)
    path, result = system_row.write_row(asked, answered, out, command=command, machine=here, force=force)
    for line in summary(result):
        typer.echo(line)
    typer.echo(shown(path))


def _of_profile(profile: Profile, entry: Entry) -> dict[str, Any]:
    """What a system that trains takes of a profile (Entry.trains)."""
    # Not the folder of the profile's own run, whose trainings have the same addresses.
    return {"name": profile.name, "run": runs_dir() / f"{profile.name}.{entry.name}", "seed": profile.seed,
            "format_name": profile.format.name, "model": profile.model, "training": profile.training,
            "generation": profile.generation}


def without_folder(command: str, model: str) -> str:
    """`command` with a model's folder by its last part: a path is this machine's own and belongs in no
    result."""
    return command.replace(model, Path(model).name) if Path(model).is_dir() else command


def _buildable(system: str) -> Entry:
    """The registered system called so; raises ConfigError for one that takes more than a task to build."""
    from giellm_utils.systems.registry import entries, get_entry

    entry = get_entry(system)
    if entry.make is None:
        able = [e.name for e in entries().values() if e.make]
        raise ConfigError(f"system {system} is not built of a task alone; --system takes {', '.join(able)}")
    return entry


def checked_split(split: str | None) -> Split | None:
    """`split`, if it is one that may be scored; raises ConfigError."""
    if split not in (None, "dev", "test"):
        raise ConfigError(f"--split is {split!r}; it must be dev or test")
    return split


def this_command() -> str:
    """The command line as it would be typed, without the folder of the program."""
    return shlex.join(["giellm", *sys.argv[1:]])


def summary(result: SystemResult) -> list[str]:
    """The scores of a SystemResult, a line for each way of reading its answers; per cent."""
    ways = {"strict": result.scores, "lenient": result.lenient} if result.lenient else {"": result.scores}
    lines = [f"{result.title} on {result.task} ({result.source}, {result.split}): {result.n_test} documents"]
    for way, scores in ways.items():
        shares = [f"{name} {100 * s.value:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]"
                  for name, key in (("TL", "tl"), ("WL", "wl_exact"), ("ALL", "all"), ("F1", "f1"))
                  if (s := scores.all[key]) and s.value is not None]
        lines.append("  " + " ".join(filter(None, [way, ", ".join(shares)])))
    return lines
