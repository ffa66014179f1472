"""How fast a trained job decodes, and what each lever of decoding.py gives: one model, one machine, the
same texts, one run.

    python -m giellm_utils.bench --profile mini --run mini --items 200 --out results/bench

writes OUT/RUN.json and, as a table, OUT/RUN.md. Ours is measured whole and with one lever at a time
switched off; a first pass over a few texts, not timed, takes what is slow only once.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.core import paths
from giellm_utils.core.files import read_json, read_jsonl
from giellm_utils.core.schema import Record
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import sample, tasks_of
from giellm_utils.evaluation import score as metrics
from giellm_utils.experiment import manifest, stages
from giellm_utils.experiment.evaluate import constraints_of, test_records
from giellm_utils.experiment.profile import Profile, load_profile
from giellm_utils.formats.giellm import Converter
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import (
    ConstrainedDecoder, Request, argmax_flips, score_full, score_gather)
from giellm_utils.inference.matcher import OutputConstraint
from giellm_utils.inference.plain import generate
from giellm_utils.inference.vocabulary import RestrictedHead, corpus_vocabulary, schema_strings
from giellm_utils.models import load as models
from giellm_utils.models import spec
from giellm_utils.reporting.figures.decoding_speed import factors
from giellm_utils.reporting.results import Results
from giellm_utils.reporting.tables import markdown, write_measured

WARM_UP = 2
#: Choices whose bf16 argmax is compared with the full output layer's come from this many texts.
FLIP_ITEMS = 50
BATCH_SIZES = (1, 4, 16, 64)
LENGTH_GROUPS = 4
#: The systems whose growth is measured.
GROWING = ("sorted_batches", "ours")


@dataclass
class Measured:
    """One pass over the texts. `outputs`: in their order; `row_steps`: forward passes each took part in."""

    outputs: list[Mapping[str, Any]]
    row_steps: list[int]
    forwards: int
    seconds: float = 0.0


@dataclass
class Bench:
    """A trained joint job, the texts it decodes, and all that decoding needs."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    converters: Mapping[str, Converter]
    constraints: Mapping[str, OutputConstraint]
    budgets: Mapping[str, int]
    items: Sequence[Record]
    batch_size: int

    def requests(self) -> list[Request]:
        return [Request(self.converters[r.task].prompt(r.text, "joint"), r.text, r.task, "joint",
                        self.budgets[r.task]) for r in self.items]

    def on(self, items: Sequence[Record], batch_size: int | None = None) -> Bench:
        """The same with other texts."""
        return Bench(self.model, self.tokenizer, self.converters, self.constraints, self.budgets, items,
                     batch_size or self.batch_size)


def free(bench: Bench, *, batch_size: int | None = None, corpus_rows: bool = False) -> Measured:
    """`generate` in sorted batches, task by task; `corpus_rows` scores only tokens of texts and schema."""
    config = GenerationConfig(batch_size=batch_size or bench.batch_size, minutes=1e9)
    outputs: list[Any] = [None] * len(bench.items)
    row_steps, forwards = [0] * len(bench.items), 0
    for task, converter in bench.converters.items():
        mine = [i for i, r in enumerate(bench.items) if r.task == task]
        if not mine:
            continue
        prompts, budget = [converter.prompt(bench.items[i].text, "joint") for i in mine], bench.budgets[task]

        def keep(indices: list[int], batch: list[dict], mine=mine, budget=budget) -> None:
            nonlocal forwards
            # A batch goes on until its last row has written its end of sequence.
            steps = max(min(budget, o["tokens"] + 1) for o in batch)
            forwards += steps
            for k, output in zip(indices, batch, strict=True):
                outputs[mine[k]], row_steps[mine[k]] = output, steps

        with _head(bench, [*schema_strings(converter), *prompts] if corpus_rows else None):
            generate(bench.model, bench.tokenizer, prompts, budget, config, on_batch=keep, title=task)
    return Measured(outputs, row_steps, forwards)


@contextmanager
def _head(bench: Bench, strings: list[str] | None):
    full = bench.model.get_output_embeddings()
    if strings is not None:
        bench.model.set_output_embeddings(RestrictedHead(full, corpus_vocabulary(bench.tokenizer, strings)))
    try:
        yield
    finally:
        bench.model.set_output_embeddings(full)


