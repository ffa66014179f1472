"""Finished stages and trainings of another run, taken over where a change does not touch them.

Large files are hard links (copies where the file system has none): nothing here is ever written in
place. Small ones are copies, for a notebook or a figure may be.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from giellm_utils.core.files import sha256
from giellm_utils.experiment.current import why_stale
from giellm_utils.experiment.manifest import Manifest, NAME, read_manifest
from giellm_utils.experiment.profile import Profile

#: Bytes from which a file is linked.
LARGE = 1_000_000


def donors(run: Path, profile: Profile) -> Iterator[Path]:
    """The other runs beside `run`: the profile's own first, then the newest."""
    folders = [p for p in run.parent.glob("*") if p.is_dir() and p != run] if run.parent.exists() else []
    yield from sorted(folders, key=lambda p: (p.name != profile.name, -p.stat().st_mtime, p.name))


def take_stage(stage: str, profile: Profile, run: Path) -> Path | None:
    """Take over a finished stage that is current for `profile` and was made from the very inputs that
    `run` has, with its trainings. Returns the run it came from, None where there is none."""
    for donor in donors(run, profile):
        if not (donor / stage / NAME).exists() or why_stale(stage, profile, donor, notebook=False):
            continue
        manifest = read_manifest(donor / stage)
        inside = [name for name in manifest.outputs if name.startswith(f"{stage}/")]
        trained = sorted({_training(name) for name in manifest.outputs if name not in inside})
        if not _same_inputs(manifest, run) or any((run / folder).exists() for folder in trained):
            continue
        for folder in trained:
            take_folder(donor / folder, run / folder)
        for name in inside:
            take_file(donor / name, run / name)
        notebook = Path("notebooks") / f"{stage}.ipynb"
        if (donor / notebook).exists():
            take_file(donor / notebook, run / notebook)
        # Last: the manifest alone says that the stage is done.
        take_file(donor / stage / NAME, run / stage / NAME)
        return donor
    return None


def take_folder(source: Path, target: Path) -> None:
    """The whole of `source` as `target`, which must not exist, at once."""
    half = target.with_name(target.name + ".taken")
    shutil.rmtree(half, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        if path.is_file():
            take_file(path, half / path.relative_to(source))
    os.replace(half, target)


def take_file(source: Path, target: Path) -> None:
    """`source` as `target`, in place of what may stand there, at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.taken")
    half.unlink(missing_ok=True)
    if source.stat().st_size >= LARGE:
        try:
            os.link(source, half)
        except OSError:
            shutil.copy2(source, half)
    else:
        shutil.copy2(source, half)
    os.replace(half, target)


def _training(name: str) -> Path:
    """The folder of the training that an output of stage 03 belongs to: <condition>/<task>/seed-<n>."""
    return Path(*Path(name).parts[:3])


def _same_inputs(manifest: Manifest, run: Path) -> bool:
    return all((run / name).exists() and sha256(run / name) == digest
               for name, digest in manifest.inputs.items())
