"""What `giellm plan` says of memory beside what trainings take: `giellm bench memory`.

Every case trains for a few steps on the longest sequences, in a process of its own (memory_case), whose peak
is its own. The plan is made before, from the configuration and the lengths alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from giellm_utils.core import artifacts
from giellm_utils.core.paths import shown
from giellm_utils.core.plan_record import Memory, MemoryCase, MemoryFile, Method
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.benchmarks.training import BenchError
from giellm_utils.experiment.environment import environment, git_revision
from giellm_utils.formats.registry import make_format
from giellm_utils.models.load import load_tokenizer, model_path
from giellm_utils.models.spec import ModelConfig, statement
from giellm_utils.models.weights import dtype_name
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.launch import write_job
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.plan import Planner, Way
from giellm_utils.training.planning.architecture import architecture, find_config
from giellm_utils.training.planning.effort import Work
from giellm_utils.training.rows import Sequences
from giellm_utils.training.sequences import build

#: A Llama of 62 million parameters with random weights, made for this: its name and its shape.
LLAMA = "llama-62m-from-scratch"
_SHAPE = {"hidden_size": 640, "intermediate_size": 1792, "num_hidden_layers": 12, "num_attention_heads": 10,
          "num_key_value_heads": 10, "max_position_embeddings": 2048, "tie_word_embeddings": True}
MODELS = ("gemma-3-270m-q4km", "smollm2-135m-instruct", LLAMA)
METHODS: tuple[Method, ...] = ("lora", "full")
BATCHES = (2, 8)


class Rows(NamedTuple):
    """The longest sequences of a tokenizer, and their lengths."""

    rows: list[dict[str, Any]]
    work: Work


def check_replaced(path: Path, models: Sequence[str], methods: Sequence[Method],
                   batches: Sequence[int]) -> None:
    """Raises ConfigError where the file at `path` holds a case that these do not measure anew."""
    before = artifacts.read(path, MemoryFile).cases if path.exists() else []
    anew = set(product((statement(ModelConfig(id=name)) for name in models), methods, batches))
    lost = [c for c in before if (c.model, c.method, c.batch) not in anew]
    if lost:
        raise ConfigError(f"{shown(path)} holds {lost[0].model}, {lost[0].method}, batch {lost[0].batch}, "
                          "which would not be measured anew; measure all that it holds, or give another "
                          "folder with --out")


def run(source: str, models: Sequence[str], methods: Sequence[Method], batches: Sequence[int], *, steps: int,
        seed: int, keep: Callable[[MemoryFile], Any]) -> MemoryFile:
    """A file of results/memory; `keep` gets what there is of it after each case, so that a kill loses one.

    Raises ConfigError for too few sequences, ModelError for a model that cannot be had, BenchError where a
    training ends badly.
    """
    import psutil

    dataset = load_dataset("scnm", source)
    rows = _rows(dataset)
    if len(rows) < steps * max(batches):
        raise ConfigError(f"--steps {steps} needs {steps * max(batches)} train sentences at batch "
                          f"{max(batches)}, {source} SCNM has {len(rows)}; give fewer steps")
    about = environment()
    found = MemoryFile(
        source=dataset.provenance.title,
        dtype=dtype_name(ModelConfig(id=models[0])),
        processors=os.cpu_count() or 1, threads=0,
        memory=psutil.virtual_memory().total, system=about["system"], git=git_revision(),
        planned_git=git_revision(), packages=about["packages"], cases=[])
    with TemporaryDirectory() as there:
        for name in models:
            model = ModelConfig(id=str(build_llama(Path(there) / LLAMA)) if name == LLAMA else name)
            for method, batch in product(methods, batches):
                case, threads = _case(model, method, longest(rows, model, steps * batch), batch, seed,
                                      Path(there) / f"{name}-{method}-{batch}")
                found = found.model_copy(update={"threads": threads, "cases": [*found.cases, case]})
                keep(found)
    return found


def replan(found: MemoryFile, source: str) -> MemoryFile:
    """`found` with its peaks as they were measured, beside what the planner says of the same cases now."""
    rows = _rows(load_dataset("scnm", source))
    ids = {statement(ModelConfig(id=name)): name for name in (*MODELS, "scratch")}
    with TemporaryDirectory() as there:
        llama = build_llama(Path(there) / LLAMA)
        cases = []
        for case in found.cases:
            name = ids[case.model]
            model = ModelConfig(id=str(llama) if name == LLAMA else name, dtype=found.dtype)
            work = longest(rows, model, case.steps * case.batch).work
            predicted = _planned(model, case.method, case.batch, work)
            cases.append(case.model_copy(update={"predicted": predicted}))
    return found.model_copy(update={"cases": cases, "planned_git": git_revision()})


def _rows(dataset: Dataset) -> list[dict[str, Any]]:
    """The joint sequences of its train sentences, not yet in tokens."""
    fmt = make_format("giellm", dataset.task)
    return build({"scnm": fmt}, [r for r in dataset.records if r.split == "train"], "joint")


def _planned(model: ModelConfig, method: Method, batch: int, work: Work) -> Memory:
    planner = Planner(model, _training(method, batch), work, cpu=True)
    return planner.memory(Way(method, "one", False), 1, batch)


def _training(method: Method, batch: int) -> TrainingConfig:
    return TrainingConfig(method=method, batch_size=batch, epochs=1, max_tokens=4096, log_steps=1,
                          save_steps=10_000, learning_rate=1e-4, conditions=["joint"])


def longest(rows: Sequence[dict[str, Any]], model: ModelConfig, count: int) -> Rows:
    """The `count` longest of `rows` in the model's tokens, and the work of one epoch on them."""
    made = Sequences(list(rows), load_tokenizer(model), 4096)
    lengths = [len(r["input_ids"]) for r in made.rows]
    targets = [sum(x != IGNORE for x in r["labels"]) for r in made.rows]
    at = sorted(range(len(lengths)), key=lambda i: -lengths[i])[:count]
    work = Work(count, sum(lengths[i] for i in at), sum(targets[i] for i in at), lengths[at[0]],
                max(targets[i] for i in at))
    return Rows([rows[i] for i in at], work)


