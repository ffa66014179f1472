"""`giellm figures`, `tables` and `publish`: from result files to what is committed. No model, no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from giellm_utils.core import paths

ResultsOption = Annotated[Path, typer.Option(help="Folder with one folder of results a run.")]


def figures(results: ResultsOption = Path("results"),
            out: Annotated[Path, typer.Option(help="Where PNG and SVG files go.")] = Path("figures")) -> None:
    """Draw every figure again from committed result files."""
    from giellm_utils.reporting.figures import registry

    for path in registry.draw_all(results, out):
        typer.echo(path)


def tables(root: Annotated[Path, typer.Option(
        help="Folder with README.md, docs/ and results/.")] = paths.ROOT) -> None:
    """Make the tables of README.md, REPRODUCTION.md and docs/*.md again from committed result files."""
    from giellm_utils.reporting import documents

    changed = documents.refresh(root)
    for path in changed:
        typer.echo(f"changed: {paths.shown(path)}")
    if not changed:
        typer.echo("every table is up to date")


def publish(run_name: Annotated[str, typer.Argument(help="Folder below runs/.")],
            results: Annotated[Path, typer.Option(help="Where the result files go.")] = Path("results"),
            notebooks: Annotated[bool, typer.Option(
                "--notebooks", help="Also take over the executed notebooks.")] = False,
            force: Annotated[bool, typer.Option(
                "--force", help="Replace earlier results of this run.")] = False) -> None:
    """Copy a run's small result files into results/, for committing."""
    from giellm_utils.reporting import publish as publishing

    run = paths.runs_dir() / run_name
    written = publishing.publish(run, results, force=force)
    if notebooks:
        written += publishing.publish_notebooks(run, paths.ROOT / "notebooks")
    for path in written:
        typer.echo(paths.shown(path))
