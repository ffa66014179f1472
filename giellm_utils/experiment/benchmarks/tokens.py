"""What one SCNM text costs in tokens in our format and in the peers' (peers.py), all with one tokenizer.

    python -m giellm_utils.peer_costs --source open --out results/token_costs

writes OUT/scnm-SOURCE.json and, as a table, OUT/scnm-SOURCE.md. No model runs and no text is written: the targets are
gold. Sentences of all splits count, for nothing is scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerFast

from giellm_utils.core.schema import Record
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import sample
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.registry import load_dataset
from giellm_utils.evaluation.bootstrap import RESAMPLES, ratio_intervals
from giellm_utils.experiment import manifest as pipeline
from giellm_utils.formats.cost_only import Call, FORMATS, MARKERS
from giellm_utils.formats.giellm import Converter
from giellm_utils.models import load, spec
from giellm_utils.models.spec import ModelConfig
from giellm_utils.reporting.figures.format_costs import by_total
from giellm_utils.reporting.tables import markdown, write_measured

#: The columns of `token_counts`.
COUNTS = ("tokens_in", "tokens_out", "calls", "total")


def token_counts(tokenizer: PreTrainedTokenizerFast, texts: Sequence[Sequence[Call]]) -> np.ndarray:
    """COUNTS of each text, summed over its calls: int64 [n texts, 4].

    As training.Sequences counts them: a prompt with the tokenizer's special tokens, a target without them
    and with one end of sequence.
    """
    flat = [call for calls in texts for call in calls]
    into = [len(ids) for ids in tokenizer([c.prompt for c in flat]).input_ids]
    out = [len(ids) + 1 for ids in tokenizer([c.target for c in flat], add_special_tokens=False).input_ids]
    counts = np.zeros((len(texts), len(COUNTS)), np.int64)
    owner = np.repeat(np.arange(len(texts)), [len(calls) for calls in texts])
    np.add.at(counts, owner, np.column_stack([into, out, np.ones_like(into), np.add(into, out)]))
    return counts


def measure(tokenizer: PreTrainedTokenizerFast, converter: Converter, records: Sequence[Record], *,
            resamples: int = RESAMPLES, seed: int) -> dict[str, Any]:
    """{format: {"title", "offers", each of COUNTS, "times_joint"}}: means a text with their 95 % bootstrap
    intervals over texts; `times_joint` is total tokens over the joint format's, resampled together.

    Adds peers.MARKERS to `tokenizer`, so that each of UIE's structure tokens counts as one.
    """
    tokenizer.add_tokens(list(MARKERS), special_tokens=True)
    counts = {name: token_counts(tokenizer, [form.calls(r, converter) for r in records])
              for name, form in FORMATS.items()}
    ones = np.ones((len(records), len(COUNTS)))
    total, result = COUNTS.index("total"), {}
    for name, count in counts.items():
        found = ratio_intervals(np.column_stack([count, count[:, total]]),
                                np.column_stack([ones, counts["joint"][:, total]]), resamples=resamples, seed=seed)
        result[name] = {"title": FORMATS[name].title, "offers": FORMATS[name].offers,
                        **{key: i.to_json() for key, i in zip((*COUNTS, "times_joint"), found, strict=True)}}
    return result


def run(source: str, model: ModelConfig, items: int, seed: int) -> dict[str, Any]:
    """All that the result file holds; prints where the corpus has fewer than `items` sentences."""
    dataset = load_dataset("scnm", source)
    records = sample(dataset.records, items)
    if len(records) < items:
        print(f"{dataset.provenance['title']}: {items} sentences were asked for, it has {len(records)}; taking all")
    statement = spec.statement(model)
    formats = measure(load.load_tokenizer(model), Converter(dataset.task), records, seed=seed)
    return {"task": "scnm", "source": f"{dataset.provenance['title']} · tokenizer of {statement}",
            "model": statement, "n": len(records), "wanted": items,
            "sampling": "first by SHA-1 of the text, all splits", "seed": seed, "resamples": RESAMPLES,
            "formats": formats,
            "git": pipeline.git_revision(), **pipeline.environment()}


def table(result: Mapping[str, Any]) -> str:
    """One result as Markdown, the cheapest format first, with a line on what was measured."""
    def said(score: Mapping[str, float], digits: int) -> str:
        return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"

    rows = [{"format": f["title"], "labels in the prompt": f["offers"], "calls": f"{f['calls']['value']:g}",
             "tokens in": said(f["tokens_in"], 1), "tokens out": said(f["tokens_out"], 1),
             "tokens, in + out": said(f["total"], 1), "× ours, joint": said(f["times_joint"], 2)}
            for f in by_total(result)]
    return (f"{result['source']}. Means a text over {result['n']} sentences, summed over its calls, with 95 % "
            "bootstrap intervals over sentences; text class and all entities, gold "
            "answers. The peers' text-class part is ours where a format has none (UIE, InstructUIE, YAYI-UIE, IEPile, "
            "GoLLIE), instruction wording is ours throughout; one tokenizer for all.\n\n"
            + markdown(pd.DataFrame(rows)))


def main(arguments: Sequence[str] | None = None) -> Path:
    """The command line; returns the JSON file it wrote."""
    parser = argparse.ArgumentParser(prog="python -m giellm_utils.peer_costs",
                                     description=__doc__.split("\n\n")[0])
    parser.add_argument("--source", choices=("embedded", "open"), required=True)
    parser.add_argument("--model", default=ModelConfig().id, help="whose tokenizer; default: %(default)s")
    parser.add_argument("--items", type=int, default=500, help="sentences, by text hash; default: %(default)s")
    parser.add_argument("--seed", type=int, default=42, help="of the bootstrap; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("results/token_costs"))
    given = parser.parse_args(arguments)
    if given.items < 1:
        raise ConfigError(f"--items is {given.items}; give 1 or more")
    result = run(given.source, ModelConfig(id=given.model), given.items, given.seed)
    return write_measured(given.out / f"scnm-{given.source}.json", result, table(result))


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, SourceError, spec.ModelError) as fault:
        raise SystemExit(f"peer_costs: {fault}") from None
