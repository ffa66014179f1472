"""The authors' data, or anyone's, from the Hugging Face Hub or a folder laid out like a snapshot.

A YAML names the dataset, its commit, its files and which field holds what (configs/hub/). Files are .csv,
.json, .jsonl or Parquet; nothing of the dataset is ever executed. Three layouts:

    inout   `input` = text, text-label options and Instruction Words; `output` = the target, as in the
            GIELLM model cards; read with a format
    fields  separate columns for text, label and words
    auto    either, told by the columns' names and proved by the first rows (hub_columns)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import Any

import yaml

from giellm_utils.core.schema import Split, Task
from giellm_utils.core.settings import ConfigError, load_yaml
from giellm_utils.data import hub_columns, hub_commit, own
from giellm_utils.data.checker import check_row, Fault, RecordChecker
from giellm_utils.data.dataset import Dataset, Files, make_dataset
from giellm_utils.data.hub_config import HubConfig, Place
from giellm_utils.data.hub_files import HubError, pick, read_rows, SUFFIXES
from giellm_utils.data.hub_rows import Auto, Columns, InOut, Mapped, row_reader, Source, source_of
from giellm_utils.data.leakage import fold
from giellm_utils.data.sets import TASKS
from giellm_utils.data.splits import text_sha1


def is_hub_file(path: str | Path) -> bool:
    """Whether a YAML file describes a Hub dataset: it has `fields`, which a task YAML has not."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # the loader of task files says what is wrong
    return isinstance(content, dict) and "fields" in content


def load_task(config_yaml: str | Path) -> Task:
    """The Task of a Hub YAML; with `labels: found` its files are read. Raises ConfigError, HubError."""
    return _Hub(Path(config_yaml)).task


def files(config_yaml: str | Path) -> Files:
    """The data files, the Hub YAML itself and the task YAML it names; what is not here has no path.

    Of a dataset of the Hub that is what lies in the Hub client's cache; nothing is downloaded.
    """
    hub = _Hub(Path(config_yaml))
    found = [pair for place in hub.config.places for pair in hub.here(place)]
    return [(name, file if file and file.is_file() else None) for name, file in (*found, *hub.yamls)]


def load_dataset(config_yaml: str | Path) -> Dataset:
    """The dataset of a Hub YAML, every row checked like a dataset of the user's (data.checker).

    Raises ConfigError for the YAML, HubError when the files cannot be had, their columns cannot be told or a
    row is faulty.
    """
    hub = _Hub(Path(config_yaml))
    checker, faults, numbers = RecordChecker(hub.task), [], count()
    for file in hub.data:
        faults += _read_file(checker, hub, file, numbers)
    config, yaml_name = hub.config, hub.path.name
    if faults and not config.skip_faulty:
        name, first = faults[0]
        raise HubError(f"{first.shown(name)} ({len(faults)} faults in all); correct the field mapping in "
                       f"{yaml_name}, or set skip_faulty: true to leave such rows out")
    if not checker.records:
        first = f", the first fault: {faults[0][1].shown(faults[0][0])}" if faults else ""
        raise HubError(f"{yaml_name}: its files hold no sound row{first}")
    return make_dataset(hub.task, checker.records, title=config.title, licence=config.licence,
                        source="local folder" if config.places[0].repo is None else "download",
                        attribution=config.attribution, note=_note(hub, faults),
                        files=[*((f.name, f.path) for f in hub.data), *hub.yamls],
                        redistributable=config.redistributable)


def _note(hub: _Hub, faults: list[tuple[str, Fault]]) -> str:
    """What was left out, how rows were mapped, from which commits, and what of the split is a guess."""
    config = hub.config
    left_out = len({(name, fault.line) for name, fault in faults})
    counts = Counter(fault.field.partition("[")[0] for _, fault in faults)
    reasons = ", ".join(f"{field} {n}" for field, n in counts.most_common())
    at = ", ".join(f"{r.repo} at {r.commit}" for r in hub.commits)
    auto = sorted({f.fields.shown() for f in hub.data}) if isinstance(config.fields, Auto) else []
    return " ".join(filter(None, [
        f"{left_out} faulty rows left out ({reasons})." if left_out else "No row left out.",
        f"Rows mapped by {hub.path.name}" + (f", {at}." if at else "."),
        f"Columns told by name: {'; '.join(auto)}." if auto else "",
        "Its labels are those found in its files." if config.labels == "found" else "",
        f"The split is a guess: by file order, the first {config.train_rows:,} rows are train, the rest test."
        if config.train_rows else "", config.note]))


@dataclass(frozen=True)
class _File:
    """One data file of the dataset and how its rows are read."""

    name: str
    path: Path
    split: Split
    fields: InOut | Columns


