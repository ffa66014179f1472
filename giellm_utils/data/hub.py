"""The authors' data, or anyone's, from the Hugging Face Hub or a folder laid out like a snapshot.

A YAML names the dataset, its commit, its files and which field holds what (configs/hub/). Files are
.jsonl, .json (a list of objects) or .csv; nothing of the dataset is ever executed. Two layouts:

    inout   `input` = text, text-label options and Instruction Words; `output` = the target, as in the
            GIELLM model cards; read with a format
    fields  separate columns for text, label and words
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import Field, field_validator, model_validator

from giellm_utils.core.schema import Split, Task
from giellm_utils.core.settings import ConfigError, load_yaml, Section
from giellm_utils.data import own
from giellm_utils.data.checker import Fault, RecordChecker
from giellm_utils.data.dataset import Dataset, Files, make_dataset
from giellm_utils.data.hub_rows import Columns, HubError, InOut, read_rows, row_reader, SUFFIXES
from giellm_utils.data.leakage import fold
from giellm_utils.data.sets import TASKS
from giellm_utils.data.splits import text_sha1


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
    #: Whether the licence lets its texts stand in results, notebooks and figures that are passed on.
    redistributable: bool = False

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

    @property
    def wanted(self) -> list[str]:
        """Every file it names, in order."""
        return [name for names in self.files.values() for name in names]


def is_hub_file(path: str | Path) -> bool:
    """Whether a YAML file describes a Hub dataset: it has `fields`, which a task YAML has not."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # the loader of task files says what is wrong
    return isinstance(content, dict) and "fields" in content


def load_task(config_yaml: str | Path) -> Task:
    """The Task of a Hub YAML; raises ConfigError."""
    path = Path(config_yaml)
    return _task(load_yaml(path, HubConfig), path)


def files(config_yaml: str | Path) -> Files:
    """The data files, the Hub YAML itself and the task YAML it names; what is not here has no path.

    Of a dataset of the Hub that is what lies in the Hub client's cache; nothing is downloaded.
    """
    path = Path(config_yaml)
    config = load_yaml(path, HubConfig)
    if config.folder is None:
        found = [(name, _cached(config, name)) for name in config.wanted]
    else:
        found = [(name, path.parent / config.folder / name) for name in config.wanted]
    return [(name, file if file and file.is_file() else None)
            for name, file in (*found, *_yamls(config, path))]


def load_dataset(config_yaml: str | Path) -> Dataset:
    """The dataset of a Hub YAML, every row checked like a dataset of the user's (data.checker).

    Raises ConfigError for the YAML, HubError when the files cannot be had or a row is faulty.
    """
    path = Path(config_yaml)
    config = load_yaml(path, HubConfig)
    task = _task(config, path)
    folder = _folder(config, path)
    checker, faults, numbers = RecordChecker(task), [], count()
    for split, names in config.files.items():
        for name in names:
            faults += _read_file(checker, config, folder, name, split, numbers)
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
                        files=[*((n, folder / n) for n in config.wanted), *_yamls(config, path)],
                        note=f"{note} Rows mapped by {path.name}"
                             + (f", {config.repo} at {config.revision}." if config.repo else "."),
                        redistributable=config.redistributable)


def _yamls(config: HubConfig, path: Path) -> Files:
    """The Hub YAML and, where it names one, the task YAML."""
    return [(path.name, path), *([(config.task, path.parent / config.task)] if _own(config.task) else [])]


def _own(task: str) -> bool:
    return task.endswith((".yaml", ".yml"))


def _reasons(faults: list[tuple[str, Fault]]) -> str:
    counts = Counter(fault.field.partition("[")[0] for _, fault in faults)
    return ", ".join(f"{field} {count}" for field, count in counts.most_common())


def _task(config: HubConfig, path: Path) -> Task:
    if _own(config.task):
        return own.load_task(path.parent / config.task)
    if config.task not in TASKS:
        raise ConfigError(f"{path.name}: task: {config.task!r} is not one of {', '.join(TASKS)} "
                          "or the path of a task YAML")
    return TASKS[config.task]


def _folder(config: HubConfig, path: Path) -> Path:
    """The local folder, or a snapshot of the named files from the Hub or its cache."""
    if config.folder is not None:
        folder = (path.parent / config.folder).resolve()
    else:
        folder = _snapshot(config)
    missing = [name for name in config.wanted if not (folder / name).is_file()]
    if missing:
        raise HubError(f"{config.repo or folder} has no file {missing[0]}; correct `files` in {path.name}")
    return folder


def _snapshot(config: HubConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"{config.repo} at {config.revision}"
    if set(config.revision or "") == {"0"}:
        raise HubError(f"{at}: that is the placeholder of a template; put in the dataset's own name "
                       "and commit")
    try:
        return Path(snapshot_download(config.repo, repo_type="dataset", revision=config.revision,
                                      allow_patterns=config.wanted))
    except RepositoryNotFoundError:
        raise HubError(f"the Hub has no dataset {config.repo}, or it is gated or private; check the name, "
                       "accept its terms on its page and log in with `hf auth login`") from None
    except RevisionNotFoundError:
        raise HubError(f"{config.repo} has no commit {config.revision}; correct `revision`") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        raise HubError(f"{at} cannot be had from the Hub ({type(error).__name__}) and is not in its cache; "
                       "check the network, or download it elsewhere and name its `folder`") from None


def _cached(config: HubConfig, name: str) -> Path | None:
    """Where the Hub client's cache has a file of the dataset; None where it has not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(config.repo, name, repo_type="dataset", revision=config.revision)
    return Path(found) if isinstance(found, str) else None


# -- rows ----------------------------------------------------------------------------------------


def _read_file(checker: RecordChecker, config: HubConfig, folder: Path, name: str, split: Split,
               numbers: Iterator[int]) -> list[tuple[str, Fault]]:
    """Feed the rows of one file to `checker`, ids from `numbers`; the faults of this file."""
    seen, task, map_row = len(checker.faults), checker.task, row_reader(config.fields, checker.task)
    for number, row in read_rows(folder / name, name):
        if not isinstance(row, dict):
            checker.fault(number, "record", "is not an object with named fields")
            continue
        mapped = map_row(row)
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
