"""The authors' data, or anyone's, from the Hugging Face Hub or a folder laid out like a snapshot.

A YAML names the dataset, its commit, its files and which field holds what (configs/hub/). Files are
.jsonl, .json (a list of objects) or .csv; nothing of the dataset is ever executed. Two layouts:

    inout   `input` = text, text-label options and Instruction Words; `output` = the target, as in the
            GIELLM model cards; read with the Format Converter
    fields  separate columns for text, label and words
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from giellm_utils.core.files import StorageError, read_json
from giellm_utils.core.schema import Split, Task
from giellm_utils.core.settings import ConfigError, Section, load_yaml
from giellm_utils.data.checker import Fault, RecordChecker
from giellm_utils.data.dataset import Dataset, make_dataset
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.leakage import fold
from giellm_utils.data.own import load_task
from giellm_utils.data.registry import TASKS
from giellm_utils.data.splits import text_sha1
from giellm_utils.formats.giellm import Converter

SUFFIXES = (".jsonl", ".json", ".csv")


class HubError(SourceError):
    """A Hub dataset that cannot be had or read; one sentence, with what to do."""


class InOut(Section):
    """Fields of the `inout` layout. Without `text` the text is `input` less options and Instruction Words."""

    layout: Literal["inout"]
    input: str
    output: str
    text: str | None = None
    #: Opening and closing mark of a text label: "<>", or "‹>" as the GIELLM model cards print it.
    marks: str = Field("<>", min_length=2, max_length=2)
    #: Whether spans of the output follow our escape rule; the published format has none.
    escaped: bool = False


class Columns(Section):
    """Fields of the `fields` layout; `words` is a list of objects (in .csv: that list as JSON)."""

    layout: Literal["fields"]
    text: str
    label: str
    words: str
    #: Key of a word's kind; without it every word is of the task's first part.
    kind: str | None = None
    word_label: str = "label"
    #: Keys of a word's place; the ones that are there are used.
    span: str = "span"
    surface: str = "surface"
    head: str = "head"
    tail: str = "tail"
    head_text: str = "head_text"
    tail_text: str = "tail_text"


class HubConfig(Section):
    """A Hub dataset and how to read it. Exactly one of `repo` and `folder`."""

    #: A task of this package, or the path of a task YAML relative to this file.
    task: str
    title: str
    repo: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    #: The commit on the Hub, 40 hex digits: a branch name would not pin what is read.
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    folder: str | None = None
    files: dict[Split, list[str]] = Field(min_length=1)
    fields: InOut | Columns = Field(discriminator="layout")
    #: Source label -> ours, for text labels and word labels; a label not named stays as it is.
    text_labels: dict[str, str] = Field(default_factory=dict)
    word_labels: dict[str, str] = Field(default_factory=dict)
    #: This share of train, taken by text hash, becomes dev where there is no dev file.
    dev_share: float = Field(0.0, ge=0, lt=1)
    #: Leave faulty rows out and say how many in the provenance, instead of stopping at the first.
    skip_faulty: bool = False
    licence: str
    attribution: str

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, list[str]]) -> dict[str, list[str]]:
        for name in (n for names in files.values() for n in names):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or path.suffix not in SUFFIXES:
                raise ValueError(f"{name!r} must be a path in the dataset, ending in {', '.join(SUFFIXES)}")
        return files

    @model_validator(mode="after")
    def _one_place(self) -> HubConfig:
        if (self.repo is None) == (self.folder is None) or (self.repo is None) != (self.revision is None):
            raise ValueError("needs either folder, or repo together with revision (40 digits of a commit)")
        return self


def load_hub_dataset(config_yaml: str | Path) -> Dataset:
    """The dataset of a Hub YAML, every row checked like a dataset of the user's (userdata).

    Raises ConfigError for the YAML, HubError when the files cannot be had or a row is faulty.
    """
    path = Path(config_yaml)
    config = load_yaml(path, HubConfig)
    task = _task(config, path)
    folder = _folder(config, path)
    checker, faults, numbers = RecordChecker(task), [], count()
    for split, names in config.files.items():
        for name in names:
            faults += _read_file(checker, config, task, folder, name, split, numbers)
    if faults and not config.skip_faulty:
        name, first = faults[0]
        raise HubError(f"{first.shown(name)} ({len(faults)} faults in all); correct the field mapping in "
                       f"{path.name}, or set skip_faulty: true to leave such rows out")
    if not checker.records:
        first = f", the first fault: {faults[0][1].shown(faults[0][0])}" if faults else ""
        raise HubError(f"{path.name}: its files hold no sound row{first}")
    left_out = len({(name, fault.line) for name, fault in faults})
    note = f"{left_out} faulty rows left out ({_reasons(faults)})." if left_out else "No row left out."
    return make_dataset(task, checker.records, source="local folder" if config.repo is None else "download",
                        title=config.title, licence=config.licence, attribution=config.attribution,
                        files=[(n, folder / n) for names in config.files.values() for n in names],
                        note=f"{note} Rows mapped by {path.name}"
                             + (f", {config.repo} at {config.revision}." if config.repo else "."))


def is_hub_file(path: str | Path) -> bool:
    """Whether a YAML file describes a Hub dataset: it has `fields`, which a task YAML has not."""
    try:
        head = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False  # the loader of task files says what is wrong
    return any(line.startswith("fields:") for line in head.splitlines())


def load_hub_task(config_yaml: str | Path) -> Task:
    """The Task of a Hub YAML; raises ConfigError."""
    path = Path(config_yaml)
    return _task(load_yaml(path, HubConfig), path)


def _reasons(faults: list[tuple[str, Fault]]) -> str:
    counts = Counter(fault.field.partition("[")[0] for _, fault in faults)
    return ", ".join(f"{field} {count}" for field, count in counts.most_common())


def _task(config: HubConfig, path: Path) -> Task:
    if config.task.endswith((".yaml", ".yml")):
        return load_task(path.parent / config.task)
    if config.task not in TASKS:
        raise ConfigError(f"{path.name}: task: {config.task!r} is not one of {', '.join(TASKS)} "
                          "or the path of a task YAML")
    return TASKS[config.task]


def _folder(config: HubConfig, path: Path) -> Path:
    """The local folder, or a snapshot of the named files from the Hub or its cache."""
    wanted = [name for names in config.files.values() for name in names]
    if config.folder is not None:
        folder = (path.parent / config.folder).resolve()
    else:
        folder = _snapshot(config, wanted)
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise HubError(f"{config.repo or folder} has no file {missing[0]}; correct `files` in {path.name}")
    return folder


def _snapshot(config: HubConfig, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError, HFValidationError, HTTPError, LocalEntryNotFoundError, RepositoryNotFoundError,
        RevisionNotFoundError)

    at = f"{config.repo} at {config.revision}"
    if set(config.revision or "") == {"0"}:
        raise HubError(f"{at}: that is the placeholder of a template; put in the dataset's own name "
                       "and commit")
    try:
        return Path(snapshot_download(config.repo, repo_type="dataset", revision=config.revision,
                                      allow_patterns=wanted))
    except RepositoryNotFoundError:
        raise HubError(f"the Hub has no dataset {config.repo}, or it is gated or private; check the name, "
                       "accept its terms on its page and log in with `hf auth login`") from None
    except RevisionNotFoundError:
        raise HubError(f"{config.repo} has no commit {config.revision}; correct `revision`") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        raise HubError(f"{at} cannot be had from the Hub ({type(error).__name__}) and is not in its cache; "
                       "check the network, or download it elsewhere and name its `folder`") from None


# -- rows ----------------------------------------------------------------------------------------


def _read_file(checker: RecordChecker, config: HubConfig, task: Task, folder: Path, name: str,
               split: Split, numbers: Iterator[int]) -> list[tuple[str, Fault]]:
    """Feed the rows of one file to `checker`, ids from `numbers`; the faults of this file."""
    seen = len(checker.faults)
    for number, row in _rows(folder / name, name):
        if not isinstance(row, dict):
            checker.fault(number, "record", "is not an object with named fields")
            continue
        mapped = _inout(row, config.fields, task) if isinstance(config.fields, InOut) \
            else _columns(row, config.fields, task)
        if isinstance(mapped, Fault):
            checker.fault(number, mapped.field, mapped.message)
            continue
        text, label, words = mapped
        given = {"id": f"{task.name}-{next(numbers):06d}", "text": text,
                 "label": _renamed(label, config.text_labels), "split": _split(config, split, text),
                 "words": words, "meta": {"file": name, "row": number}}
        if isinstance(words, list):
            given["words"] = [{**w, "label": _renamed(w.get("label"), config.word_labels)} for w in words]
        checker.add(number, given, f"{name}, row {number}")
    return [(name, fault) for fault in checker.faults[seen:]]


def _renamed(label: Any, names: dict[str, str]) -> Any:
    return names.get(str(label), label)


def _split(config: HubConfig, split: Split, text: Any) -> Split:
    if split != "train" or "dev" in config.files or not isinstance(text, str):
        return split
    # Salted: a source that was itself split by the hash of its texts has no low plain hashes left.
    return "dev" if int(text_sha1("dev " + fold(text)), 16) / 16 ** 12 < config.dev_share else "train"


def _rows(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """(line or row number from 1, row) of a .jsonl, .json or .csv file."""
    try:
        if path.suffix == ".csv":
            with open(path, encoding="utf-8-sig", newline="") as file:
                yield from enumerate(csv.DictReader(file), 1)
        elif path.suffix == ".json":
            rows = read_json(path)
            if not isinstance(rows, list):
                raise HubError(f"{name}: holds {type(rows).__name__} where a list of objects is expected; "
                               "if it has one object a line, call it .jsonl")
            yield from enumerate(rows, 1)
        else:
            with open(path, encoding="utf-8-sig", newline="\n") as file:
                yield from ((i, json.loads(line)) for i, line in enumerate(file, 1) if line.strip())
    except (json.JSONDecodeError, UnicodeDecodeError, csv.Error, StorageError) as error:
        raise HubError(f"{name}: cannot be read as {path.suffix[1:]} in UTF-8 ({error})") from None


Mapped = tuple[Any, Any, Any]


def _inout(row: dict[str, Any], fields: InOut, task: Task) -> Mapped | Fault:
    """(text, label, words) of an in/out row; a Fault (line 0) where the output cannot be read."""
    for name in filter(None, (fields.input, fields.output, fields.text)):
        if not isinstance(row.get(name), str):
            return Fault(0, name, f"is missing or no string; the row has {', '.join(map(str, row))}")
    converter = Converter(task, fields.marks)
    text = row[fields.text] if fields.text else _strip_prompt(row[fields.input], converter)
    if text is None:
        return Fault(0, fields.input, f"does not end with {converter.options}{converter.instructions}; check "
                                      "marks, the task's labels and their order")
    output = row[fields.output].strip()
    parsed = converter.parse(output if fields.escaped else output.replace("\\", "\\\\"), "joint", text)
    if parsed.problems:
        problem = parsed.problems[0]
        return Fault(0, fields.output, f"{problem.name} ({problem.detail!r})")
    words = [{"kind": item.kind, "label": item.label,
              **dict(zip(("surface",) if len(item.surfaces) == 1 else ("head_text", "tail_text"),
                         item.surfaces, strict=True))} for item in parsed.items]
    return text, parsed.label, words


def _strip_prompt(prompt: str, converter: Converter) -> str | None:
    """The text of a prompt; whether white space stands between the parts is not known of the cards."""
    rest = prompt.strip()
    for suffix in (converter.instructions, converter.options):
        if not rest.endswith(suffix):
            return None
        rest = rest.removesuffix(suffix).rstrip()
    return rest


def _columns(row: dict[str, Any], fields: Columns, task: Task) -> Mapped | Fault:
    """(text, label, words) of a row with separate fields; a Fault (line 0) where one is missing."""
    for name in (fields.text, fields.label, fields.words):
        if name not in row:
            return Fault(0, name, f"no such field; the row has {', '.join(map(str, row))}")
    words = row[fields.words]
    if isinstance(words, str):
        try:
            words = json.loads(words)
        except json.JSONDecodeError:
            return Fault(0, fields.words, "is a string that is no JSON; words must be a list of objects")
    if isinstance(words, list) and all(isinstance(w, dict) for w in words):
        words = [_word(w, fields, task) for w in words]
    label = row[fields.label]
    # A numeric class is a label only through `text_labels`; bool is left for the checker to refuse.
    return row[fields.text], str(label) if type(label) is int else label, words


def _word(word: dict[str, Any], fields: Columns, task: Task) -> dict[str, Any]:
    part = next((p for p in task.parts if p.kind == word.get(fields.kind or "")), task.parts[0])
    keys = ("span", "surface") if part.shape == "span" else ("head", "tail", "head_text", "tail_text")
    mapped = {key: word[name] for key in keys if (name := getattr(fields, key)) in word}
    for end, name in (("head", "head_text"), ("tail", "tail_text")):
        # Many datasets call the surface of an end `head` or `tail`.
        if isinstance(mapped.get(end), str):
            mapped[name] = mapped.pop(end)
    return {"kind": word.get(fields.kind) if fields.kind else part.kind,
            "label": word.get(fields.word_label), **mapped}
