"""One trained job -> predictions and scores of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils import metrics
from giellm_utils.baselines.lexicon import lexicon_outputs
from giellm_utils.config import Profile
from giellm_utils.converter import Converter
from giellm_utils.corpus import of_task, sample
from giellm_utils.generation import RestrictedHead, corpus_vocabulary, predict, schema_strings
from giellm_utils.models import load_model, load_tokenizer
from giellm_utils.schema import Level, Record
from giellm_utils.storage import read_jsonl


def test_records(profile: Profile, records: Sequence[Record], task: str) -> list[Record]:
    """The records of the split that is scored, cut to evaluation.limit."""
    return sample(of_task(records, task, profile.evaluation.split), profile.evaluation.limit)


def predict_job(profile: Profile, job: Level, adapter: Path, converters: Mapping[str, Converter],
                records: Sequence[Record], budgets: Mapping[str, Any], out: Path) -> None:
    """Write `out`/{job}.{task}.jsonl for every task; files that are there already are kept."""
    left = [t for t in converters if not (out / f"{job}.{t}.jsonl").exists()]
    if not left:
        return
    tokenizer, model = load_tokenizer(profile.model), load_model(profile.model, adapter)
    full = model.get_output_embeddings()
    for task in left:
        mine, converter = test_records(profile, records, task), converters[task]
        if profile.generation.vocabulary == "corpus":
            strings = [*schema_strings(converter), *(converter.prompt(r.text, job) for r in mine)]
            model.set_output_embeddings(RestrictedHead(full, corpus_vocabulary(tokenizer, strings)))
        predict(model, tokenizer, converter, mine, job, budgets[task][job]["budget"], profile.generation,
                out / f"{job}.{task}.jsonl")


def score_job(profile: Profile, job: Level, task: str, converter: Converter, records: Sequence[Record],
              out: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Scores (metrics.evaluate) and the per-document frame of one job and task."""
    rows = read_jsonl(out / f"{job}.{task}.jsonl")
    mine = test_records(profile, records, task)
    known = of_task(records, task, *profile.training.splits)
    scores = metrics.evaluate(converter, known, mine, job, rows, resamples=profile.evaluation.resamples,
                              seed=profile.seed)
    return scores, metrics.score_documents(converter, mine, job, rows)


def with_baselines(profile: Profile, task: str, converter: Converter, records: Sequence[Record],
                   levels: Mapping[Level, Mapping[str, Any]]) -> dict[str, Any]:
    """One task's systems side by side: its jobs, then the baselines that stand in every table.

    `majority`: the most frequent training label and no words; `always_empty`: no words, no label;
    `lexicon` (SCPOS only): the rule that made the word labels, applied to the text.
    """
    known, mine = of_task(records, task, *profile.training.splits), test_records(profile, records, task)

    def scored(level: Level, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        frame = metrics.score_documents(converter, mine, level, outputs)
        empty = frame["empty_gold"].astype(bool)
        return {name: metrics.summarise(part, resamples=profile.evaluation.resamples, seed=profile.seed)
                for name, part in (("all", frame), ("with_words", frame[~empty]), ("empty_gold", frame[empty]))}

    systems = {level: {k: v for k, v in scores.items() if k != "baselines"} for level, scores in levels.items()}
    for name, level in (("majority", "joint"), ("always_empty", "words")):
        systems[name] = scored(level, metrics.baseline_outputs(converter, known, mine, level)[name])
    if task.startswith("scpos-"):
        systems["lexicon"] = scored("joint", lexicon_outputs(converter, known, mine, "joint"))
    return systems


def example(tasks: Mapping[str, Any], predictions: Path) -> dict[str, Any] | None:
    """A sentence for the opening picture: the first test sentence of 20 to 45 characters with two or
    three words that the joint model got wholly right. Chosen among right ones, and to be called so."""
    for task in tasks:
        path = predictions / f"joint.{task}.jsonl"
        if task.startswith("scpos") or not path.exists():
            continue  # JRTE sentences may not be redistributed
        for row in read_jsonl(path):
            if row["output"] == row["gold"]["target"] and 20 <= len(row["text"]) <= 45 \
                    and 2 <= len(row["gold"]["items"]) <= 3:
                converter = Converter(tasks[task])
                words = converter.locate(converter.parse(row["output"], "joint").items, row["text"])
                return {"task": task, "text": row["text"], "label": row["parsed"]["label"], "output": row["output"],
                        "prompt": converter.prompt(row["text"], "joint"),
                        "spans": [[w.span.start, w.span.end, w.label] for w in words if w and w.tail is None]}
    return None
