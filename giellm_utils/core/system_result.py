"""SystemResult: what one system got right of one dataset, as it is committed below results/systems/.

results/systems/<system>/<source>/<task>.json holds the record, <task>.csv beside it one row a document.
Neither holds a text, a span or a label of a document, so that datasets whose texts may not be shown have
rows too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from giellm_utils.core.artifacts import Artifact, Provenance, SystemScores
from giellm_utils.core.schema import Level, Split

#: Columns of the CSV: what evaluation.score says of a document; empty where the level has no such score.
DOCUMENT_COLUMNS = ("id", "tl", "wl_exact", "wl_set", "wl_words", "all", "all_set", "tp", "fp", "fn",
                    "offset_tp", "offset_fp", "offset_fn", "well_formed", "truncated", "n_spans",
                    "n_invented", "empty_gold")


class Machine(Artifact):
    """Where it was computed. `load`: processes that wanted a processor when it began (1 minute's mean),
    None where the system does not say; the wall times of a busy machine are no speed."""

    system: str
    processor: str
    processors: int
    accelerators: list[str]
    load: float | None


class ApiCost(Artifact):
    """What answers bought from a server took; `measured`: all counts are the server's own, else some are the
    most that it can have been. Dollars are None where no price is known. `seconds`: of all requests added up,
    whether they were sent at once or in several runs; None where some were not timed."""

    requests: int
    input_tokens: int
    output_tokens: int
    measured: bool
    dollars: float | None
    seconds: float | None = None


class SystemResult(Artifact):
    """One system on one dataset.

    `system`: its folder; `entry`: its name in systems.registry (in-context-<model> is of in-context);
    `title`: how tables call it. `scores`: of its answers read strictly; `lenient`: of the same answers
    read with good will, None where there is but one way to read them. `documents`: the CSV beside it.
    """

    system: str
    entry: str
    title: str
    task: str
    #: Which data: "embedded", "open", or the file name of a task YAML or Hub YAML.
    source: str
    provenance: Provenance
    split: Split
    level: Level
    n_train: int
    n_test: int
    #: Test documents that it gave no answer for; they count as wrong.
    unanswered: int = 0
    scores: SystemScores
    lenient: SystemScores | None = None
    documents: str
    fit_seconds: float
    #: Of the answers; None where they were not all made in one go.
    predict_seconds: float | None
    cost: ApiCost | None = None
    machine: Machine
    command: str
    git: str
    date: str
    seed: int
    resamples: int
    #: All that the answers depend on and no other field says, ready for JSON; never a key.
    settings: dict[str, Any]


def result_path(results: Path, system: str, source: str, task: str) -> Path:
    """Where a SystemResult stands below the folder `results`."""
    return results / "systems" / system / source / f"{task}.json"
