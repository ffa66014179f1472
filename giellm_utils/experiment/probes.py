"""Directional probes: a trained joint model is told one level and asked for the other.

The level that its target writes first can be told by writing it for the model, whatever it would have
written itself; so a model that writes the label first is asked for words, and one that writes words first
for the label. Nothing is trained, and no score is shown: files alone, as of the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from giellm_utils.core import conditions
from giellm_utils.core.answer import Answer
from giellm_utils.core.cells import MAIN
from giellm_utils.core.files import write_json_gz
from giellm_utils.core.probe import Probe, probe_path, Told
from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.data.corpus import sample
from giellm_utils.data.splits import text_sha1
from giellm_utils.evaluation.score import score_documents
from giellm_utils.experiment.cells import cluster, counts
from giellm_utils.experiment.environment import git_revision
from giellm_utils.experiment.grid import (
    Address,
    commit_alone,
    computed,
    Grid,
    predictions,
    queue,
    QueueError,
    run_of,
    scored,
    status,
    system_of,
)
from giellm_utils.experiment.system_row import machine
from giellm_utils.experiment.trial_data import task_of, trial_dataset
from giellm_utils.inference.constrained import ConstrainedDecoder
from giellm_utils.inference.likelihood import Given, log_probabilities
from giellm_utils.inference.predictions import read_rows, write_constrained
from giellm_utils.models.bundle import Bundle
from giellm_utils.models.spec import ModelConfig
from giellm_utils.systems.finetuned import FineTuned
from giellm_utils.training.partners import random_words

Show = Callable[[str], Any]
#: Outputs of one text scored in one pass.
_BATCH = 8


def probeable(grid: Grid, runs: Path, cells: Path) -> Iterator[Address]:
    """Cells in one joint sequence with gold labels whose training is at hand, without their probe yet.

    Raises QueueError for a probe without its cell: it would stand beside the next one, of other weights.
    """
    for address in queue(grid):
        condition = conditions.get_condition(address.condition)
        if condition.levels != ("joint",) or condition.partner != "gold" or address.stage.arm != MAIN:
            continue
        training = conditions.folder(run_of(address, runs / grid.name), condition.name,
                                     task_of(address.dataset), address.seed)
        path = probe_path(cells, address.dataset, address.condition, address.seed)
        trained, scored_ = (training / "summary.json").exists(), address.path(cells).exists()
        if path.exists() and not scored_:
            raise QueueError(f"{path} is of a training whose cell is gone: move it away with the cell")
        if trained and scored_ and not path.exists():
            yield address


def run(grid: Grid, runs: Path, cells: Path, documents: int, show: Show = print, *,
        commit: bool = False) -> int:
    """Probe every training at hand on its first `documents` test texts by text hash; returns how many.

    `commit`: each probe is committed, alone. Raises QueueError where a cell has other settings or a
    training's own answers are not there (the queue writes them), and what decoding raises.
    """
    done = 0
    status(grid, cells)  # refuses cells, hence trainings, of other settings
    for address in probeable(grid, runs, cells):
        show(f"probe {address}")
        found = probe(grid, address, runs / grid.name, documents, computed(grid, address, cells), show)
        path = write_json_gz(found.path(cells), found.model_dump(mode="json", exclude_none=True))
        show(str(path))
        if commit:
            commit_alone(path, f"MRE probe {address}")
        done += 1
    return done


def probe(grid: Grid, address: Address, runs: Path, documents: int, model: ModelConfig,
          show: Show = print) -> Probe:
    """What one cell's model does when told the other level; see core.probe. `model`: as of grid.make."""
    start = time.monotonic()
    dataset = trial_dataset(address.dataset)
    grid = grid.model_copy(update={"model": model})
    system = system_of(grid, address, runs, [dataset])
    own, whole = predictions(system, dataset.task.name, "constrained"), scored(grid, address, dataset)
    # Answers of these very weights, or the three ways of telling would be of two models.
    if not system.decoder.is_written(whole, dataset.task.name, "constrained", own):
        raise QueueError(f"{address} has no answers of its own training ({own.name}): let giellm mre run "
                         "finish it")
    records, bundle = sample(whole, documents), system.decoder.bundle
    told: Level = "words" if system.condition.order == "words-first" else "text"
    asked: Level = "text" if told == "words" else "words"
    by_id = {row["id"]: Answer.from_json(row["answer"]) for row in read_rows(own)}
    answers: dict[Told, list[Answer]] = {"predicted": [by_id[r.id] for r in records]}
    for name, given in (("gold", records), ("wrong", [_wrong(r, dataset.task, told) for r in records])):
        answers[name] = _answers(system, bundle, records, given, told, asked)
        show(f"  {asked} after {name} {told}: {len(records)} texts")
    alone, both = _labels(bundle, records) if told == "text" else (None, None)
    now = machine()
    return Probe(
        task=address.dataset, condition=address.condition, seed=address.seed, split=grid.split, told=told,
        asked=asked, ids=[r.id for r in records], clusters=[cluster(r) for r in records],
        gold=[len(r.words) for r in records],
        answers={name: counts(score_documents(dataset.task, records, asked, given), asked)
                 for name, given in answers.items()},
        label_alone=alone, label_with_words=both, seconds=round(time.monotonic() - start, 1),
        machine=f"{now.processors} x {now.processor}", git=git_revision())


