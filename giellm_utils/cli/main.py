"""The `giellm` command. Heavy imports wait until a command needs them: a run in which every stage is
skipped must not pay ten seconds for torch."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from giellm_utils.cli.data import data_app
from giellm_utils.cli.extract import extract
from giellm_utils.core import paths
from giellm_utils.core.settings import ConfigError, parse_override
from giellm_utils.data.fetch import SourceError
from giellm_utils.experiment import manifest, notebooks, stages
from giellm_utils.experiment.profile import PROFILES, load_profile

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Japanese information extraction with one language model, and the Mutual Reinforcement Effect.")
app.add_typer(data_app, name="data")
app.command()(extract)
console = Console(highlight=False, soft_wrap=True)
ProfileOption = Annotated[str, typer.Option("--profile", "-p", help="Name in configs/profiles, or a YAML file.")]


class Indented:
    """A file-like that indents what a notebook prints, so that the stages stand out."""

    def __init__(self, stream) -> None:
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
        set_: Annotated[list[str], typer.Option("--set", help="Change a profile key: training.epochs=2.")] = [],
        from_: Annotated[str | None, typer.Option("--from", help="First stage, e.g. 03.")] = None,
        until: Annotated[str | None, typer.Option("--until", help="Last stage, e.g. 04.")] = None,
        name: Annotated[str, typer.Option(help="Folder below runs/; default: the profile's name.")] = "",
        force: Annotated[bool, typer.Option("--force", help="Run the stages even if nothing changed.")] = False) -> None:
    """Execute the notebooks: data, format, training, evaluation, MRE, figures."""
    overrides = dict(parse_override(s) for s in set_)
    loaded = load_profile(profile, overrides)
    run_name = name or stages.default_run_name(loaded.name, overrides)
    folder = paths.runs_dir() / run_name
    chosen = stages.select(from_, until)
    given = {"profile": profile, "run_name": run_name, "overrides": overrides}
    for stage in chosen:
        notebooks.check_parameters(stage, given)
    console.print(f"[bold]{loaded.name}[/bold]: {loaded.description.strip()}")
    console.print(f"into {paths.shown(folder)}")
    began, numbers = time.monotonic(), {s: i for i, s in enumerate(stages.STAGES, 1)}
    redo = force
    for stage in chosen:
        if not redo and stages.is_current(stage, loaded, folder):
            console.print(f"[dim]\\[{numbers[stage]}/6][/dim] {stage}  [dim]unchanged, skipped[/dim]")
            continue
        # What comes after a stage that ran again may rest on something newer than its manifest knows.
        redo = True
        start = time.monotonic()
        console.print(f"[dim]\\[{numbers[stage]}/6][/dim] [bold]{stage}[/bold]  "
                      f"[dim]({minutes(start - began)} so far)[/dim]")
        try:
            notebooks.execute(stage, folder, given, Indented(sys.stdout))
        except manifest.StageError as error:
            again = " ".join([f"--profile {profile}", *(f"--set {s}" for s in set_), *([f"--name {name}"] if name else [])])
            console.print(f"[red]failed[/red] after {minutes(time.monotonic() - start)}: {error}", markup=True)
            console.print(f"executed so far: {paths.shown(folder / 'notebooks' / (stage + '.ipynb'))}\n"
                          f"to resume: giellm run {again} --from {stage[:2]}")
            raise typer.Exit(1) from None
        console.print(f"    [green]done[/green] in {minutes(time.monotonic() - start)}")
    console.print(f"[bold]all done[/bold] in {minutes(time.monotonic() - began)}; "
                  f"notebooks with their outputs: {paths.shown(folder / 'notebooks')}")


@app.command()
def profiles() -> None:
    """List the profiles."""
    for path in sorted(PROFILES.glob("*.yaml")):
        console.print(f"[bold]{path.stem}[/bold]  {load_profile(path.stem).description.strip()}")


@app.command()
def figures(results: Annotated[Path, typer.Option(help="Folder with one folder of results a run.")] = Path("results"),
            out: Annotated[Path, typer.Option(help="Where PNG and SVG files go.")] = Path("figures")) -> None:
    """Draw every figure again from committed result files; no model, no GPU."""
    from giellm_utils.reporting.results import draw_all

    for path in draw_all(results, out):
        console.print(str(path))


@app.command()
def publish(run_name: Annotated[str, typer.Argument(help="Folder below runs/.")],
            results: Annotated[Path, typer.Option(help="Where the small result files go.")] = Path("results"),
            notebooks: Annotated[bool, typer.Option("--notebooks", help="Also take over the executed notebooks.")] = False,
            force: Annotated[bool, typer.Option("--force", help="Replace earlier results of this run.")] = False) -> None:
    """Copy a run's small result files into results/, for committing."""
    from giellm_utils.reporting import publish as publishing

    for path in publishing.publish(paths.runs_dir() / run_name, results, force=force):
        console.print(paths.shown(path))
    if notebooks:
        for path in publishing.publish_notebooks(paths.runs_dir() / run_name):
            console.print(paths.shown(path))


@app.command()
def compare(run_a: Annotated[str, typer.Argument(help="Folder below runs/.")],
            run_b: Annotated[str, typer.Argument(help="Another; differences are B minus A.")],
            job: Annotated[str, typer.Option(help="joint, text or words.")] = "joint",
            out: Annotated[Path, typer.Option(help="Where A-B.JOB.json goes.")] = Path("results/compare")) -> None:
    """Two runs scored on the same documents: differences with their paired bootstrap intervals."""
    from giellm_utils.experiment.compare import compare_runs
    from giellm_utils.core.files import write_json

    found = compare_runs(paths.runs_dir() / run_a, paths.runs_dir() / run_b, job=job)
    for key, (old, new) in found["settings"].items():
        console.print(f"{key}: {old} -> {new}", markup=False)
    for task, metrics in found["tasks"].items():
        for metric, scores in metrics.items():
            d = scores["difference"]
            if d["value"] is not None:
                console.print(f"{task} {metric:16} {100 * scores['a']['value']:5.1f} -> {100 * scores['b']['value']:5.1f}  "
                              f"{100 * d['value']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}] {d['verdict']}",
                              markup=False)
    console.print(str(write_json(out / f"{run_a}-{run_b}.{job}.json", found)))


def main() -> None:
    """Entry point: known faults are one line and exit code 2, never a traceback."""
    try:
        app()
    except (ConfigError, SourceError, manifest.StageError) as error:
        console.print(f"giellm: {error}", style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
