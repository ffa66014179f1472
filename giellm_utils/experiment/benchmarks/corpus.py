"""What the six datasets hold and what the SCPOS word rules find, as counts: no text of a corpus leaves.

`python -m giellm_utils.corpus_report --out results/corpus --docs docs` writes rules.json and
statistics.json and brings the tables of the data sheets up to date with them. It needs the open corpora
(see sources.fetch). The results depend on the data, the code and the packages named in them alone.
"""

from __future__ import annotations

import argparse
import statistics as averages
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from giellm_utils.core.files import StorageError, write_json
from giellm_utils.core.schema import Record
from giellm_utils.data.corpus import composition
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.describe import (
    DECIMALS, _share, judge_agreement, layer_agreement, mini_rules, open_rules, packages)
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.registry import TASKS, load_dataset
from giellm_utils.data.sets import scpos
from giellm_utils.evaluation import score
from giellm_utils.formats.giellm import Converter
from giellm_utils.reporting.documents import update_docs
from giellm_utils.systems import floors
from giellm_utils.systems.lexicon import lexicon_outputs

BASELINE_METRICS = ("tl", "tl_balanced", "wl_exact", "wl_words", "f1", "all")
SEED = 0
#: Name of a result -> (source, options of load_dataset); the blind label is TCREE's only.
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "embedded": ("embedded", {}), "open": ("open", {}), "open-blind": ("open", {"label": "blind"})}


# -- the datasets ----------------------------------------------------------------------------------------


def dataset_statistics(dataset: Dataset) -> dict[str, Any]:
    """Sizes, labels, lengths (characters) and baselines of one dataset, ready for JSON.

    `with_words` (share), `words_per_item` (mean) and `characters` are of all records or of test.
    `baselines` are scored on test at level joint, as {value, low, high, n} of BASELINE_METRICS:
    "majority" writes the most frequent text label of train and dev and no word, so its wl_exact is the
    always-empty one; "lexicon" is there for the SCPOS sets.
    """
    made = composition(dataset)
    test, train = dataset.split("test"), dataset.split("train", "dev")
    converter = Converter(dataset.task)
    outputs = floors.baseline_outputs(converter, train, test, "joint")
    if dataset.task in scpos.TASKS:
        outputs["lexicon"] = lexicon_outputs(converter, train, test)
    groups = {"all": dataset.records, "test": test}
    return {
        **{key: dataset.provenance[key] for key in ("title", "licence", "attribution", "files")},
        "splits": made["splits"], "text_labels": made["text_labels"], "word_labels": made["word_labels"],
        "distinct_labels": {"text": len(dataset.task.text_labels), "word": len(made["word_labels"]),
                            "word_defined": sum(len(part.labels) for part in dataset.task.parts)},
        "with_words": {name: _share(sum(bool(r.words) for r in of), len(of)) for name, of in groups.items()},
        "words_per_item": {name: _share(sum(len(r.words) for r in of), len(of))
                           for name, of in groups.items()},
        "characters": {"mean": round(averages.mean(made["lengths"]), 1),
                       "median": averages.median(made["lengths"]), "max": max(made["lengths"])},
        "baselines": {name: _scores(converter, test, rows) for name, rows in outputs.items()}}


def _scores(converter: Converter, records: Sequence[Record],
            outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    frame = score.score_documents(converter, records, "joint", outputs)
    scores = score.summarise(frame, seed=SEED)
    return {name: {k: round(v, DECIMALS) if isinstance(v, float) else v for k, v in scores[name].items()}
            for name in BASELINE_METRICS}


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


# -- the command -------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Write rules.json and statistics.json into --out and refresh the tables in --docs.

    Returns 0, or 2 after one sentence on stderr when data cannot be had or a document has a table that
    nobody knows; then no result file was written.
    """
    parser = argparse.ArgumentParser(prog="python -m giellm_utils.corpus_report", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of rules.json and statistics.json")
    parser.add_argument("--docs", type=Path, help="folder of .md files whose tables are brought up to date")
    parser.add_argument("--tables-only", action="store_true", help="refresh the tables from what is in --out")
    options = parser.parse_args(arguments)
    try:
        if not options.tables_only:
            rules = {"packages": packages(), "corpora": {"mini": mini_rules(), "jrte": open_rules()}}
            statistics = statistics_report()
            write_json(options.out / "rules.json", rules)
            write_json(options.out / "statistics.json", statistics)
            print(f"wrote {options.out / 'rules.json'} and {options.out / 'statistics.json'}")
        if options.docs:
            for path in update_docs(options.docs, options.out):
                print(f"wrote {path}")
    except (SourceError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
