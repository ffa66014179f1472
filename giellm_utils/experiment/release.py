"""What of a finished training may be published, and what would be: `giellm push`.

Weights go out only where the rights of everything they learned from are known and allow it: of the data, by
the manifest of the very training; of the base model, by terms that travel with it, and it is none that was
trained here. Safetensors only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import EVALUATE, Provenance, ScoresFile, SystemScores, TRAIN, Training
from giellm_utils.core.files import read_json, sha256, write_bytes
from giellm_utils.core.paths import shown
from giellm_utils.experiment.calibrate import temperatures_of
from giellm_utils.experiment.manifest import Manifest, read_manifest
from giellm_utils.models.base_terms import base_terms, BaseTerms
from giellm_utils.models.bundle import CARD, Card, read_card
from giellm_utils.models.hub_upload import PushError
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.spec import SCRATCH

#: A tokenizer's files.
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
             "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja"}
#: Files of a model that go along, beside *.safetensors; every other file of its folder stays.
TAKEN = {CARD, "config.json", "generation_config.json", "adapter_config.json",
         "model.safetensors.index.json"} | TOKENIZER
#: Files that unpickle: they run code when they are loaded.
PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}
#: Files that giellm push writes itself.
OURS = ("README.md", "NOTICE.txt")
#: Keys of JSON files whose value may be a folder of the machine that trained.
_NAMES_BASE = ("base_model_name_or_path", "_name_or_path", "name_or_path")


@dataclass(frozen=True)
class Release:
    """One training, ready to be judged. `against`: why it may not be published, each a sentence; empty
    where it may. `left_out`: file -> why it stays. `data` is empty where nothing is known of them."""

    training: Path
    card: Card
    summary: Training
    data: dict[str, Provenance]
    terms: BaseTerms
    files: dict[str, Path | bytes]
    left_out: dict[str, str]
    against: list[str]
    scores: dict[str, SystemScores]

    def check(self) -> None:
        """Raise PushError with the first thing that speaks against publishing."""
        if self.against:
            raise PushError(f"{shown(self.training)} may not be published: {self.against[0]}")


def gather(folder: Path, *, base: str | None = None, terms: Sequence[Path] = (), licence: str | None = None,
           tokenizer: bool = True, calibration: Path | None = None) -> Release:
    """Everything of the training in `folder` (runs/NAME/CONDITION/TASK/seed-N) that would be published, but
    for README.md and NOTICE.txt (release_card), and what speaks against it.

    `base`: what the base model is called on the Hub, where it was a folder; `terms`, `licence`: the text and
    the name of its licence, where they are not known; `tokenizer`: whether it goes along with an adapter;
    `calibration`: the report on dev whose temperatures the card is to say. Raises PushError where there is no
    finished training, and for a tokenizer that the base model has not; StageError for another one's report.
    """
    training = folder.parent if folder.name == "model" else folder
    model = training / "model"
    if not (training / "summary.json").exists() or not any(model.glob("*.safetensors")):
        raise PushError(f"{shown(training)} holds no finished training (summary.json, model/*.safetensors); "
                        "give its folder, such as runs/mini/joint/mixture/seed-42")
    card = read_card(model)
    if card is None:
        raise PushError(f"{shown(model)} has no {CARD}, which says what it was trained for; run its stage 03 "
                        "again, which writes it")
    if missing := [path for path in terms if not path.is_file()]:
        raise PushError(f"--terms {missing[0]}: no such file; give the text of the base model's licence")
    run, manifest = _stage_03(training)
    if calibration is not None:
        card = card.with_temperatures(temperatures_of(calibration, training))
    origin = base_terms(card.base, terms, licence)
    origin = origin._replace(owner=base or origin.owner)
    # All of the run's: the manifest vouches for the weights, not for what the card says of their tasks.
    data = dict(manifest.data) if manifest else {}
    against = _against_data(card, data, known=manifest is not None)
    if (Path(card.base.id) / CARD).is_file():
        against.append(f"its base model is a folder with a {CARD}, so trained on data that nothing here "
                       "vouches for; push a model whose base is a published one")
    against += [origin.lacking] if origin.lacking else []
    known = base or card.base.id
    if _is_path(known):
        against.append("its base model was a folder of this machine: give its name on the Hub with --base")
    summary = artifacts.read(training / "summary.json", Training)
    if not tokenizer and (summary.new_tokens or not (model / "adapter_config.json").exists()):
        raise PushError("--without-tokenizer: the tokenizer must go along with a whole model, and with an "
                        "adapter for which tokens were added; leave the option out")
    files, left_out = _files(model, card, known, set() if tokenizer else TOKENIZER)
    for name, path in origin.files.items():
        if name in files or name in OURS:
            raise PushError(f"--terms {name}: a file of the model has this name; rename the copy")
        files[name] = path
    against += _paths_of_this_machine(files)
    return Release(training, card, summary, data, origin, files, left_out, against,
                   _scores(run, training, card))


def sizes(files: Mapping[str, Path | bytes]) -> Iterator[tuple[str, int, str]]:
    """(name, bytes, SHA-256) of each file."""
    for name, content in files.items():
        if isinstance(content, bytes):
            yield name, len(content), hashlib.sha256(content).hexdigest()
        else:
            yield name, content.stat().st_size, sha256(content)


def _stage_03(training: Path) -> tuple[Path | None, Manifest | None]:
    """The run that `training` belongs to and the manifest that lists its very weights; None for both where
    no run vouches for them."""
    for run in list(training.resolve().parents)[:4]:
        manifest = read_manifest(run / TRAIN)
        if manifest is None:
            continue
        weights = sorted(training.resolve().glob("model/*.safetensors"))
        if all(manifest.outputs.get(w.relative_to(run).as_posix()) == sha256(w) for w in weights):
            return run, manifest
        return run, None
    return None, None


def _against_data(card: Card, data: Mapping[str, Provenance], *, known: bool) -> list[str]:
    if not known:
        return ["no manifest of a stage 03 lists these very weights, so nothing vouches for the data that "
                "they learned from; publish from the folder of its run, with stage 03 finished"]
    found = [f"nothing is known of the data of {task}; run its stage 01 and 03 again"
             for task in card.tasks if task not in data]
    return [*found, *(
        f"it learned from {task} ({p.title}; {p.licence}), which must not be passed on, and so must not what "
        "learned from it; train without it" for task, p in data.items() if not p.redistributable)]


def _files(model: Path, card: Card, base: str,
           of_base: set[str]) -> tuple[dict[str, Path | bytes], dict[str, str]]:
    """What goes out of a model's folder, and what stays, with the reason; `of_base`: what the base model has
    just so."""
    taken: dict[str, Path | bytes] = {}
    left = {}
    for path in sorted(p for p in model.rglob("*") if p.is_file()):
        name = path.relative_to(model).as_posix()
        if path.suffix == ".safetensors" and path.parent == model:
            taken[name] = _whole(path)
        elif name in of_base:
            left[name] = "is the base model's own"
        elif name in TAKEN:
            taken[name] = _without_folders(path, card, base)
        elif name in OURS:
            left[name] = "is written anew"
        elif path.suffix in PICKLED:
            left[name] = "is pickled: it would run code where it is loaded"
        else:
            left[name] = "is no file of a model"
    return taken, left


def _whole(path: Path) -> Path:
    """A safetensors file whose header can be read and fits its length; raises PushError."""
    from safetensors import safe_open, SafetensorError

    try:
        with safe_open(path, "np") as file:
            if file.keys():
                return path
        reason = "it holds no tensor"
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:80]
    raise PushError(f"{shown(path)} is damaged ({reason}); train it again")


def _without_folders(path: Path, card: Card, base: str) -> Path | bytes:
    """A file as it goes out: the base model by its name, not by the folder where it lay here."""
    if path.name == CARD:
        named = card.model_copy(update={"base": card.base.model_copy(update={"id": base})})
        return path if named == read_card(path.parent) else _json(named.model_dump(mode="json"))
    if path.suffix != ".json" or path.name == "tokenizer.json":
        return path
    data = read_json(path)
    if not isinstance(data, dict) or not any(_is_path(str(data.get(key, ""))) for key in _NAMES_BASE):
        return path
    return _json({key: base if key in _NAMES_BASE and _is_path(str(value)) else value
                  for key, value in data.items()})


def _json(data: Any) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode()


def _is_path(name: str) -> bool:
    """Whether a base model's name is a folder, here or on the machine that trained."""
    if name in PACKAGED or name in SCRATCH:
        return False
    return name.startswith(("/", "~", ".")) or "\\" in name or Path(name).is_dir()


