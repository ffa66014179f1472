"""How fast a trained joint system decodes, and what each lever of inference.constrained gives: one model,
one machine, the same texts, one run.

Ours is measured whole and with one lever at a time switched off; a first pass over a few texts, not timed,
takes what is slow only once. `reporting.measurements` makes the table and the figure of a result file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from giellm_utils.core.answer import Answer
from giellm_utils.core.artifacts import Score, TRAIN
from giellm_utils.core.paths import shown
from giellm_utils.core.schema import Record
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import sample
from giellm_utils.evaluation import score
from giellm_utils.experiment.environment import environment, git_revision
from giellm_utils.experiment.evaluate import scored_records
from giellm_utils.experiment.manifest import StageError
from giellm_utils.experiment.profile import Profile
from giellm_utils.experiment.stages import Stage
from giellm_utils.experiment.train import fine_tuned
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import (
    argmax_flips,
    ConstrainedDecoder,
    Request,
    score_full,
    score_gather,
)
from giellm_utils.inference.plain import generate
from giellm_utils.inference.vocabulary import restricted
from giellm_utils.models.processor import instructions
from giellm_utils.models.spec import statement
from giellm_utils.systems.decoder import Decoder

WARM_UP = 2
#: Choices whose bf16 argmax is compared with the full output layer's come from this many texts.
FLIP_ITEMS = 50
BATCH_SIZES = (1, 4, 16, 64)
LENGTH_GROUPS = 4
#: The systems whose growth is measured.
GROWING = ("sorted_batches", "ours")


@dataclass
class Measured:
    """One pass over the texts. `outputs`: {"output", "truncated", "tokens"} in their order; `row_steps`:
    forward passes each took part in."""

    outputs: list[Mapping[str, Any]]
    row_steps: list[int]
    forwards: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Bench:
    """What decodes (the model of a joint training with its formats and grammars), and the texts."""

    decoder: Decoder
    items: Sequence[Record]
    batch_size: int

    @property
    def budgets(self) -> dict[str, int]:
        """New tokens of an output, by task."""
        return {name: task.budgets["joint"] for name, task in self.decoder.card.tasks.items()}

    def requests(self) -> list[Request]:
        formats, budgets = self.decoder.bundle.formats, self.budgets
        return [Request(formats[r.task].prompt(r.text, "joint"), r.text, r.task, "joint", budgets[r.task])
                for r in self.items]

    def on(self, items: Sequence[Record], batch_size: int | None = None) -> Bench:
        """The same with other texts."""
        return replace(self, items=items, batch_size=batch_size or self.batch_size)

    def answers(self, outputs: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """What the outputs of one pass say."""
        formats = self.decoder.bundle.formats
        parsed = [(formats[r.task].parse(o["output"], "joint", r.text), o["truncated"])
                  for r, o in zip(self.items, outputs, strict=True)]
        return [answer.cut() if truncated else answer for answer, truncated in parsed]


def free(bench: Bench, *, batch_size: int | None = None, corpus_rows: bool = False) -> Measured:
    """`generate` in sorted batches, task by task; `corpus_rows` scores only tokens of texts and schema."""
    config = GenerationConfig(batch_size=batch_size or bench.batch_size, minutes=1e9)
    bundle, outputs = bench.decoder.bundle, [None] * len(bench.items)
    row_steps, forwards = [0] * len(bench.items), 0
    for task, fmt in bundle.formats.items():
        mine = [i for i, r in enumerate(bench.items) if r.task == task]
        if not mine:
            continue
        prompts, budget = [fmt.prompt(bench.items[i].text, "joint") for i in mine], bench.budgets[task]

        def keep(indices: list[int], batch: list[dict[str, Any]], mine=mine, budget=budget) -> None:
            nonlocal forwards
            # A batch goes on until its last row has written its end of sequence.
            steps = max(min(budget, o["tokens"] + 1) for o in batch)
            forwards += steps
            for k, output in zip(indices, batch, strict=True):
                outputs[mine[k]], row_steps[mine[k]] = output, steps

        model = bundle.model
        if corpus_rows:
            model = restricted(model, bench.decoder.pieces.ids_for([*fmt.fixed_strings(), *prompts]))
        generate(model, bundle.tokenizer, prompts, budget, config, on_batch=keep, title=task)
    return Measured(outputs, row_steps, forwards)


def constrained(bench: Bench, **levers: Any) -> Measured:
    """inference.constrained.ConstrainedDecoder; `levers` as it takes them."""
    decoder = ConstrainedDecoder(bench.decoder.bundle.model, bench.decoder.bundle.tokenizer,
                                 bench.decoder.constraints, batch_size=bench.batch_size, **levers)
    found = dict(decoder.decode(bench.requests()))
    outputs = [found[i] for i in range(len(bench.items))]
    return Measured(outputs, [o["steps"] for o in outputs], decoder.forwards)


SYSTEMS: dict[str, tuple[str, Callable[[Bench], Measured]]] = {
    "one_at_a_time": ("(a) generate, one text at a time", lambda b: free(b, batch_size=1)),
    "sorted_batches": ("(b) generate, sorted batches, tight budget", free),
    "corpus_rows": ("(b), scoring tokens of the texts and the schema", lambda b: free(b, corpus_rows=True)),
    "ours": ("(c) ours", constrained),
    "full_layer": ("(c) with the full output layer", lambda b: constrained(b, score=score_full)),
    "gather_rows": ("(c) scoring each row's own tokens", lambda b: constrained(b, score=score_gather)),
    "no_forced_tokens": ("(c) with a step for every forced token", lambda b: constrained(b, force=False)),
    "no_refill": ("(c) with finished rows kept until all are", lambda b: constrained(b, refill=False)),
    "no_sharing": ("(c) without shared beginnings", lambda b: constrained(b, share=False)),
    "library_forward": ("(c) through the forward of transformers", lambda b: constrained(b, lean=False)),
}


def load(profile: Profile, run: Path, items: int, batch_size: int | None = None) -> Bench:
    """The joint system of a run with `items` texts of the split that is scored, by text hash over all
    tasks of the run. Raises StageError, naming what to run, where the run has not come so far."""
    stage = Stage("bench", profile, run)
    records, costs = stage.records(), stage.read("tokens.json")
    system = fine_tuned(profile, run, "joint", stage.formats, costs)
    if not (system.folder / "summary.json").exists():
        raise StageError(f"{shown(system.folder)} holds no finished training: run {TRAIN} first "
                         f"({stage.command(until=TRAIN)})")
    chosen = sample([r for task in stage.tasks for r in scored_records(profile, records, task)], items)
    # Ready before the clock starts: model, grammars, and the pieces of restricted vocabularies.
    decoder = system.decoder
    _ = decoder.bundle, decoder.constraints, decoder.pieces
    return Bench(decoder, chosen, batch_size or profile.generation.batch_size)


def timed(system: Callable[[Bench], Measured], bench: Bench) -> Measured:
    """`system` over the texts of `bench`, with its seconds."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    measured = system(bench)
    measured.seconds = time.perf_counter() - start
    return measured


