"""Checkpoints of a training: the last whole one, room for the next, what is kept, and a full disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from safetensors import safe_open, SafetensorError

from giellm_utils.core.files import FULL, read_json
from giellm_utils.core.paths import shown
from giellm_utils.training.launch import TrainingFailed

FOLDER = "checkpoints"
#: Checkpoints that stay; one more is there for the moment in which the oldest is not yet removed.
KEPT = 2
#: What torch and safetensors say of it; they pass no error number on.
FULL_WORDS = ("No space left on device", "File too large", "Disk quota exceeded",
              "PytorchStreamWriter failed writing", "iostream error", "unexpected pos")


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: a kill may fall into the writing of one."""
    for path in _newest_first(folder):
        try:
            if _whole(path):
                return path
        except (OSError, ValueError, BadZipFile, SafetensorError):
            pass
        print(f"{path.name} is incomplete: going back to the one before it", flush=True)
    return None


def _whole(path: Path) -> bool:
    """Whether a checkpoint holds all that a training goes on from: weights, the optimizer as one process,
    FSDP2 or DeepSpeed leaves it, and the schedule. Raises what reading a file that was cut off raises.

    Files are not read through: the optimizer of a 13B model is 104 GB, and every process asks.
    """
    json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
    for file in path.rglob("*"):
        if file.suffix in (".pt", ".bin", ".pth"):
            ZipFile(file).close()  # torch's archives end with their table of contents
        elif file.suffix == ".safetensors":
            safe_open(file, "pt")
    optimizer = any((path / name).exists() for name in ("optimizer.pt", "optimizer.bin", "latest"))
    return optimizer and (path / "scheduler.pt").exists() and any(path.glob("*.safetensors"))


def last_good(training: Path) -> str:
    """How a fault of the training in this folder names the checkpoint to go on from."""
    found = latest_checkpoint(training / FOLDER)
    return f"the last good checkpoint is {shown(found)}" if found else "no checkpoint was written yet"


def tidy(training: Path, *, stopped: bool, keep: bool) -> None:
    """Remove the checkpoints of a training that is over: all of a finished one, all but the last (and the
    one with the lowest dev loss, under early stopping) where the clock `stopped` it, for more minutes go on
    from that; none where `keep`."""
    if keep:
        return
    whole = latest_checkpoint(training / FOLDER) if stopped else None
    best = read_json(whole / "trainer_state.json").get("best_global_step") if whole else None
    for path in (training / FOLDER).glob("checkpoint-*"):
        if path != whole and path.name != f"checkpoint-{best}":
            shutil.rmtree(path)
    if not whole:
        shutil.rmtree(training / FOLDER, ignore_errors=True)


def check_room(training: Path, *, trained: int, saved: int, saves: int) -> None:
    """Raise TrainingFailed where the disk cannot hold what the training will write.

    `trained`: parameters with a gradient; `saved`: bytes of the model or adapter; `saves`: how many
    checkpoints it will write in all. A checkpoint is the model and AdamW's two fp32 moments.
    """
    checkpoint = saved + 8 * trained
    there = sum(f.stat().st_size for f in (training / FOLDER).rglob("*") if f.is_file())
    at_once = min(KEPT + 1, saves)
    needed = checkpoint * at_once + saved - there
    free = shutil.disk_usage(training).free
    if needed > free:
        raise TrainingFailed(
            f"{shown(training)}: the training writes up to {_size(needed)} ({at_once} checkpoints of "
            f"{_size(checkpoint)}, and the model) and {_size(free)} are free on its disk; make room, or set "
            "GIELLM_RUNS_DIR to a folder on another disk")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count, 0) / 1e6:.1f} MB"


def disk_full(error: BaseException | None) -> bool:
    """Whether `error`, or what it came from, says that a file could not be written for lack of room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(words in str(error) for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def room_or_one_sentence(training: Path) -> Iterator[None]:
    """A disk that fills up inside is a TrainingFailed that names the last good checkpoint; what was half
    written is removed, older checkpoints and the model in place stay as they are."""
    try:
        yield
    except Exception as error:
        if not disk_full(error):
            raise
        good = latest_checkpoint(training / FOLDER)
        for path in [p for p in _newest_first(training / FOLDER) if p != good and (
                not good or _step(p) > _step(good))]:
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(training / "model.new", ignore_errors=True)
        raise TrainingFailed(
            f"{shown(training)}: no room left to write ({' '.join(str(error).split())[:120]}); "
            f"{last_good(training)}; make room and run the same command again: it goes on from there"
        ) from error