def _paths_of_this_machine(files: Mapping[str, Path | bytes]) -> list[str]:
    """A sentence for each small JSON file that still names a folder of this machine."""
    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                yield from strings(each)
        elif isinstance(value, str):
            yield value

    found = []
    for name, content in files.items():
        if name.endswith(".json") and name != "tokenizer.json":
            text = content if isinstance(content, bytes) else content.read_bytes()
            if named := [s for s in strings(json.loads(text)) if s.startswith("/") and os.path.exists(s)]:
                found.append(f"{name} names a folder of this machine ({named[0]}); take it out")
    return found


def _scores(run: Path | None, training: Path, card: Card) -> dict[str, SystemScores]:
    """Task -> scores of this very model on the test split of its run, where stage 04 scored it."""
    manifest = read_manifest(run / EVALUATE) if run else None
    if manifest is None or not (run / EVALUATE / "scores.json").exists():
        return {}
    for weights in training.resolve().glob("model/*.safetensors"):
        if manifest.inputs.get(weights.relative_to(run).as_posix()) != sha256(weights):
            return {}
    scores = artifacts.read(run / EVALUATE / "scores.json", ScoresFile)
    return {task: systems[card.condition] for task, systems in scores.tasks.items()
            if scores.split == "test" and task in card.tasks and card.condition in systems}


def write_folder(folder: Path, files: Mapping[str, Path | bytes]) -> Path:
    """`files` as a folder laid out like a repository of the Hub; raises PushError where `folder` is there
    and not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PushError(f"--to {folder}: is there already and not empty; give a new folder")
    coming = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(coming, ignore_errors=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            write_bytes(coming / name, content)
        else:
            (coming / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(content, coming / name)
    if folder.exists():
        folder.rmdir()
    coming.rename(folder)
    return folder
