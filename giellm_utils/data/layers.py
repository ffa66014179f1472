"""Rows of the mini corpus and of our annotation layers: parsed, placed, checked against their corpus."""

from __future__ import annotations

from typing import Any

from giellm_utils.core.files import read_json, read_tsv
from giellm_utils.core.schema import Split, Word
from giellm_utils.data.fetch import embedded, Located, SourceError
from giellm_utils.data.offsets import locate_spans
from giellm_utils.data.splits import text_sha1


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