def _case(model: ModelConfig, method: Method, found: Rows, batch: int, seed: int,
          folder: Path) -> tuple[MemoryCase, int]:
    predicted = _planned(model, method, batch, found.work)
    write_job(folder, TrainingJob(condition="joint", task="scnm", seed=seed, model=model,
                                  training=_training(method, batch)), found.rows)
    done = subprocess.run(
        [sys.executable, "-m", "giellm_utils.experiment.benchmarks.memory_case", str(folder)],
        capture_output=True, text=True, encoding="utf-8", errors="replace",
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    if done.returncode:
        said = " | ".join(done.stderr.strip().splitlines()[-2:]) or "it said nothing; memory ran out?"
        raise BenchError(f"{statement(model)}, {method}, batch {batch}: the training ended with exit code "
                         f"{done.returncode}: {said}")
    measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder)  # a fully fine-tuned model is a gigabyte
    return MemoryCase(
        model=statement(model), parameters=architecture(find_config(model)).parameters, method=method,
        batch=batch, longest=found.work.longest, longest_targets=found.work.longest_targets,
        steps=measured["steps"], predicted=predicted, measured=measured["peak"]), measured["threads"]


def build_llama(folder: Path) -> Path:
    """A Llama of _SHAPE with random weights and the scratch model's tokenizer; returns its folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from giellm_utils.models.quiet import progress_bars

    tokenizer = load_tokenizer(ModelConfig(id="scratch"))
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=1, eos_token_id=2, **_SHAPE)).bfloat16()
    with progress_bars(shown=False):
        model.save_pretrained(folder)
    for file in Path(model_path(ModelConfig(id="scratch"))).glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder
