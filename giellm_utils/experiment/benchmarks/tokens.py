"""What one SCNM text costs in tokens in our format and in the peers' (formats.cost_only), with one tokenizer.

No model runs and no text is written: the targets are gold. Sentences of all splits count, for nothing is
scored. `reporting.measurements` makes the table and the figure of a result file.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from giellm_utils.core.schema import Record, Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.corpus import sample
from giellm_utils.data.registry import load_dataset
from giellm_utils.evaluation.bootstrap import ratio_intervals, RESAMPLES
from giellm_utils.experiment.environment import environment, git_revision
from giellm_utils.formats.cost_only import Call, FORMATS, MARKERS
from giellm_utils.models import load, spec
from giellm_utils.models.spec import ModelConfig

#: The columns of `token_counts`.
COUNTS = ("tokens_in", "tokens_out", "calls", "total")


def token_counts(tokenizer: PreTrainedTokenizerFast, texts: Sequence[Sequence[Call]]) -> np.ndarray:
    """COUNTS of each text, summed over its calls: int64 [n texts, 4].

    As training.rows.Sequences counts them: a prompt with the tokenizer's special tokens, a target without
    them and with one end of sequence.
    """
    flat = [call for calls in texts for call in calls]
    into = [len(ids) for ids in tokenizer([c.prompt for c in flat]).input_ids]
    out = [len(ids) + 1 for ids in tokenizer([c.target for c in flat], add_special_tokens=False).input_ids]
    counts = np.zeros((len(texts), len(COUNTS)), np.int64)
    owner = np.repeat(np.arange(len(texts)), [len(calls) for calls in texts])
    np.add.at(counts, owner, np.column_stack([into, out, np.ones_like(into), np.add(into, out)]))
    return counts


def measure(tokenizer: PreTrainedTokenizerFast, task: Task, records: Sequence[Record], *,
            resamples: int = RESAMPLES, seed: int) -> dict[str, Any]:
    """{format: {"title", "offers", each of COUNTS, "times_joint"}}: means a text with their 95 % bootstrap
    intervals over texts; `times_joint` is total tokens over the joint format's, resampled together.

    Counts with a copy of `tokenizer` that knows cost_only.MARKERS: each of UIE's structure tokens is one.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(list(MARKERS), special_tokens=True)
    counts = {name: token_counts(tokenizer, [form.calls(r, task) for r in records])
              for name, form in FORMATS.items()}
    ones = np.ones((len(records), len(COUNTS)))
    total, result = COUNTS.index("total"), {}
    for name, count in counts.items():
        found = ratio_intervals(np.column_stack([count, count[:, total]]),
                                np.column_stack([ones, counts["joint"][:, total]]),
                                resamples=resamples, seed=seed)
        scores = {key: s.model_dump() for key, s in zip((*COUNTS, "times_joint"), found, strict=True)}
        result[name] = {"title": FORMATS[name].title, "offers": FORMATS[name].offers, **scores}
    return result


def run(source: str, model: ModelConfig, items: int, seed: int) -> dict[str, Any]:
    """All that a file of results/token_costs holds, over `items` sentences, the first by text hash; prints
    where the corpus has fewer. Raises ConfigError for fewer than one."""
    if items < 1:
        raise ConfigError(f"--items is {items}; give 1 or more")
    dataset = load_dataset("scnm", source)
    title, records = dataset.provenance.title, sample(dataset.records, items)
    if len(records) < items:
        print(f"{title}: {items} sentences were asked for, it has {len(records)}; taking all")
    statement = spec.statement(model)
    formats = measure(load.load_tokenizer(model), dataset.task, records, seed=seed)
    return {"task": "scnm", "source": f"{title} · tokenizer of {statement}", "model": statement,
            "n": len(records), "wanted": items, "sampling": "first by SHA-1 of the text, all splits",
            "seed": seed, "resamples": RESAMPLES, "formats": formats, "git": git_revision(), **environment()}
