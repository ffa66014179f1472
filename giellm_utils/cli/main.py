"""The `giellm` command. Heavy imports wait until a command needs them: a run in which every stage is
skipped must not pay ten seconds for torch."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from giellm_utils.cli import report
from giellm_utils.cli.bench import bench_app
from giellm_utils.cli.calibrate import calibrate
from giellm_utils.cli.data import data_app
from giellm_utils.cli.evaluate import evaluate, ProfileOption
from giellm_utils.cli.extract import extract
from giellm_utils.cli.in_context import in_context
from giellm_utils.cli.mre import mre_app
from giellm_utils.cli.plan import plan
from giellm_utils.cli.push import push
from giellm_utils.core import paths
from giellm_utils.core.artifacts import STAGES
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.plan_record import FORCED
from giellm_utils.core.settings import ConfigError, parse_override
from giellm_utils.experiment import notebooks, stages
from giellm_utils.experiment.current import why_stale
from giellm_utils.experiment.inherit import take_stage
from giellm_utils.experiment.manifest import NAME, StageError
from giellm_utils.experiment.profile import load_profile, PROFILES

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Japanese information extraction with one language model, and the Mutual "
                       "Reinforcement Effect.")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(mre_app, name="mre")
app.command()(extract)
app.command()(calibrate)
app.command()(plan)
app.command()(push)
app.command()(evaluate)
app.command()(in_context)
console = Console(highlight=False, soft_wrap=True)


class Indented:
    """A file-like that indents what a notebook prints, so that the stages stand out."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.fresh = True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self.stream.write(("    " if self.fresh else "") + line.replace("\r", "\r    "))
            self.fresh = line.endswith(("\n", "\r"))
        self.stream.flush()
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@app.command()
def run(profile: ProfileOption = "mini",
        set_: Annotated[list[str] | None, typer.Option(
            "--set", help="Change a profile key: training.epochs=2.")] = None,
        from_: Annotated[str | None, typer.Option("--from", help="First stage, e.g. 03.")] = None,
        until: Annotated[str | None, typer.Option("--until", help="Last stage, e.g. 04.")] = None,
        name: Annotated[str, typer.Option(help="Folder below runs/; default: the profile's name.")] = "",
        force: Annotated[bool, typer.Option("--force", help="Execute notebooks even if nothing changed; "
                                            "trainings and predictions that still stand are kept, and "
                                            "one that memory cannot hold starts.")] = False,
        ) -> None:
    """Execute the notebooks: data, format, training, evaluation, MRE, figures."""
    if force:
        os.environ[FORCED] = "1"  # the notebooks run in processes of their own
    overrides = dict(parse_override(s) for s in set_ or ())
    loaded = load_profile(profile, overrides)
    if name in (".", "..") or Path(name).name != name:
        raise ConfigError(f"--name {name}: give the name of one folder below {paths.shown(paths.runs_dir())}")
    folder = paths.runs_dir() / (name or stages.default_run_name(loaded.name, overrides))
    chosen = stages.select(from_, until)
    given = {"profile": profile, "run_name": folder.name, "overrides": overrides}
    for stage in chosen:
        notebooks.check_parameters(stage, given)
    console.print(f"[bold]{loaded.name}[/bold]: {escape(loaded.description.strip())}")
    console.print(f"into {paths.shown(folder)}")
    began = time.monotonic()
    for stage in chosen:
        number, reason = f"[dim]\\[{STAGES.index(stage) + 1}/6][/dim]", why_stale(stage, loaded, folder)
        if not force and reason is None:
            console.print(f"{number} {stage}  [dim]unchanged, skipped[/dim]")
            continue
        there = (folder / stage / NAME).exists()
        if not force and not there and (donor := take_stage(stage, loaded, folder)):
            console.print(f"{number} {stage}  [dim]taken over from {paths.shown(donor)}[/dim]")
            continue
        so_far = minutes(time.monotonic() - began)
        console.print(f"{number} [bold]{stage}[/bold]  [dim]({so_far} so far)[/dim]")
        if there and reason:
            console.print(f"    it {reason}", markup=False)
        _execute(stage, folder, given, stages.command(profile, overrides, name, from_=stage))
    console.print(f"[bold]all done[/bold] in {minutes(time.monotonic() - began)}; "
                  f"notebooks with their outputs: {paths.shown(folder / 'notebooks')}")


def _execute(stage: str, folder: Path, given: dict[str, Any], again: str) -> None:
    start = time.monotonic()
    try:
        notebooks.execute(stage, folder, given, Indented(sys.stdout))
    except StageError as error:
        console.print(f"[red]failed[/red] after {minutes(time.monotonic() - start)}:", end=" ")
        console.print(str(error), markup=False)
        console.print(f"executed so far: {paths.shown(folder / 'notebooks' / (stage + '.ipynb'))}\n"
                      f"to resume: {again}", markup=False)
        raise typer.Exit(1) from None
    console.print(f"    [green]done[/green] in {minutes(time.monotonic() - start)}")


@app.command()
def profiles() -> None:
    """List the profiles."""
    for path in sorted(PROFILES.glob("*.yaml")):
        console.print(f"[bold]{path.stem}[/bold]  {escape(load_profile(path.stem).description.strip())}")


@app.command()
def compare(run_a: Annotated[str, typer.Argument(help="Folder below runs/.")],
            run_b: Annotated[str, typer.Argument(help="Another; differences are B minus A.")],
            condition: Annotated[str, typer.Option(help="Which trained system.")] = "joint",
            out: Annotated[Path, typer.Option(
                help="Where A-B.CONDITION.json goes.")] = Path("results/compare")) -> None:
    """Two runs scored on the same documents: differences with their paired bootstrap intervals."""
    from giellm_utils.core import artifacts
    from giellm_utils.experiment.compare import compare_runs

    found = compare_runs(paths.runs_dir() / run_a, paths.runs_dir() / run_b, condition=condition)
    for key, (old, new) in found.settings.items():
        console.print(f"{key}: {old} -> {new}", markup=False)
    for task, metrics in found.tasks.items():
        for metric, pair in metrics.items():
            d = pair.difference
            if d.value is not None:
                console.print(f"{task} {metric:16} {100 * pair.a.value:5.1f} -> {100 * pair.b.value:5.1f}  "
                              f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}] {d.verdict}",
                              markup=False)
    console.print(str(artifacts.write(out / f"{run_a}-{run_b}.{condition}.json", found)), markup=False)


for _command in (report.figures, report.tables, report.publish):
    app.command()(_command)


def main() -> None:
    """Entry point: known faults are one line and exit code 2, never a traceback."""
    try:
        app()
    except (GiellmError, OSError) as error:
        console.print(f"giellm: {error}", style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
