"""TODO"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.core.files import write_jsonl
from giellm_utils.core.schema import Level, Record
from giellm_utils.formats.giellm import Converter
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import ConstrainedDecoder, Request
from giellm_utils.inference.plain import GenerationError, generate, too_slow


def prediction_row(converter: Converter, record: Record, level: Level, output: dict) -> dict:
    """One line of predictions.jsonl: gold, raw output, parsed output and named problems."""
    parsed = converter.parse(output["output"], level, record.text)
    return {
        "id": record.id, "task": record.task, "level": level, "text": record.text,
        "gold": {"label": record.label, "target": converter.target(record, level),
                 "items": [{"kind": i.kind, "label": i.label, "surfaces": list(i.surfaces)} for i in record.items()]},
        **output,
        "parsed": {"label": parsed.label, "words_raw": parsed.words_raw,
                   "items": [{"kind": i.kind, "label": i.label, "surfaces": list(i.surfaces)} for i in parsed.items]},
        "problems": [{"name": p.name, "detail": p.detail} for p in parsed.problems]}


def _whole_lines(partial: Path) -> list[str]:
    """The lines of an earlier attempt; what a kill cut off is taken out of the file."""
    whole = partial.read_bytes().split(b"\n")[:-1] if partial.exists() else []
    if whole:
        os.truncate(partial, sum(len(line) + 1 for line in whole))
    return [line.decode("utf-8") for line in whole]


def predict(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, converter: Converter,
            records: Sequence[Record], level: Level, budget: int, config: GenerationConfig, path: Path) -> list[dict]:
    """Predictions for `records` at `level`, in their order; written to `path`, resumed from its .partial.

    The caller restricts the output layer (RestrictedHead) if it wants to.
    """
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    batches = [json.loads(line) for line in _whole_lines(partial)]
    rows: dict[str, dict] = {row["id"]: row for batch in batches for row in batch}
    with partial.open("a" if batches else "w", encoding="utf-8") as file:

        def keep(indices: list[int], outputs: list[dict]) -> None:
            batch = [prediction_row(converter, records[i], level, o) for i, o in zip(indices, outputs, strict=True)]
            rows.update({row["id"]: row for row in batch})
            file.write(json.dumps(batch, ensure_ascii=False) + "\n")
            file.flush()

        generate(model, tokenizer, [converter.prompt(r.text, level) for r in records], budget, config,
                 on_batch=keep, done=len(batches), title=f"{converter.task.name} {level}")
    ordered = [rows[r.id] for r in records]
    write_jsonl(path, ordered)
    partial.unlink()
    return ordered


def predict_constrained(decoder: ConstrainedDecoder, converter: Converter, records: Sequence[Record], level: Level,
                        budget: int, config: GenerationConfig, path: Path) -> list[dict]:
    """The same under the decoder's grammars. Raises GenerationError for a text that cannot be decoded."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {row["id"]: row for row in map(json.loads, _whole_lines(partial))}
    left, title, start = [r for r in records if r.id not in rows], f"{converter.task.name} {level}", time.monotonic()

    def fail(number: int, reason: str) -> None:
        raise GenerationError(f"record {left[number].id}: {reason}")

    requests = (Request(converter.prompt(r.text, level), r.text, converter.task.name, level, budget) for r in left)
    with partial.open("a" if rows else "w", encoding="utf-8") as file, tqdm(
            total=len(records), initial=len(rows), desc=f"{title}, constrained", unit="text", mininterval=2,
            ncols=90, file=sys.stdout) as bar:
        for number, output in decoder.decode(requests, fail):
            row = prediction_row(converter, left[number], level, dict(output))
            rows[row["id"]] = row
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            bar.update()
            if time.monotonic() - start > config.minutes * 60 and len(rows) < len(records):
                raise too_slow(title, config, len(rows), len(records))
    ordered = [rows[r.id] for r in records]
    write_jsonl(path, ordered)
    partial.unlink()
    return ordered