def constrained(bench: Bench, **levers: Any) -> Measured:
    """decoding.ConstrainedDecoder; `levers` as it takes them."""
    decoder = ConstrainedDecoder(bench.model, bench.tokenizer, bench.constraints, batch_size=bench.batch_size,
                                 **levers)
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
}


def load(profile: Profile, run: Path, items: int, batch_size: int | None) -> Bench:
    """The joint job of a run with `items` texts of the split that is scored, by text hash over all tasks.

    Raises StageError, naming what to run, where the run has not come so far.
    """
    stage = stages.Stage("bench", profile, run)
    records = [Record.from_json(row) for row in read_jsonl(stage.input("01_inspect_data", "records.jsonl"))]
    stage.input("01_inspect_data", "provenance.json")
    budgets = read_json(stage.input("02_convert_format", "tokens.json"))
    stage.input("03_train", "jobs/joint/summary.json")
    # A run that was made for fewer tasks than its profile names today has no budget for the others.
    tasks = {name: task for name, task in tasks_of(profile).items() if name in budgets}
    chosen = sample([r for t in tasks for r in test_records(profile, records, t)], items)
    trained = run / "03_train" / "jobs" / "joint" / "model"
    tokenizer, model = models.load_tokenizer(profile.model, trained), models.load_model(profile.model, trained).eval()
    converters = {name: Converter(task, profile.format.marks) for name, task in tasks.items()}
    constraints = constraints_of(profile, converters, records, model, tokenizer)
    return Bench(model, tokenizer, converters, constraints, {t: budgets[t]["joint"]["budget"] for t in tasks},
                 chosen, batch_size or profile.generation.batch_size)


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


