"""A loaded dataset: its task, its records and where they came from; helpers the families share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from giellm_utils.core.files import sha256
from giellm_utils.core.schema import Record, Split, Task
from giellm_utils.data.fetch import SourceError, embedded

SERVED = {"local": "local folder", "cache": "cache", "download": "download"}
MINI_LICENCE = "CC0 1.0"
MINI_ATTRIBUTION = "written and annotated for this project by a language model, not audited by a human"


@dataclass(frozen=True)
class Dataset:
    """Validated records in canonical order, with unique ids, and their provenance.

    `provenance` has the keys source ("embedded mini corpus", "local folder", "download" or
    "cache"), title (a line to print on figures), files ([{name, sha256}]), licence, attribution
    and note.
    """

    task: Task
    records: tuple[Record, ...]
    provenance: dict[str, Any]

    def split(self, *names: Split) -> tuple[Record, ...]:
        """The records of these splits, in the dataset's order."""
        return tuple(record for record in self.records if record.split in names)


def make_dataset(task: Task, records: Iterable[Record], *, source: str, title: str,
                 files: Iterable[tuple[str, Path]], licence: str, attribution: str, note: str) -> Dataset:
    """Validate `records` and put the provenance together; `files` are (name, path to hash).

    Raises SchemaError when a record breaks a rule and SourceError when an id or a text repeats.
    """
    checked = tuple(record.validate(task) for record in records)
    for what, values in (("id", [r.id for r in checked]), ("text", [r.text for r in checked])):
        if len(set(values)) != len(values):
            twice = next(v for i, v in enumerate(values) if v in values[:i])
            raise SourceError(f"{task.name}: the {what} {twice!r} stands twice; "
                              "remove one of the two from the source")
    return Dataset(task, checked, {
        "source": source, "title": title,
        "files": [{"name": name, "sha256": sha256(path)} for name, path in files],
        "licence": licence, "attribution": attribution, "note": note})


def mini_dataset(task: Task, records: Iterable[Record], file: str, *,
                 files: Iterable[tuple[str, Path]] = (), note: str = "") -> Dataset:
    """`make_dataset` for a file of the embedded mini corpus; `note` is added to its own note."""
    return make_dataset(
        task, records, source="embedded mini corpus",
        title=f"{task.title}, embedded mini corpus (machine-written, stand-in)",
        files=[(file, embedded(file)), *files], licence=MINI_LICENCE, attribution=MINI_ATTRIBUTION,
        note=" ".join(filter(None, [
            "A small machine-written stand-in: its scores say that the pipeline works, not how good a "
            "model is on real text.", note])))
