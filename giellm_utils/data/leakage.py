"""Leakage over all datasets together: test texts that also stand, exactly or nearly, in training.

Exact: equal after NFKC with white space folded. Near: not exact, but an indel similarity
(`rapidfuzz.fuzz.ratio`, 2 * matching / total characters) of at least THRESHOLD percent. Reports
carry ids and counts, never texts, so that they can be kept whatever the licence of the texts.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rapidfuzz import fuzz, process

from giellm_utils.core.schema import Record
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.dataset import Dataset

#: Percent of indel similarity from which two texts count as nearly the same.
THRESHOLD = 90
#: Texts compared at once; bounds the score matrix to this many rows.
CHUNK = 512
#: At most this many pairs of ids a cell are shown as examples.
EXAMPLES = 5


def fold(text: str) -> str:
    """`text` after NFKC, every run of white space one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def near_pairs(texts: Sequence[str], threshold: int = THRESHOLD) -> list[tuple[int, int]]:
    """Index pairs (i, j), i < j, of distinct texts that are nearly the same.

    Texts are compared in windows of similar length only: a ratio of t percent needs
    shorter / longer >= t / (200 - t).
    """
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), texts[i]))
    ranked = [texts[i] for i in order]
    lengths = np.array([len(t) for t in ranked])
    pairs = []
    for start in range(0, len(ranked), CHUNK):
        rows = ranked[start:start + CHUNK]
        longest = len(rows[-1]) * (200 - threshold) // threshold
        end = int(np.searchsorted(lengths, longest, side="right"))
        scores = process.cdist(rows, ranked[start:end], scorer=fuzz.ratio, score_cutoff=threshold,
                               dtype=np.uint8)
        for row, column in zip(*np.nonzero(np.triu(scores, 1)), strict=True):
            i, j = order[start + int(row)], order[start + int(column)]
            if texts[i] != texts[j]:
                pairs.append((min(i, j), max(i, j)))
    return sorted(pairs)


def near_twins(texts: Sequence[str], others: Sequence[str], threshold: int = THRESHOLD) -> set[int]:
    """Indices of the `texts` that are nearly the same as one of `others`."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    ranked = sorted(others, key=len)
    lengths = np.array([len(t) for t in ranked])
    twins: set[int] = set()
    for start in range(0, len(order), CHUNK):
        rows = order[start:start + CHUNK]
        shortest, longest = len(texts[rows[0]]), len(texts[rows[-1]])
        first = int(np.searchsorted(lengths, shortest * threshold / (200 - threshold), side="left"))
        end = int(np.searchsorted(lengths, longest * (200 - threshold) / threshold, side="right"))
        scores = process.cdist([texts[i] for i in rows], ranked[first:end], scorer=fuzz.ratio,
                               score_cutoff=threshold, dtype=np.uint8)
        twins |= {i for i, found in zip(rows, scores.any(axis=1), strict=True) if found}
    return twins


def leakage(datasets: Sequence[Dataset], names: Sequence[str] | None = None) -> dict[str, Any]:
    """How many test texts of every dataset have a twin in train or dev of every dataset.

    `names`: how the report calls them, by default by their tasks. Raises ConfigError for a name given twice.

    The result is ready for JSON:
    `pairs` has one row a (train dataset, test dataset), a dataset with itself included: `train_texts`
    (train and dev), `test_texts`, `exact` and `near` (test texts with such a twin; one that has both
    counts as exact), `examples` [[test id, train id], ...];
    `within` has one row a dataset, whatever the split: `texts`, `exact` and `near` (texts with such
    a twin elsewhere in the dataset).
    """
    names = names or [d.task.name for d in datasets]
    if len(set(names)) != len(names):
        raise ConfigError(f"two of the datasets {', '.join(names)} have one name: name each apart")
    named = dict(zip(names, datasets, strict=True))
    texts = sorted({fold(r.text) for d in datasets for r in d.records})
    number = {text: i for i, text in enumerate(texts)}
    near: dict[int, list[int]] = defaultdict(list)
    for i, j in near_pairs(texts):
        near[i].append(j)
        near[j].append(i)

    def grouped(records: Iterable[Record]) -> dict[int, list[str]]:
        ids: dict[int, list[str]] = defaultdict(list)
        for record in records:
            ids[number[fold(record.text)]].append(record.id)
        return ids

    every = {name: grouped(d.records) for name, d in named.items()}
    trains = {name: grouped(d.split("train", "dev")) for name, d in named.items()}
    tests = {name: grouped(d.split("test")) for name, d in named.items()}
    return {
        "definition": "exact: equal after NFKC and white-space folding; near: indel similarity of at "
                      f"least {THRESHOLD} %, not exact; train holds dev",
        "threshold": THRESHOLD,
        "pairs": [{"train": a, "test": b, **_cell(trains[a], tests[b], near)}
                  for a in trains for b in tests],
        "within": [{"dataset": name, "texts": sum(map(len, ids.values())),
                    "exact": sum(len(twins) for twins in ids.values() if len(twins) > 1),
                    "near": sum(len(twins) for i, twins in ids.items()
                                if len(twins) == 1 and any(j in ids for j in near[i]))}
                   for name, ids in every.items()]}


def _cell(train: dict[int, list[str]], test: dict[int, list[str]],
          near: dict[int, list[int]]) -> dict[str, Any]:
    exact = [(i, i) for i in test if i in train]
    close = [(i, next(j for j in near[i] if j in train)) for i in test
             if i not in train and any(j in train for j in near[i])]
    return {"train_texts": sum(map(len, train.values())), "test_texts": sum(map(len, test.values())),
            "exact": sum(len(test[i]) for i, _ in exact), "near": sum(len(test[i]) for i, _ in close),
            "examples": [[test[i][0], train[j][0]] for i, j in (exact + close)[:EXAMPLES]]}
