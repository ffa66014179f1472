"""How far a score on few test documents may lie from that on all: samples of one run's documents.

    python -m giellm_utils.subsample --run open-scnm-all --task scnm --first 200 --out results/subsample

writes OUT/RUN.JOB.TASK.json. It is for scores that are reported on a few hundred sentences of a larger test
split, our own among them: without retraining, how much of a difference is the draw of the sentences?
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from giellm_utils.core import paths
from giellm_utils.core.files import write_json
from giellm_utils.core.settings import ConfigError
from giellm_utils.evaluation import score as metrics
from giellm_utils.evaluation.bootstrap import ratio
from giellm_utils.experiment import manifest

SIZES = (100, 200, 500, 1000)
MEASURED = ("tl", "wl_exact", "all", "f1")


def ranges(frame: pd.DataFrame, n: int, *, draws: int, seed: int) -> dict[str, list[float]]:
    """{metric of MEASURED: [low, high]}: the middle 95 % of its values over `draws` samples of `n` documents,
    each without replacement. `frame` as metrics.score_documents gives it."""
    generator = np.random.default_rng(seed)
    columns = {m: found for m in MEASURED if (found := metrics.ratio_columns(frame, m)) is not None}
    stacked = np.column_stack([part for pair in columns.values() for part in pair])
    sums = np.array([stacked[generator.choice(len(stacked), n, replace=False)].sum(0) for _ in range(draws)])
    return {metric: np.percentile(ratio(sums[:, 2 * i], sums[:, 2 * i + 1]), [2.5, 97.5]).round(6).tolist()
            for i, metric in enumerate(columns)}


def subsample(frame: pd.DataFrame, first: int, *, draws: int, seed: int) -> dict[str, Any]:
    """{"n", "all", "first": {"n", metric: Interval json}, "samples": {size: ranges}} of one run's documents;
    `first` are the first by id. Raises ConfigError where there are fewer than `first` documents."""
    if not 1 <= first <= len(frame):
        raise ConfigError(f"--first is {first}; give 1 to {len(frame)}, the documents of this run")
    frame = frame.sort_values("id")

    def scores(part: pd.DataFrame) -> dict[str, Any]:
        found = metrics.summarise(part, seed=seed)
        return {m: found[m] for m in MEASURED}

    return {"n": len(frame), "all": scores(frame), "first": {"n": first, **scores(frame.head(first))},
            "draws": draws, "seed": seed,
            "samples": {str(n): ranges(frame, n, draws=draws, seed=seed) for n in SIZES if n < len(frame)}}


def main(arguments: Sequence[str] | None = None) -> Path:
    """The command line; returns the JSON file it wrote."""
    parser = argparse.ArgumentParser(prog="python -m giellm_utils.subsample", description=__doc__.split("\n\n")[0])
    parser.add_argument("--run", required=True, help="folder below runs/")
    parser.add_argument("--task", required=True)
    parser.add_argument("--job", default="joint")
    parser.add_argument("--first", type=int, default=200, help="documents by id to score apart; default: %(default)s")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=Path, default=Path("results/subsample"))
    given = parser.parse_args(arguments)
    path = paths.runs_dir() / given.run / "04_evaluate" / "documents" / f"{given.job}.{given.task}.csv"
    if not path.exists():
        raise ConfigError(f"{paths.shown(path)} is missing: run the profile of {given.run} to stage 04 first")
    found = subsample(pd.read_csv(path, dtype={"id": str}), given.first, draws=given.draws, seed=given.seed)
    written = write_json(given.out / f"{given.run}.{given.job}.{given.task}.json",
                         {"run": given.run, "job": given.job, "task": given.task, **found, "git": manifest.git_revision()})
    print(f"all {found['n']}, then the first {given.first}, then 95 % of samples of so many, per cent")
    for name, values in (("all", found["all"]), ("first", found["first"])):
        print(f"{name:>6}", {m: round(100 * values[m]["value"], 1) for m in MEASURED if values[m]})
    for n, spans in found["samples"].items():
        print(f"{n:>6}", {m: [round(100 * x, 1) for x in span] for m, span in spans.items()})
    return written


if __name__ == "__main__":
    try:
        main()
    except ConfigError as fault:
        raise SystemExit(f"subsample: {fault}") from None
