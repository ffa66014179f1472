"""Stage 01: load the profile's datasets, count what they hold, look for leaks, write them down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from giellm_utils.core.artifacts import Composition, CompositionFile, Provenance, ProvenanceFile, TasksFile
from giellm_utils.data.corpus import composition, load_corpus
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.leakage import leakage
from giellm_utils.data.registry import task_spec
from giellm_utils.experiment.stages import Stage


@dataclass(frozen=True)
class Inspected:
    """The datasets of a run, their counts by task and the report of data.leakage."""

    datasets: list[Dataset]
    compositions: dict[str, Composition]
    leakage: dict[str, Any]

    @property
    def provenance(self) -> dict[str, Provenance]:
        return {d.task.name: d.provenance for d in self.datasets}

    def overview(self) -> list[dict[str, Any]]:
        """One row a dataset: records a split, the shares of the largest text label and of texts without
        words, and words a text."""
        def row(name: str, made: Composition) -> dict[str, Any]:
            n, labels = len(made.lengths), [sum(splits.values()) for splits in made.text_labels.values()]
            return {"dataset": name, **made.splits, "largest text label": max(labels) / n,
                    "without words": made.items_per_text.count(0) / n,
                    "words a text": sum(made.items_per_text) / n}

        return [row(name, made) for name, made in self.compositions.items()]


def run(stage: Stage) -> Inspected:
    """Write records.jsonl, tasks.json, provenance.json, composition.json and leakage.json.

    Raises SourceError, ConfigError or UserDataError where the data cannot be had or are faulty.
    """
    datasets = load_corpus(stage.profile.data)
    found = Inspected(datasets, {d.task.name: composition(d) for d in datasets}, leakage(datasets))
    stage.write("records.jsonl", [r.to_json() for d in datasets for r in d.records])
    # The tasks travel with the run: later stages never read the user's own file again.
    stage.write("tasks.json", TasksFile({d.task.name: task_spec(d.task) for d in datasets}))
    stage.write("provenance.json", ProvenanceFile(found.provenance))
    stage.write("composition.json", CompositionFile(found.compositions))
    stage.write("leakage.json", found.leakage)
    return found
