"""One trained job -> predictions and scores of every task, decoded freely and under the grammars."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.core.files import read_json, read_jsonl, write_json
from giellm_utils.core.schema import Level, Record
from giellm_utils.data.corpus import of_task, sample
from giellm_utils.evaluation import per_label, score
from giellm_utils.evaluation.paired import paired_difference
from giellm_utils.experiment.profile import Profile
from giellm_utils.formats.giellm import Converter
from giellm_utils.formats.grammar import item_bounds
from giellm_utils.inference.constrained import ConstrainedDecoder
from giellm_utils.inference.matcher import OutputConstraint, constraints
from giellm_utils.inference.predictions import predict, predict_constrained
from giellm_utils.inference.vocabulary import RestrictedHead, corpus_vocabulary, schema_strings
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.systems import floors
from giellm_utils.systems.lexicon import lexicon_outputs

Decoding = Literal["free", "constrained"]


def test_records(profile: Profile, records: Sequence[Record], task: str) -> list[Record]:
    """The records of the split that is scored, cut to evaluation.limit."""
    return sample(of_task(records, task, profile.evaluation.split), profile.evaluation.limit)


def decodings(profile: Profile) -> tuple[Decoding, ...]:
    """How the profile decodes; the tables and the comparison of levels show the first."""
    return {"none": ("free",), "only": ("constrained",), "both": ("free", "constrained")}[
        profile.generation.constrained]


def predictions_file(out: Path, job: Level, task: str, decoding: Decoding) -> Path:
    """Where the predictions of one job, task and way of decoding stand."""
    return out / f"{job}.{task}{'.constrained' if decoding == 'constrained' else ''}.jsonl"


def constraints_of(profile: Profile, converters: Mapping[str, Converter], records: Sequence[Record],
                   model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, OutputConstraint]:
    """The grammars of every task; items are bounded by what the records trained on hold."""
    bounds = {name: item_bounds(c.task, of_task(records, name, *profile.training.splits))
              for name, c in converters.items()}
    return constraints(tokenizer, converters, bounds, model.get_output_embeddings().weight.shape[0])


def predict_job(profile: Profile, job: Level, adapter: Path, converters: Mapping[str, Converter],
                records: Sequence[Record], budgets: Mapping[str, Any], out: Path) -> None:
    """Write the predictions of every task, in each of the profile's ways of decoding; files that are
    there already are kept. Beside each stands a .time.json: {"items_per_second"}, None where the
    decoding was cut off and resumed."""
    left = [(d, t) for d in decodings(profile) for t in converters
            if not predictions_file(out, job, t, d).exists()]
    if not left:
        return
    tokenizer, model = load_tokenizer(profile.model, adapter), load_model(profile.model, adapter)
    full = model.get_output_embeddings()
    grammars = (constraints_of(profile, converters, records, model, tokenizer)
                if any(d == "constrained" for d, _ in left) else {})
    for decoding, task in left:
        mine, converter, path = test_records(profile, records, task), converters[task], predictions_file(
            out, job, task, decoding)
        budget, whole = budgets[task][job]["budget"], not path.with_name(path.name + ".partial").exists()
        if decoding == "constrained":
            model.set_output_embeddings(full)
            decoder = ConstrainedDecoder(model, tokenizer, grammars, batch_size=profile.generation.batch_size)
            start = time.monotonic()
            predict_constrained(decoder, converter, mine, job, budget, profile.generation, path)
        else:
            if profile.generation.vocabulary == "corpus":
                strings = [*schema_strings(converter), *(converter.prompt(r.text, job) for r in mine)]
                model.set_output_embeddings(RestrictedHead(full, corpus_vocabulary(tokenizer, strings)))
            start = time.monotonic()
            predict(model, tokenizer, converter, mine, job, budget, profile.generation, path)
        write_json(path.with_suffix(".time.json"), {
            "items_per_second": len(mine) / (time.monotonic() - start) if whole else None})


def score_job(profile: Profile, job: Level, task: str, converter: Converter, records: Sequence[Record],
              out: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Scores (metrics.evaluate) and the per-document frame of one job and task."""
    rows = read_jsonl(predictions_file(out, job, task, decodings(profile)[0]))
    mine = test_records(profile, records, task)
    scores = per_label.evaluate(converter, mine, job, rows, resamples=profile.evaluation.resamples,
                              seed=profile.seed)
    return scores, score.score_documents(converter, mine, job, rows)


def compare_decodings(profile: Profile, job: Level, task: str, converter: Converter, records: Sequence[Record],
                      out: Path) -> dict[str, Any]:
    """{decoding: {"items_per_second", metric of metrics.COMPARED: Interval json or None}}, and under
    "difference" {metric: constrained minus free}, paired over documents, where both were decoded.

    Free decoding scores only the tokens of the texts and the schema where generation.vocabulary is
    "corpus", so what it invents is made of those. Items per second: decoding alone, a first call's
    warm-up in it; the grammars' tokenizer, the restricted output layer and the model stand before.
    """
    mine, found, frames = test_records(profile, records, task), {}, {}
    how = {"resamples": profile.evaluation.resamples, "seed": profile.seed}
    for decoding in decodings(profile):
        path = predictions_file(out, job, task, decoding)
        frames[decoding] = score.score_documents(converter, mine, job, read_jsonl(path))
        scores = score.summarise(frames[decoding], **how)
        took = path.with_suffix(".time.json")
        # A kill may fall between the two files.
        found[decoding] = {**(read_json(took) if took.exists() else {"items_per_second": None}),
                           **{m: scores[m] for m in score.COMPARED}}
    if len(frames) == 2:
        # score_documents keeps the order of the records, so the two frames are aligned.
        pairs = {m: [score.ratio_columns(frames[d], m) for d in ("constrained", "free")] for m in score.COMPARED}
        found["difference"] = {m: paired_difference(*a, *b, **how).to_json() for m, (a, b) in pairs.items()
                               if a is not None and b is not None}
    return found


def with_baselines(profile: Profile, task: str, converter: Converter, records: Sequence[Record],
                   levels: Mapping[Level, Mapping[str, Any]]) -> dict[str, Any]:
    """One task's systems side by side: its jobs, then the baselines that stand in every table.

    `majority`: the most frequent training label and no words; `always_empty`: no words, no label;
    `lexicon` (SCPOS only): the rule that made the word labels, applied to the text.
    """
    known, mine = of_task(records, task, *profile.training.splits), test_records(profile, records, task)

    def scored(level: Level, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        return score.summaries(score.score_documents(converter, mine, level, outputs),
                                 resamples=profile.evaluation.resamples, seed=profile.seed)

    systems: dict[str, Any] = dict(levels)
    for name, level in (("majority", "joint"), ("always_empty", "words")):
        systems[name] = scored(level, floors.baseline_outputs(converter, known, mine, level)[name])
    if task.startswith("scpos-"):
        systems["lexicon"] = scored("joint", lexicon_outputs(converter, known, mine, "joint"))
    return systems


def example(tasks: Mapping[str, Any], predictions: Path, decoding: Decoding) -> dict[str, Any] | None:
    """A sentence for the opening picture: the first test sentence of 20 to 45 characters with two or
    three words that the joint model got wholly right. Chosen among right ones, and to be called so."""
    for task in tasks:
        path = predictions_file(predictions, "joint", task, decoding)
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