def scores(bench: Bench, outputs: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> dict[str, Any]:
    """metrics.COMPARED over the texts of all tasks, with their intervals."""
    frames = []
    for task, converter in bench.converters.items():
        pairs = [(r, o) for r, o in zip(bench.items, outputs, strict=True) if r.task == task]
        if pairs:
            mine, answers = zip(*pairs, strict=True)
            frames.append(metrics.score_documents(converter, mine, "joint", answers))
    found = metrics.summarise(pd.concat(frames), resamples=resamples, seed=seed)
    return {name: found[name] for name in metrics.COMPARED}


def growth(bench: Bench) -> list[dict[str, Any]]:
    """Speed of GROWING by batch size over all texts, and by length over LENGTH_GROUPS groups of them."""
    ordered = sorted(bench.items, key=lambda r: len(r.text))
    size = -(-len(ordered) // LENGTH_GROUPS)
    groups = [ordered[i:i + size] for i in range(0, len(ordered), size)]
    parts = [("batch_size", b, bench.on(bench.items, b)) for b in BATCH_SIZES if b <= len(ordered)]
    parts += [("characters", sum(len(r.text) for r in g) / len(g), bench.on(g)) for g in groups]
    return [{"by": by, "value": value, "system": name, "items": len(part.items),
             **summary(timed(SYSTEMS[name][1], part))} for by, value, part in parts for name in GROWING]


def source(run: Path, model: str) -> str:
    """Which data (and whether they are a stand-in), which model and how it was trained, in one line."""
    line = Results(run).source()
    # While the run's other jobs are still training, no list of trainings names the model.
    return line if model in line else f"{line} · {model}"


def run_bench(profile: Profile, run: Path, items: int, systems: Sequence[str], *,
              batch_size: int | None = None, grow: int = 0) -> dict[str, Any]:
    """All that the result file holds; `grow` texts for growth, 0 for none."""
    setup = time.perf_counter()
    bench = load(profile, run, items, batch_size)
    setup, load_before = time.perf_counter() - setup, os.getloadavg()
    model = spec.statement(profile.model)
    result: dict[str, Any] = {
        "run": run.name, "profile": profile.name, "source": source(run, model), "model": model,
        "dtype": str(bench.model.dtype).removeprefix("torch."), "device": str(bench.model.device),
        "threads": torch.get_num_threads(), "batch_size": bench.batch_size, "items": len(bench.items),
        "split": profile.evaluation.split, "budgets": bench.budgets, "setup_seconds": round(setup, 1),
        "systems": {}}
    outputs: dict[str, list] = {}
    for name in systems:
        SYSTEMS[name][1](bench.on(bench.items[:WARM_UP]))
        measured = timed(SYSTEMS[name][1], bench)
        outputs[name] = [o["output"] for o in measured.outputs]
        result["systems"][name] = {"title": SYSTEMS[name][0], **summary(measured), "scores": scores(
            bench, measured.outputs, profile.evaluation.resamples, profile.seed)}
        print(f"{SYSTEMS[name][0]}: {len(bench.items) / measured.seconds:.2f} items/s", flush=True)
    for name, found in outputs.items():
        if "ours" in outputs:
            result["systems"][name]["same_output_as_ours"] = sum(
                a == b for a, b in zip(found, outputs["ours"], strict=True)) / len(found)
    flips, choices = argmax_flips(bench.model, bench.tokenizer, bench.constraints,
                                  bench.on(bench.items[:FLIP_ITEMS]).requests(), batch_size=bench.batch_size)
    result["argmax_flips"] = {"flips": flips, "choices": choices, "items": min(FLIP_ITEMS, len(bench.items))}
    result["growth"] = growth(bench.on(bench.items[:grow])) if grow else []
    # Other work on the machine: a timing beside a load above 0 at the start is not one of an idle machine.
    result["load_average"] = {"start": load_before, "end": os.getloadavg()}
    return {**result, "git": manifest.git_revision(), **manifest.environment()}


def table(result: Mapping[str, Any]) -> str:
    """The systems of one result file as Markdown, with a line on what was measured."""
    rows = []
    for name, system in result["systems"].items():
        values = {score: (system["scores"][score] or {}).get("value") for score in metrics.COMPARED}
        times = factors(result, name)
        rows.append({
            "system": system["title"], "items/s": f"{system['items_per_second']:.2f}",
            "× (b)": times.get("(b)"), "× (a)": times.get("(a)"),
            "tokens/s": f"{system['tokens_per_second']:.0f}", "steps/item": f"{system['steps_per_item']:.1f}",
            "passes/item": f"{system['forward_passes_per_item']:.2f}",
            **{title: None if values[score] is None else f"{100 * values[score]:.1f}" for title, score in (
                ("TL %", "tl"), ("WL %", "wl_exact"), ("ALL %", "all"), ("F1 %", "f1"),
                ("format %", "format_accuracy"), ("invented %", "invented"), ("cut %", "truncated"))}})
    flips = result["argmax_flips"]
    return (f"{result['source']}. Run `{result['run']}`: {result['items']} texts of {result['split']}, joint, "
            f"{result['dtype']} on {result['device']}, {result['threads']} threads, batch "
            f"{result['batch_size']}; the argmax of the allowed rows differs from the full output layer's in "
            f"{flips['flips']} of {flips['choices']} choices.\n\n"
            f"{markdown(pd.DataFrame(rows))}")


def main(arguments: Sequence[str] | None = None) -> Path:
    """The command line; returns the JSON file it wrote."""
    parser = argparse.ArgumentParser(prog="python -m giellm_utils.bench",
                                     description=__doc__.split("\n\n")[0])
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--run", default="", help="folder below runs/; default: the profile's name")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="some of: %(default)s")
    parser.add_argument("--batch-size", type=int, help="default: the profile's generation.batch_size")
    parser.add_argument("--growth", type=int, default=64,
                        help="texts for growth with batch size and length; 0: none")
    parser.add_argument("--threads", type=int, help="threads of torch; default: all processors")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    given = parser.parse_args(arguments)
    systems = given.systems.split(",")
    if unknown := [s for s in systems if s not in SYSTEMS]:
        raise ConfigError(f"--systems: no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    for option, value, least in (("items", given.items, 1), ("batch-size", given.batch_size, 1),
                                 ("growth", given.growth, 0), ("threads", given.threads, 1)):
        if value is not None and value < least:
            raise ConfigError(f"--{option} is {value}; give {least} or more")
    if given.threads:
        torch.set_num_threads(given.threads)
    profile = load_profile(given.profile)
    run = paths.runs_dir() / (given.run or profile.name)
    result = run_bench(profile, run, given.items, systems, batch_size=given.batch_size, grow=given.growth)
    return write_measured(given.out / f"{run.name}.json", result, table(result))


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, manifest.StageError, spec.ModelError) as fault:
        raise SystemExit(f"bench: {fault}") from None