def _wrong(record: Record, task: Task, told: Level) -> Record:
    """`record` with another text label, or with words at random places; drawn from its text's SHA-1."""
    if told == "words":
        return random_words(record, task, 0)
    others = [label for label in task.text_labels if label != record.label]
    return replace(record, label=others[int(text_sha1(record.text), 16) % len(others)])


def _answers(system: FineTuned, bundle: Bundle, records: Sequence[Record], given: Sequence[Record],
             told: Level, asked: Level) -> list[Answer]:
    """The answers at level `asked` where `given` says what is written for the model at level `told`."""
    (task, fmt), = bundle.formats.items()
    said = {r.id: _told(bundle, fmt.prompt(r.text, "joint"), fmt.target(r, told)) for r in given}
    decoder = ConstrainedDecoder(bundle.model, bundle.tokenizer, system.decoder.constraints,
                                 batch_size=system.generation.batch_size)
    budget = bundle.card.tasks[task].budgets["joint"]
    with TemporaryDirectory() as folder:
        return write_constrained(decoder, fmt, records, asked, budget, system.generation,
                                 Path(folder) / "answers.jsonl", prompt=lambda r: said[r.id])


def _told(bundle: Bundle, prompt: str, target: str) -> str:
    """Prompt and what is written for the model; raises QueueError where its tokens are not those of the two,
    as they were in training, for then the model would read something else than it would have written."""
    whole, apart = bundle.tokenizer([prompt + target]).input_ids[0], bundle.tokenizer([prompt]).input_ids[0]
    if whole != apart + bundle.tokenizer([target], add_special_tokens=False).input_ids[0]:
        raise QueueError(f"the tokens of {target[:30]!r} merge with its prompt's end: this model's tokenizer "
                         "cannot be probed so")
    return prompt + target


def _labels(bundle: Bundle, records: Sequence[Record]) -> tuple[list[int], list[int]]:
    """Whether gold is the label of the highest p(label), and of the highest p(label) p(words | label)."""
    (fmt,) = bundle.formats.values()
    labels = fmt.task.text_labels
    rows = [Given(fmt.prompt(r.text, "joint"), fmt.target(replace(r, label=label), "text"),
                  fmt.target(r, "words")) for r in records for label in labels]
    found = log_probabilities(bundle.model, bundle.tokenizer, rows, _BATCH).reshape(len(records), -1, 2)
    gold = np.array([labels.index(r.label) for r in records])
    alone, both = ((scores.argmax(1) == gold).astype(int).tolist()
                   for scores in (found[..., 0], found.sum(-1)))
    return alone, both