class _Hub:
    """One Hub YAML with what it leads to, each found when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = load_yaml(path, HubConfig)
        self.commits: list[hub_commit.Resolved] = []

    @property
    def yamls(self) -> Files:
        """The Hub YAML and, where it names one, the task YAML."""
        task = self.config.task
        return [(self.path.name, self.path), *([(task, self.path.parent / task)] if _own(task) else [])]

    def here(self, place: Place) -> Files:
        """The files of one place as far as they are on this machine; a name not known yet has no path."""
        if place.folder is not None:
            folder = self.path.parent / place.folder
            listing = _listing(folder)
            return [(n, folder / n) for n in (_or_itself(n, listing) for n in place.wanted)]
        if (found := hub_commit.known(place.repo, place.commits, place.wanted)) is None:
            return [(name, None) for name in place.wanted]
        return [(n, hub_commit.cached(found, n))
                for n in (_or_itself(n, found.files) for n in place.wanted)]

    @cached_property
    def _paths(self) -> list[tuple[str, Path, Split]]:
        """(name, path, split) of every data file, downloaded where it is of the Hub."""
        found = []
        for place in self.config.places:
            if place.folder is not None:
                folder = (self.path.parent / place.folder).resolve()
                listing, where = _listing(folder), str(folder)
            else:
                resolved = hub_commit.resolve(place.repo, place.commits, place.wanted)
                self.commits.append(resolved)
                listing, where = resolved.files, place.repo
            named = {n: pick(n, listing, where, self.path.name) for n in place.wanted}
            if place.folder is None:
                folder = hub_commit.download(resolved, list(named.values()))
            found += [(named[n], folder / named[n], split) for split, ns in place.files.items() for n in ns]
        for name, path, _ in found:
            if not path.is_file():
                raise HubError(f"{where} has no file {name}; correct `files` in {self.path.name}")
        return found

    @cached_property
    def _base(self) -> Task:
        """The task before any labels are found."""
        task = self.config.task
        if _own(task):
            return own.load_task(self.path.parent / task)
        if task not in TASKS:
            raise ConfigError(f"{self.path.name}: task: {task!r} is not one of {', '.join(TASKS)} "
                              "or the path of a task YAML")
        return TASKS[task]

    @cached_property
    def source(self) -> Source:
        c = self.config
        return source_of(self._base, c.text_labels, c.word_labels, c.instructions, c.labels == "found")

    @cached_property
    def task(self) -> Task:
        if self.config.labels == "task":
            return self._base
        rows = []
        for file in self.data:
            read = row_reader(file.fields, self.source)
            rows += [m for _, row in read_rows(file.path, file.name) if isinstance(row, dict)
                     and not isinstance(m := read(row), Fault)
                     and _loose_fault(m := self.renamed(m)) is None]
        return hub_columns.with_found_labels(self._base, rows, self.path.name)

    @cached_property
    def data(self) -> list[_File]:
        """The data files, with `layout: auto` their fields found by their first rows."""
        return [_File(name, path, split, self._fields(name, path)) for name, path, split in self._paths]

    def _fields(self, name: str, path: Path) -> InOut | Columns:
        if not isinstance(self.config.fields, Auto):
            return self.config.fields
        rows = list(islice(read_rows(path, name), hub_columns.FIRST))
        return hub_columns.find_fields(rows, self.config.fields, self.source, self._fault, name,
                                       self.path.name)

    def renamed(self, mapped: Mapped) -> Mapped:
        """A mapped row with our labels for the source's."""
        text, label, words = mapped
        if isinstance(words, list):
            names = self.config.word_labels
            words = [{**w, "label": _renamed(w.get("label"), names)} if isinstance(w, dict) else w
                     for w in words]
        return text, _renamed(label, self.config.text_labels), words

    def _fault(self, mapped: Mapped) -> Fault | None:
        """Why a mapped row would be no record; where labels are not known yet, as far as that can be said."""
        text, label, words = self.renamed(mapped)
        if self.source.loose:
            return _loose_fault((text, label, words))
        row = check_row(self._base, 0, {"id": "0", "text": text, "label": label, "words": words,
                                        "split": "train"})
        return row.faults[0] if row.faults else None


def _loose_fault(mapped: Mapped) -> Fault | None:
    """The first fault of a mapped row whose labels may be any."""
    text, label, words = mapped
    if not (isinstance(text, str) and text.strip()):
        return Fault(0, "text", "is missing or no string")
    if not (isinstance(label, str) and label.strip()):
        return Fault(0, "label", "is missing or no string")
    if not isinstance(words, list) or not all(isinstance(w, dict) and w.get("label") for w in words):
        return Fault(0, "words", "is no list of objects with a label")
    return None


def _listing(folder: Path) -> list[str]:
    """The data files below a folder, as paths in it; none where there is no such folder."""
    return [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*"))
            if p.suffix in SUFFIXES and p.is_file()]


def _or_itself(name: str, listing: list[str]) -> str:
    """The file that `name` stands for; `name` where that cannot be told."""
    try:
        return pick(name, listing, "", "")
    except HubError:
        return name


def _own(task: str) -> bool:
    return task.endswith((".yaml", ".yml"))


# -- rows ----------------------------------------------------------------------------------------


def _read_file(checker: RecordChecker, hub: _Hub, file: _File, numbers: Iterator[int]
               ) -> list[tuple[str, Fault]]:
    """Feed the rows of one file to `checker`, ids from `numbers`; the faults of this file."""
    seen, task, map_row = len(checker.faults), checker.task, row_reader(file.fields, hub.source)
    for number, row in read_rows(file.path, file.name):
        if not isinstance(row, dict):
            checker.fault(number, "record", "is not an object with named fields")
            continue
        mapped = map_row(row)
        if isinstance(mapped, Fault):
            checker.fault(number, mapped.field, mapped.message)
            continue
        text, label, words = hub.renamed(mapped)
        checker.add(number, {
            "id": f"{task.name}-{next(numbers):06d}", "text": text, "label": label,
            "split": _split(hub.config, file.split, text, number), "words": words,
            "meta": {"file": file.name, "row": number}}, f"{file.name}, row {number}")
    return [(file.name, fault) for fault in checker.faults[seen:]]


def _renamed(label: Any, names: dict[str, str]) -> Any:
    return names.get(str(label), label)


def _split(config: HubConfig, split: Split, text: Any, number: int) -> Split:
    if split == "train" and config.train_rows and number > config.train_rows:
        return "test"
    if split != "train" or "dev" in config.splits or not isinstance(text, str):
        return split
    # Salted: a source that was itself split by the hash of its texts has no low plain hashes left.
    return "dev" if int(text_sha1("dev " + fold(text)), 16) / 16 ** 12 < config.dev_share else "train"
