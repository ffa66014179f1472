"""What a lever of training costs or earns: the dev loss after the same texts, seed by seed.

`giellm bench dev-loss`: the recipe of the experiment (configs/experiments/mre.yaml), trained without dev,
and the same with one thing else. Seeds are paired: the initial adapters and, but for the random order, the
batches of a seed are the same in all. results/dev-loss holds one file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import functional

from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import sample
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.benchmarks.training import BenchError
from giellm_utils.experiment.environment import environment, git_revision
from giellm_utils.experiment.grid import load_grid
from giellm_utils.formats.registry import make_format
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.pieces import PieceIndex
from giellm_utils.models.spec import ModelConfig, statement
from giellm_utils.models.weights import dtype_name
from giellm_utils.training import run as training
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.launch import write_job
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.rows import Sequences, TargetCollator
from giellm_utils.training.sequences import build

#: What differs from the recipe.
LEVERS: dict[str, dict[str, Any]] = {
    "recipe": {}, "random": {"order": "random"}, "dropout": {"lora_dropout": 0.05},
    "all_rows": {"output_rows": "all"}, "compiled": {"compile": "always"},
    "no_levers": {"output_rows": "all", "lora_dropout": 0.05, "engine": "library"}}
TITLES = {"recipe": "the recipe: batches alike in length, no dropout, few output rows",
          "random": "batches in random order", "dropout": "LoRA dropout 0.05",
          "all_rows": "the loss over all output rows",
          "compiled": "passes compiled, as in trainings of 300 steps and more",
          "no_levers": "the library's forward, LoRA dropout 0.05, all output rows"}
#: Over what the loss on dev is made: every token, or those that a grammar could allow for these texts.
OVER = {"whole": "the whole vocabulary", "rows": "the rows that a grammar could allow"}


def run(source: str, model: ModelConfig, texts: int, epochs: int, seeds: list[int], levers: list[str],
        show: Callable[[str], Any] = print, part: Path | None = None) -> dict[str, Any]:
    """All that a file of results/dev-loss holds: SCNM joint, `texts` of train for `epochs`, all of dev.

    Losses are means over dev's target tokens, of the merged model as it is decoded. `part` is written after
    each training, and what stands there of the same question at the same commit is not trained again. Raises
    ConfigError for an unknown lever or too few texts, BenchError for a training that the clock stopped.
    """
    if unknown := [name for name in levers if name not in LEVERS]:
        raise ConfigError(f"--levers {unknown[0]}: no such lever; known: {', '.join(LEVERS)}")
    dataset = load_dataset("scnm", source)
    train, dev = ([r for r in dataset.records if r.split == split] for split in ("train", "dev"))
    if len(train) < texts:
        raise ConfigError(f"--texts {texts}: {source} SCNM has {len(train)} for training; give fewer")
    fmt, records = make_format("giellm", dataset.task), sample(train, texts)
    rows, held_out = (build({"scnm": fmt}, some, "joint") for some in (records, dev))
    strings = [*fmt.fixed_strings(), *(r.text for r in (*records, *dev))]
    asked = {"task": "scnm", "source": dataset.provenance.title, "model": statement(model),
             "dtype": dtype_name(model), "texts": texts, "epochs": epochs, "dev": len(dev), "seeds": seeds,
             "git": git_revision(), **environment()}
    found = _stands(part, asked, levers)
    with TemporaryDirectory() as folder:
        for seed, name in ((seed, name) for seed in seeds for name in levers):
            losses = found[name]["losses"]
            if str(seed) not in losses["whole"]:
                for over, loss in _train(_job(model, epochs, seed, LEVERS[name]), Path(folder), name, rows,
                                         held_out, strings).items():
                    losses[over][str(seed)] = round(loss, 4)
                if part:
                    write_json(part, {**asked, "levers": found})
            show(f"seed {seed}, {TITLES[name]}: dev loss " + ", ".join(
                f"{losses[over][str(seed)]:.4f} over {title}" for over, title in OVER.items()))
    return {**asked, "levers": found}


def _stands(part: Path | None, asked: dict[str, Any], levers: list[str]) -> dict[str, Any]:
    """Lever -> title and losses so far: those in `part` where it answers what is asked, none elsewhere."""
    kept = read_json(part) if part and part.exists() else {"levers": {}}
    # "-dirty" and "unknown" can be any code.
    sure = not asked["git"].endswith(("-dirty", "unknown"))
    known = kept["levers"] if sure and all(kept.get(key) == value for key, value in asked.items()) else {}
    return {name: known.get(name) or {"title": TITLES[name], "losses": {over: {} for over in OVER}}
            for name in levers}


def _train(job: TrainingJob, folder: Path, name: str, rows: list[dict[str, Any]],
           held_out: list[dict[str, Any]], strings: list[str]) -> dict[str, float]:
    """The loss over each of OVER after one training."""
    here = folder / f"{name}-{job.seed}"
    write_job(here, job, rows, [], strings)
    summary = training.train(job, here)
    if summary.stopped_by_minutes:
        raise BenchError(f"{TITLES[name]}, seed {job.seed}, was stopped by the clock after "
                         f"{summary.steps} of {summary.planned_steps} steps: give fewer --texts")
    return _losses(job, here, held_out, strings)


def _job(model: ModelConfig, epochs: int, seed: int, lever: dict[str, Any]) -> TrainingJob:
    recipe = load_grid("mre").training.model_dump(mode="json")
    own = {"conditions": ["joint"], "splits": ["train"], "epochs": epochs, "save_steps": 10_000, **lever}
    return TrainingJob(condition="joint", task="scnm", seed=seed, model=model,
                       training=TrainingConfig.model_validate({**recipe, **own}))


def _losses(job: TrainingJob, folder: Path, held_out: list[dict[str, Any]],
            strings: list[str]) -> dict[str, float]:
    """The loss over each of OVER."""
    tokenizer, model = load_tokenizer(job.model), load_model(job.model, folder / "model")
    rows = Sequences(held_out, tokenizer, job.training.max_tokens).rows
    wanted = {label for row in rows for label in row["labels"] if label != IGNORE}
    scored = torch.tensor(sorted({*PieceIndex(tokenizer).ids_for(strings).tolist(), *wanted}))
    place = torch.full((model.config.vocab_size,), -1)
    place[scored] = torch.arange(len(scored))
    totals, count = dict.fromkeys(OVER, 0.0), 0
    collate = TargetCollator(tokenizer.pad_token_id)
    for start in range(0, len(rows), 4):
        batch = collate(rows[start:start + 4])
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        labels = batch["labels"][batch["labels"] != IGNORE]
        logits, count = logits[batch["labels"] != IGNORE].float(), count + len(labels)
        totals["whole"] += functional.cross_entropy(logits, labels, reduction="sum").item()
        totals["rows"] += functional.cross_entropy(logits[:, scored], place[labels], reduction="sum").item()
    return {over: total / count for over, total in totals.items()}
