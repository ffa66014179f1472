"""`giellm push`: a finished training to the Hugging Face Hub, or what would go there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TYPE_CHECKING

import typer

from giellm_utils.core.paths import shown

if TYPE_CHECKING:
    from giellm_utils.experiment.release import Release


def push(folder: Annotated[Path, typer.Argument(help="A training: runs/NAME/joint/mixture/seed-42.")],
         repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub.")],
         upload: Annotated[bool, typer.Option(
             "--upload", help="Upload it; without this nothing leaves the machine.")] = False,
         to: Annotated[Path | None, typer.Option(
             help="Write the same files into this new folder, without the Hub.")] = None,
         public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
         replace: Annotated[bool, typer.Option("--replace", help="Commit over what is there.")] = False,
         base: Annotated[str | None, typer.Option(
             help="The base model on the Hub, where it was a folder here.")] = None,
         terms: Annotated[list[Path] | None, typer.Option(
             help="Text of the base model's licence, where it is not known. Repeatable.")] = None,
         licence: Annotated[str | None, typer.Option(
             help="Its name as the Hub has it: apache-2.0, llama2.")] = None,
         without_tokenizer: Annotated[bool, typer.Option(
             "--without-tokenizer", help="An adapter alone; its tokenizer is the base model's.")] = False,
         calibration: Annotated[Path | None, typer.Option(
             help="A report of giellm calibrate on dev; its temperatures go into the card.")] = None,
         note: Annotated[str, typer.Option(help="What the card says below the scores.")] = "") -> None:
    """Show what would be published and why it may be or not; publish it with --upload.

    Weights (safetensors only), tokenizer, a model card, and the licences. The token is taken from the
    environment (HF_TOKEN) alone. Not run against the real Hub, only against a local stand-in. Exit code: 1
    where it is shown that it may not be published, 2 where --upload or --to is refused for that or fails.
    """
    from giellm_utils.experiment.release import gather, sizes, write_folder
    from giellm_utils.experiment.release_card import notice, readme
    from giellm_utils.models import hub_upload

    release = gather(folder, base=base, terms=terms or (), licence=licence,
                     tokenizer=not without_tokenizer, calibration=calibration)
    card = readme(release, hub_upload.check_repo(repo), note)
    files = {"README.md": card, "NOTICE.txt": notice(release), **release.files}
    typer.echo(f"{shown(release.training)} -> {repo} ({'public' if public else 'private'}, where it is new)")
    for name, size, digest in sizes(files):
        typer.echo(f"  {name:32} {_size(size):>10}  sha256 {digest[:16]}")
    _say_why(release)
    if to is not None:
        release.check()
        typer.echo(f"written: {shown(write_folder(to, files))}")
    if upload:
        release.check()
        done = hub_upload.upload(repo, files, f"{release.summary.condition} of {release.summary.model}",
                                 private=not public, replace=replace)
        typer.echo(f"uploaded: {done.url} ({'private' if done.private else 'public'})")
    elif to is None:
        typer.echo(f"\nREADME.md:\n{card.decode()}\nnothing was uploaded; --upload does it")
    raise typer.Exit(1 if release.against else 0)


def _say_why(release: Release) -> None:
    """What stays here, on which terms the rest may go, and what speaks against it."""
    for name, why in release.left_out.items():
        typer.echo(f"  stays here: {name} {why}")
    for task, p in release.data.items():
        typer.echo(f"data: {task}: {p.licence}; {'may' if p.redistributable else 'must not'} be passed on")
    typer.echo(f"base model: {release.summary.model}; licence {release.terms.licence or 'unknown'}; its "
               f"text: {', '.join(release.terms.files) or 'none'}")
    for sentence in release.against:
        typer.echo(f"it may not be published: {sentence}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
