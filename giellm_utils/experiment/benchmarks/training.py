"""How fast we train beside the ways a peer would write it: `giellm bench training`, `make bench-train`.

Every way trains the same LoRA on the same sequences in a process of its own (benchmarks.training_ways), so
that memory is its own; the product ceiling is measured in the same run. results/training holds one file for
each kind of processor.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import sample
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.environment import environment, git_revision
from giellm_utils.formats.registry import make_format
from giellm_utils.models.load import load_tokenizer, model_path
from giellm_utils.models.processor import instructions
from giellm_utils.models.spec import ModelConfig, statement
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.launch import write_job
from giellm_utils.training.rows import Sequences
from giellm_utils.training.sequences import build

#: Way -> title, in the order of tables. benchmarks.training_ways runs them.
WAYS = {"trainer": "(a) transformers Trainer, defaults, full logits",
        "trl": "(b) TRL SFTTrainer, defaults",
        "ours_dropout": "ours without its levers: LoRA dropout, the library's forward, all output rows",
        "ours_library": "ours, the library's forward, all output rows",
        "ours_all_rows": "ours, stacked products, all output rows",
        "ours_eager": "ours, stacked products, few output rows",
        "ours": "(c) ours: the same, passes compiled as in trainings of 300 steps and more",
        "ours_alike": "ours, compiled, with what moves the loss left out: random order, all output rows"}
#: Sequences held out for the loss that all ways end with.
HELD_OUT = 64


class BenchError(GiellmError, RuntimeError):
    """A way of training that did not end well."""


def ceiling(hidden: int, wide: int, tokens: int, repeats: int = 12) -> float:
    """FLOP/s of a bf16 product [tokens, hidden] x [hidden, wide] here: the median of `repeats`."""
    import torch

    from giellm_utils.models.products import product

    x, w = torch.randn(tokens, hidden).bfloat16(), torch.randn(wide, hidden).bfloat16()
    speeds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        product(x, w.t())
        speeds.append(2 * tokens * hidden * wide / (time.perf_counter() - start))
    return statistics.median(speeds[2:])


def body_parameters(config: Any) -> int:
    """Weights of a Gemma 3 or Llama body's linear modules, from its config."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = config.hidden_size * size * 2 * (config.num_attention_heads + config.num_key_value_heads)
    return config.num_hidden_layers * (attention + 3 * config.hidden_size * config.intermediate_size)


def run(source: str, model: ModelConfig, steps: int, epochs: int, seed: int,
        ways: list[str]) -> dict[str, Any]:
    """All that a file of results/training holds: `epochs` over `steps` steps of 8 sequences of SCNM joint.

    Raises ConfigError for an unknown way or too few sequences, BenchError where a way fails.
    """
    from transformers import AutoConfig

    if unknown := [w for w in ways if w not in WAYS]:
        raise ConfigError(f"--ways {unknown[0]}: no such way of training; known: {', '.join(WAYS)}")
    dataset = load_dataset("scnm", source)
    records = sample([r for r in dataset.records if r.split == "train"], 8 * steps + HELD_OUT)
    if len(records) < 8 * steps + HELD_OUT:
        raise ConfigError(f"--steps {steps} needs {8 * steps + HELD_OUT} train sentences, {source} SCNM has "
                          f"{len(records)}; give fewer steps")
    fmt = make_format("giellm", dataset.task)
    rows = build({"scnm": fmt}, records, "joint")
    job = TrainingJob(condition="joint", task="scnm", seed=seed, model=model,
                      training=TrainingConfig(epochs=epochs, batch_size=8, output_rows="texts", log_steps=1,
                                              save_steps=10_000, conditions=["joint"]))
    lengths = [len(r["input_ids"]) for r in Sequences(rows[HELD_OUT:], load_tokenizer(model), 4096).rows]
    config = AutoConfig.from_pretrained(model_path(model)).get_text_config()
    result: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for way in ways:
            here = Path(folder) / way
            rate = ceiling(config.hidden_size, config.intermediate_size * 2,
                           8 * round(statistics.mean(lengths)))
            write_job(here, job, rows[HELD_OUT:], rows[:HELD_OUT], [*fmt.fixed_strings(),
                                                                    *(r.text for r in records)])
            found = _measure(way, here)
            tokens = found["sequences_per_second"] * statistics.mean(lengths)
            flops = 4 * body_parameters(config) * tokens
            result[way] = {"title": WAYS[way], **found, "useful_tokens_per_second": round(tokens, 1),
                           "ceiling_tflops": round(rate / 1e12, 3),
                           "share_of_ceiling": round(flops / rate, 3)}
            print(f"{WAYS[way]}: {found['sequences_per_second']:.2f} sequences/s", flush=True)
    return {"task": "scnm", "source": dataset.provenance.title, "model": statement(model), "batch_size": 8,
            "sequences": 8 * steps, "epochs": epochs, "mean_tokens": round(statistics.mean(lengths), 1),
            "held_out": HELD_OUT, "seed": seed, "ways": result,
            "instructions": instructions(), "git": git_revision(), **environment()}


def _measure(way: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "giellm_utils.experiment.benchmarks.training_ways", way,
                           str(folder)], capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise BenchError(f"{WAYS[way]} ended with exit code {done.returncode}: "
                         f"{' | '.join(done.stderr.strip().splitlines()[-2:])}")
    return json.loads((folder / "measured.json").read_text(encoding="utf-8"))