def summary(measured: Measured) -> dict[str, float]:
    """Speed of one pass, a text and a second."""
    n, tokens = len(measured.outputs), sum(o["tokens"] for o in measured.outputs)
    return {"seconds": round(measured.seconds, 2), "items_per_second": n / measured.seconds,
            "tokens_per_second": tokens / measured.seconds, "tokens_per_item": tokens / n,
            "steps_per_item": sum(measured.row_steps) / n, "forward_passes_per_item": measured.forwards / n}


def scores(bench: Bench, outputs: Sequence[Mapping[str, Any]], resamples: int,
           seed: int) -> dict[str, Score | None]:
    """score.COMPARED over the texts of all tasks, with their intervals."""
    pairs, frames = list(zip(bench.items, bench.answers(outputs), strict=True)), []
    for task, fmt in bench.decoder.bundle.formats.items():
        mine = [(record, answer) for record, answer in pairs if record.task == task]
        if mine:
            records, answers = zip(*mine, strict=True)
            frames.append(score.score_documents(fmt.task, records, "joint", answers))
    found = score.summarise(pd.concat(frames), resamples=resamples, seed=seed)
    return {name: found[name] for name in score.COMPARED}


def growth(bench: Bench) -> list[dict[str, Any]]:
    """Speed of GROWING by batch size over all texts, and by length over LENGTH_GROUPS groups of them."""
    ordered = sorted(bench.items, key=lambda r: len(r.text))
    size = -(-len(ordered) // LENGTH_GROUPS)
    groups = [ordered[i:i + size] for i in range(0, len(ordered), size)]
    parts = [("batch_size", b, bench.on(bench.items, b)) for b in BATCH_SIZES if b <= len(ordered)]
    parts += [("characters", sum(len(r.text) for r in g) / len(g), bench.on(g)) for g in groups]
    return [{"by": by, "value": value, "system": name, "items": len(part.items),
             **summary(timed(SYSTEMS[name][1], part))} for by, value, part in parts for name in GROWING]


def run_bench(profile: Profile, run: Path, items: int, systems: Sequence[str] = tuple(SYSTEMS), *,
              source: str, batch_size: int | None = None, grow: int = 0) -> dict[str, Any]:
    """All that a file of results/bench holds; `grow` texts for growth, 0 for none; `source` names data,
    model and training in one line. Raises ConfigError for an unknown system, StageError as `load`."""
    if unknown := [name for name in systems if name not in SYSTEMS]:
        raise ConfigError(f"--systems: no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    setup = time.perf_counter()
    bench = load(profile, run, items, batch_size)
    setup, load_before = time.perf_counter() - setup, os.getloadavg()
    bundle, model = bench.decoder.bundle, statement(profile.model)
    result: dict[str, Any] = {
        "run": run.name, "profile": profile.name, "model": model,
        # While the run's other conditions are still training, no list of trainings names the model.
        "source": source if model in source else f"{source} · {model}",
        "dtype": str(bundle.model.dtype).removeprefix("torch."), "device": str(bundle.model.device),
        "instructions": instructions(),
        "threads": torch.get_num_threads(), "batch_size": bench.batch_size, "items": len(bench.items),
        "split": profile.evaluation.split, "budgets": bench.budgets, "setup_seconds": round(setup, 1),
        "systems": _measure(bench, systems, profile)}
    flips, choices = argmax_flips(bundle.model, bundle.tokenizer, bench.decoder.constraints,
                                  bench.on(bench.items[:FLIP_ITEMS]).requests(), batch_size=bench.batch_size)
    result["argmax_flips"] = {"flips": flips, "choices": choices, "items": min(FLIP_ITEMS, len(bench.items))}
    result["growth"] = growth(bench.on(bench.items[:grow])) if grow else []
    # Other work on the machine: a timing beside a load above 0 at the start is not one of an idle machine.
    result["load_average"] = {"start": load_before, "end": os.getloadavg()}
    return {**result, "git": git_revision(), **environment()}


def _measure(bench: Bench, systems: Sequence[str], profile: Profile) -> dict[str, dict[str, Any]]:
    """Speed and scores of each system, and the share of texts for which it writes what ours writes."""
    found: dict[str, dict[str, Any]] = {}
    outputs: dict[str, list[str]] = {}
    for name in systems:
        title, system = SYSTEMS[name]
        system(bench.on(bench.items[:WARM_UP]))
        measured = timed(system, bench)
        outputs[name] = [o["output"] for o in measured.outputs]
        made = scores(bench, measured.outputs, profile.evaluation.resamples, profile.seed)
        found[name] = {"title": title, **summary(measured),
                       "scores": {metric: s and s.model_dump() for metric, s in made.items()}}
        print(f"{title}: {len(bench.items) / measured.seconds:.2f} items/s", flush=True)
    for name, mine in outputs.items():
        if "ours" in outputs:
            same = sum(a == b for a, b in zip(mine, outputs["ours"], strict=True))
            found[name]["same_output_as_ours"] = same / len(mine)
    return found
