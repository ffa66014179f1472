"""A loaded dataset: its task, its records and where they came from; helpers the families share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from giellm_utils.schema import Record, Split, Task, Word
from giellm_utils.sources import Located, SourceError, embedded
from giellm_utils.storage import read_json, read_tsv, sha256
from giellm_utils.surfaces import locate_spans
from giellm_utils.tasks.splits import text_sha1

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


def mini_rows(file: str, columns: int) -> list[tuple[str, list[str]]]:
    """Rows of a mini-corpus file, each with its place ("mini/scnm.tsv:12") for messages."""
    return [(f"{file}:{i}", row) for i, row in enumerate(read_tsv(embedded(file), columns), 1)]


def split_items(field: str, size: int, where: str) -> list[list[str]]:
    """`a;b|c;d` -> [[a, b], [c, d]], `-` -> []; raises SourceError naming the place otherwise."""
    if field == "-":
        return []
    items = [item.split(";") for item in field.split("|")]
    for item in items:
        if len(item) != size or not all(item):
            raise SourceError(f"{where}: item {';'.join(item)!r} does not have {size} non-empty fields "
                              "joined by ;")
    return items


def span_words(kind: str, items: list[list[str]], text: str, where: str) -> list[Word]:
    """[label, surface] items -> words; the k-th mention of a surface is its k-th occurrence.

    Raises SourceError naming the place when the text holds a surface less often than it is named.
    """
    words = []
    for (label, surface), span in zip(items, locate_spans([s for _, s in items], text), strict=True):
        if span is None:
            raise SourceError(f"{where}: {surface!r} is named more often than it stands in the text")
        words.append(Word(kind, label, span))
    return words


def stockmark_items(located: Located) -> list[dict[str, Any]]:
    """The Stockmark sentences with their entities, every span checked against its name.

    Each item has curid, text and entities [{name, span: [start, end], type}].
    """
    items = read_json(located.path)
    for i, item in enumerate(items):
        for entity in item["entities"]:
            start, end = entity["span"]
            if item["text"][start:end] != entity["name"]:
                raise SourceError(
                    f"{located.path}, sentence {i}: entity {entity['name']!r} has the span "
                    f"[{start}, {end}), where the text reads {item['text'][start:end]!r}")
    return items


def check_layer(name: str, index: int, sha1: str, items: list[dict[str, Any]]) -> str:
    """The corpus text an annotation-layer row stands for; raises SourceError when it is another one."""
    if not 0 <= index < len(items):
        raise SourceError(f"{name}: index {index} is outside the corpus of {len(items)} sentences; "
                          "layer and corpus are of different versions")
    text = items[index]["text"]
    if text_sha1(text) != sha1:
        raise SourceError(f"{name}: the row of sentence {index} was made for another text (sha1 {sha1}, "
                          f"corpus {text_sha1(text)}); layer and corpus are of different versions")
    return text


def layer_split(split: str, dev: bool, where: str) -> Split:
    """train, dev or test from a layer's columns; `dev` marks 100 of the 1,000 train sentences."""
    if split not in ("train", "test") or (dev and split == "test"):
        raise SourceError(f"{where}: split {split!r} with dev {int(dev)}; only train sentences are dev")
    return "dev" if dev else split  # type: ignore[return-value]
