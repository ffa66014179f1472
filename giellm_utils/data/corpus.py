"""The corpus of a run: a profile's datasets, limited by text hash, and what they are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from giellm_utils.core.schema import Record, Task
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.registry import load_dataset
from giellm_utils.data.splits import text_sha1
from giellm_utils.experiment.profile import Profile

SPLITS = ("train", "dev", "test")


def sample(records: Iterable[Record], limit: int | None) -> list[Record]:
    """At most `limit` records, those whose text's SHA-1 comes first, in their given order."""
    records = list(records)
    if limit is None or limit >= len(records):
        return records
    chosen = {r.id for r in sorted(records, key=lambda r: (text_sha1(r.text), r.id))[:limit]}
    return [r for r in records if r.id in chosen]


def load_corpus(profile: Profile) -> list[Dataset]:
    """The profile's datasets, each cut to `data.limit`; prints which source served each."""
    datasets = []
    for name in profile.data.tasks:
        loaded = load_dataset(name, profile.data.source, **profile.data.options.get(name, {}))
        limit = {**profile.data.limit, **profile.data.task_limit.get(name, {})}
        kept = [r for split in SPLITS for r in sample(loaded.split(split), limit.get(split))]
        print(f"{loaded.task.name}: {len(kept)} of {len(loaded.records)} records from the "
              f"{loaded.provenance['source']}")
        datasets.append(Dataset(loaded.task, tuple(kept), loaded.provenance))
    return datasets


def composition(dataset: Dataset) -> dict[str, Any]:
    """Counts of one dataset: records a split, text labels a split, word labels, lengths in characters,
    items a text; as figures.composition takes it."""
    records = dataset.records
    return {
        "splits": {s: len(dataset.split(s)) for s in SPLITS},
        "text_labels": {label: {s: sum(r.label == label for r in dataset.split(s)) for s in SPLITS}
                        for label in dataset.task.text_labels},
        "word_labels": dict(Counter(w.label for r in records for w in r.words).most_common()),
        "lengths": [len(r.text) for r in records],
        "items_per_text": [len(r.words) for r in records]}


def tasks_of(profile: Profile) -> dict[str, Task]:
    """Task name -> Task, for every dataset of the profile, in its order."""
    from giellm_utils.data.registry import get_task

    tasks = [get_task(name) for name in profile.data.tasks]
    return {task.name: task for task in tasks}


def of_task(records: Sequence[Record], task: str, *splits: str) -> list[Record]:
    """The records of one task and some splits."""
    return [r for r in records if r.task == task and r.split in splits]
