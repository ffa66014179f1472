"""A loaded dataset: its task, its records and where they came from; helpers the sets share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from giellm_utils.core.artifacts import Provenance, SourceFile
from giellm_utils.core.files import sha256
from giellm_utils.core.schema import Record, Split, Task
from giellm_utils.data.fetch import embedded, SourceError

SPLITS: tuple[Split, ...] = get_args(Split)
#: How a dataset's `source` reads, by who served its raw file.
SERVED = {"local": "local folder", "cache": "cache", "download": "download"}
MINI_LICENCE = "CC0 1.0"
MINI_ATTRIBUTION = "written and annotated for this project by a language model, not audited by a human"
#: (name, path) of the files a dataset is made from; the path is None where a file is not on this machine.
Files = list[tuple[str, Path | None]]


@dataclass(frozen=True)
class Dataset:
    """Validated records in canonical order, with unique ids, and their provenance.

    The provenance's `source` is "embedded mini corpus", "local folder", "download" or "cache", its
    `title` a line to print on figures; `redistributable` says whether its texts may stand in results,
    notebooks and figures.
    """

    task: Task
    records: tuple[Record, ...]
    provenance: Provenance

    def split(self, *names: Split) -> tuple[Record, ...]:
        """The records of these splits, in the dataset's order."""
        return tuple(record for record in self.records if record.split in names)


def make_dataset(task: Task, records: Iterable[Record], *, source: str, title: str, files: Files,
                 licence: str, attribution: str, note: str, redistributable: bool) -> Dataset:
    """Validate `records` and put the provenance together, with the hash of each of `files` that is there.

    Raises SchemaError when a record breaks a rule and SourceError when an id or a text repeats.
    """
    checked = tuple(record.validate(task) for record in records)
    for what, values in (("id", [r.id for r in checked]), ("text", [r.text for r in checked])):
        if len(set(values)) != len(values):
            seen: set[str] = set()
            twice = next(v for v in values if v in seen or seen.add(v))
            raise SourceError(f"{task.name}: the {what} {twice!r} stands twice; "
                              "remove one of the two from the source")
    return Dataset(task, checked, Provenance(
        source=source, title=title, licence=licence, attribution=attribution, note=note,
        files=[SourceFile(name=name, sha256=sha256(path)) for name, path in files if path is not None],
        redistributable=redistributable))


def mini_dataset(task: Task, records: Iterable[Record], files: Files, note: str = "") -> Dataset:
    """`make_dataset` for the embedded mini corpus; `note` is added to its own note."""
    return make_dataset(
        task, records, source="embedded mini corpus",
        title=f"{task.title}, embedded mini corpus (machine-written, stand-in)",
        files=files, licence=MINI_LICENCE, attribution=MINI_ATTRIBUTION, redistributable=True,
        note=" ".join(filter(None, [
            "A small machine-written stand-in: its scores say that the pipeline works, not how good a "
            "model is on real text.", note])))


def mini_files(file: str) -> Files:
    """The one file of a mini corpus, such as "mini/scnm.tsv"."""
    return [(file, embedded(file))]
