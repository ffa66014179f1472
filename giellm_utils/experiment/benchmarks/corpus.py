"""What the six datasets hold and what the SCPOS word rules find, as counts: no text of a corpus leaves.

`giellm data describe --out results/corpus` writes rules.json and statistics.json, from which the tables of
the data sheets are made. It needs the open corpora (data.fetch). The results depend on the data, the code
and the packages named in them alone.
"""

from __future__ import annotations

import statistics as averages
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from giellm_utils.core.answer import Answer
from giellm_utils.core.files import write_json
from giellm_utils.core.schema import Record, Task
from giellm_utils.data.corpus import composition
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.describe import (
    DECIMALS,
    judge_agreement,
    layer_agreement,
    mini_rules,
    open_rules,
    packages,
    share,
)
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.evaluation import score
from giellm_utils.systems import registry

BASELINE_METRICS = ("tl", "tl_balanced", "wl_exact", "wl_words", "f1", "all")
SEED = 0
#: Name of a result -> (source, options of load_dataset); the blind label is TCREE's only.
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "embedded": ("embedded", {}), "open": ("open", {}), "open-blind": ("open", {"label": "blind"})}


def write_reports(out: Path) -> list[Path]:
    """Write rules.json and statistics.json into the folder `out`; returns their paths.

    Raises SourceError when an open corpus or the owner's lexicon cannot be had; then neither was written.
    """
    rules = {"packages": packages(), "corpora": {"mini": mini_rules(), "jrte": open_rules()}}
    reports = {"rules.json": rules, "statistics.json": statistics_report()}
    return [write_json(out / name, report) for name, report in reports.items()]


def statistics_report(variants: Sequence[str] = tuple(VARIANTS)) -> dict[str, Any]:
    """`dataset_statistics` of every dataset in the wanted VARIANTS and the agreement of the layers.

    Raises SourceError when an open corpus is wanted and cannot be had.
    """
    def of(name: str, variant: str) -> dict[str, Any]:
        source, options = VARIANTS[variant]
        return dataset_statistics(load_dataset(name, source, **options))

    report = {name: {variant: of(name, variant) for variant in variants
                     if variant != "open-blind" or name == "tcree"} for name in TASKS}
    agreement = layer_agreement()
    if "open" in variants:
        agreement["scpos, JRTE judges"] = judge_agreement()
    return {"packages": packages(), "seed": SEED, "agreement": agreement, "datasets": report}


def dataset_statistics(dataset: Dataset) -> dict[str, Any]:
    """Sizes, labels, lengths (characters) and baselines of one dataset, ready for JSON.

    `with_words` (share), `words_per_item` (mean) and `characters` are of all records or of test.
    `baselines` are the floors of level joint (systems.registry), scored on test as {value, low, high, n}
    of BASELINE_METRICS: "majority" gives the most frequent text label of train and dev and no word, so its
    wl_exact is the always-empty one; "lexicon" is there for the SCPOS sets.
    """
    made, provenance = composition(dataset), dataset.provenance.model_dump()
    groups = {"all": dataset.records, "test": dataset.split("test")}
    return {
        **{key: provenance[key] for key in ("title", "licence", "attribution", "files")},
        "splits": made.splits, "text_labels": made.text_labels, "word_labels": made.word_labels,
        "distinct_labels": {"text": len(dataset.task.text_labels), "word": len(made.word_labels),
                            "word_defined": sum(len(part.labels) for part in dataset.task.parts)},
        "with_words": {name: share(sum(bool(r.words) for r in of), len(of)) for name, of in groups.items()},
        "words_per_item": {name: share(sum(len(r.words) for r in of), len(of))
                           for name, of in groups.items()},
        "characters": {"mean": round(averages.mean(made.lengths), 1),
                       "median": averages.median(made.lengths), "max": max(made.lengths)},
        "baselines": _baselines(dataset)}


def _baselines(dataset: Dataset) -> dict[str, Any]:
    train, test = dataset.split("train", "dev"), dataset.split("test")
    scores = {}
    for entry in registry.entries().values():
        if entry.floor and entry.make and entry.level == "joint" and entry.applies(dataset.task):
            system = entry.make(dataset.task)
            system.fit(train)
            scores[entry.name] = _scores(dataset.task, test, system.predict(test))
    return scores


def _scores(task: Task, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
    frame = score.score_documents(task, records, "joint", answers)
    scores = score.summarise(frame, seed=SEED)
    return {name: {k: round(v, DECIMALS) if isinstance(v, float) else v
                   for k, v in scores[name].model_dump().items()} for name in BASELINE_METRICS}
