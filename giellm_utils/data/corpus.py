"""The corpus of a run: a profile's datasets, limited by text hash, and what they are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from giellm_utils.core.artifacts import Composition
from giellm_utils.core.schema import Record, Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.config import DataConfig
from giellm_utils.data.dataset import Dataset, SPLITS
from giellm_utils.data.registry import get_task, load_dataset
from giellm_utils.data.splits import text_sha1


def sample(records: Iterable[Record], limit: int | None) -> list[Record]:
    """At most `limit` records, those whose text's SHA-1 comes first, in their given order."""
    records = list(records)
    if limit is None or limit >= len(records):
        return records
    chosen = {r.id for r in sorted(records, key=lambda r: (text_sha1(r.text), r.id))[:limit]}
    return [r for r in records if r.id in chosen]


def load_corpus(config: DataConfig) -> list[Dataset]:
    """The datasets of a profile's section `data`, each cut to its limit; prints which source served each.

    Raises ConfigError and SourceError as load_dataset does, ConfigError for two datasets of one task.
    """
    tasks_of(config)
    datasets = []
    for name in config.tasks:
        loaded = load_dataset(name, config.source, **config.options.get(name, {}))
        limit = {**config.limit, **config.task_limit.get(name, {})}
        kept = [r for split in SPLITS for r in sample(loaded.split(split), limit.get(split))]
        print(f"{loaded.task.name}: {len(kept)} of {len(loaded.records)} records from the "
              f"{loaded.provenance.source}")
        datasets.append(Dataset(loaded.task, tuple(kept), loaded.provenance))
    return datasets


def tasks_of(config: DataConfig) -> dict[str, Task]:
    """Task name -> Task, for every dataset of a profile's section `data`, in its order.

    Raises ConfigError where two datasets have one task: their records and scores would mix.
    """
    tasks: dict[str, Task] = {}
    for name in config.tasks:
        task = get_task(name)
        if task.name in tasks:
            raise ConfigError(f"data.tasks: {name} is a second dataset of task {task.name}; "
                              "run it under a profile of its own")
        tasks[task.name] = task
    return tasks


def composition(dataset: Dataset) -> Composition:
    """Counts of one dataset, its lengths and its items a text; word labels by their frequency."""
    records = dataset.records
    return Composition(
        splits={s: len(dataset.split(s)) for s in SPLITS},
        text_labels={label: {s: sum(r.label == label for r in dataset.split(s)) for s in SPLITS}
                     for label in dataset.task.text_labels},
        word_labels=dict(Counter(w.label for r in records for w in r.words).most_common()),
        lengths=[len(r.text) for r in records],
        items_per_text=[len(r.words) for r in records])


def of_task(records: Sequence[Record], task: str, *splits: str) -> list[Record]:
    """The records of one task and some splits."""
    return [r for r in records if r.task == task and r.split in splits]
