"""What a lever of training costs or earns: the dev loss after the same texts, seed by seed.

`giellm bench dev-loss`: the recipe of the experiment, and the same with one thing else. Seeds are paired: the
initial adapters and, but for the random order, the batches of a seed are the same in all. results/dev-loss
holds one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from giellm_utils.core.files import read_jsonl
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import sample
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.benchmarks.training_ways import held_out_loss
from giellm_utils.experiment.environment import environment, git_revision
from giellm_utils.formats.registry import make_format
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.spec import ModelConfig, statement
from giellm_utils.models.weights import dtype_for
from giellm_utils.training import run as training
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.launch import write_job
from giellm_utils.training.report import METRICS
from giellm_utils.training.rows import Sequences
from giellm_utils.training.sequences import build

#: What differs from the recipe; "order" is no setting of a training, see `_ordered`.
LEVERS: dict[str, dict[str, Any]] = {
    "recipe": {}, "random": {}, "dropout": {"lora_dropout": 0.05},
    "before": {"lora_dropout": 0.05, "output_rows": "all", "engine": "library"}}
TITLES = {"recipe": "the recipe: no dropout, few output rows, batches alike in length",
          "random": "batches in random order", "dropout": "LoRA dropout 0.05",
          "before": "as it began: dropout, all output rows"}


class _RandomOrder(training.TargetTrainer):
    """Batches in the library's random order, of the same seed."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.RandomSampler(
            self.train_dataset, generator=torch.Generator().manual_seed(self.args.seed))


@contextmanager
def _ordered(lever: str) -> Iterator[None]:
    usual = training.TargetTrainer
    training.TargetTrainer = _RandomOrder if lever == "random" else usual
    try:
        yield
    finally:
        training.TargetTrainer = usual


def run(source: str, model: ModelConfig, texts: int, epochs: int, seeds: list[int], levers: list[str],
        show: Callable[[str], Any] = print) -> dict[str, Any]:
    """All that a file of results/dev-loss holds: SCNM joint, `texts` of train for `epochs`, all of dev.

    The loss on dev is over the whole vocabulary, a target token, of the merged model as it is decoded. Raises
    ConfigError for an unknown lever or too few texts.
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
    found: dict[str, Any] = {name: {"title": TITLES[name], "losses": {}, "seconds": {}} for name in levers}
    with TemporaryDirectory() as folder:
        for seed in seeds:
            for name in levers:
                job = _job(model, epochs, seed, LEVERS[name])
                here = Path(folder) / f"{name}-{seed}"
                write_job(here, job, rows, [], strings)
                with _ordered(name):
                    training.train(job, here)
                loss = _loss(job, here, held_out)
                found[name]["losses"][str(seed)] = round(loss, 4)
                found[name]["seconds"][str(seed)] = read_jsonl(here / METRICS)[-1]["seconds"]
                show(f"seed {seed}, {TITLES[name]}: dev loss {loss:.4f}")
    return {"task": "scnm", "source": dataset.provenance.title, "model": statement(model),
            "dtype": str(dtype_for(model)).removeprefix("torch."), "texts": texts, "epochs": epochs,
            "sequences": texts * epochs, "dev": len(dev), "seeds": seeds, "levers": found,
            "git": git_revision(), **environment()}


def _job(model: ModelConfig, epochs: int, seed: int, lever: dict[str, Any]) -> TrainingJob:
    """The recipe of configs/experiments/mre.yaml, with `lever`."""
    recipe = {"conditions": ["joint"], "splits": ["train"], "epochs": epochs, "batch_size": 8,
              "learning_rate": 5e-4, "output_rows": "texts", "save_steps": 10_000, "minutes": 240}
    return TrainingJob(condition="joint", task="scnm", seed=seed, model=model,
                       training=TrainingConfig.model_validate({**recipe, **lever}))


def _loss(job: TrainingJob, folder: Path, held_out: list[dict[str, Any]]) -> float:
    tokenizer = load_tokenizer(job.model)
    rows = Sequences(held_out, tokenizer, job.training.max_tokens)
    return held_out_loss(load_model(job.model, folder / "model"), rows, tokenizer.pad_token_id)
