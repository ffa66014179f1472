"""Prediction files: one row a text, its output parsed once, when it is written; resumed after a kill."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.core.answer import Answer, gold_answer, items_to_json
from giellm_utils.core.files import read_jsonl, StorageError, write_jsonl
from giellm_utils.core.schema import Level, Record
from giellm_utils.formats.base import Format
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import ConstrainedDecoder, Request
from giellm_utils.inference.plain import generate, GenerationError, opening_token, too_slow

Prompt = Callable[[Record], str]


def write_free(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, fmt: Format,
               records: Sequence[Record], level: Level, budget: int, config: GenerationConfig,
               path: Path, prompt: Prompt | None = None) -> list[Answer]:
    """Answers for `records`, decoded freely, in their order; written to `path`, resumed from its .partial.

    `prompt`: what the model reads of a record, the format's prompt for its text where it is None.
    The caller restricts the output layer (vocabulary.restricted) if it wants to. Raises GenerationError.
    """
    partial = _partial(path)
    batches = [json.loads(line) for line in _whole_lines(partial)]
    rows: dict[str, dict[str, Any]] = {row["id"]: row for batch in batches for row in batch}
    with partial.open("a" if batches else "w", encoding="utf-8") as file:

        def keep(indices: list[int], outputs: list[dict[str, Any]]) -> None:
            batch = [_row(fmt, records[i], level, o) for i, o in zip(indices, outputs, strict=True)]
            rows.update({row["id"]: row for row in batch})
            file.write(json.dumps(batch, ensure_ascii=False) + "\n")
            file.flush()

        generate(model, tokenizer, list(map(prompt or _prompt(fmt, level), records)), budget, config,
                 on_batch=keep, done=len(batches), title=f"{fmt.task.name} {level}",
                 first=opening_token(tokenizer, fmt) if config.first_token and level != "words" else None)
    return _finish(path, rows, records)


def write_constrained(decoder: ConstrainedDecoder, fmt: Format, records: Sequence[Record], level: Level,
                      budget: int, config: GenerationConfig, path: Path,
                      prompt: Prompt | None = None) -> list[Answer]:
    """The same under the decoder's grammars. Raises GenerationError for a text that cannot be decoded."""
    partial = _partial(path)
    rows = {row["id"]: row for row in map(json.loads, _whole_lines(partial))}
    left, title = [r for r in records if r.id not in rows], f"{fmt.task.name} {level}"
    start = time.monotonic()

    def fail(number: int, reason: str) -> None:
        raise GenerationError(f"record {left[number].id}: {reason}")

    asked = prompt or _prompt(fmt, level)
    requests = (Request(asked(r), r.text, fmt.task.name, level, budget) for r in left)
    with partial.open("a" if rows else "w", encoding="utf-8") as file, tqdm(
            total=len(records), initial=len(rows), desc=f"{title}, constrained", unit="text", mininterval=2,
            ncols=90, file=sys.stdout) as bar:
        for number, output in decoder.decode(requests, fail):
            row = _row(fmt, left[number], level, output)
            rows[row["id"]] = row
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            bar.update()
            if time.monotonic() - start > config.minutes * 60 and len(rows) < len(records):
                raise too_slow(title, config, len(rows), len(records))
    return _finish(path, rows, records)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a prediction file: {"id", "task", "level", "text", "gold": {"label", "items"}, "answer",
    "tokens", "steps"?}, `answer` as Answer.to_json. Raises StorageError for a file of something else."""
    rows = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("answer"), dict):
            raise StorageError(f"{path}, line {number}: not a row of predictions; it was written by another "
                               "version or changed by hand: make it again")
    return rows


def read_answers(path: Path) -> list[Answer]:
    """The answers of a prediction file, in its order."""
    return [Answer.from_json(row["answer"]) for row in read_rows(path)]


def join(text: Answer, words: Answer) -> Answer:
    """One joint answer of two for one text, asked for the label alone and for the words alone: the label of
    the one, the items of the other, what either is found wanting in."""
    problems = tuple(dict.fromkeys((*text.problems, *words.problems)))
    return Answer(text.label, words.items, problems, text.raw + words.raw)


def write_joined(text: Path, words: Path, path: Path) -> None:
    """The prediction files of the levels text and words, of the same records, as one of level joint."""
    write_jsonl(path, [
        {**a, "level": "joint",
         "answer": join(Answer.from_json(a["answer"]), Answer.from_json(b["answer"])).to_json(),
         **{key: a[key] + b[key] for key in ("tokens", "steps") if key in a}}
        for a, b in zip(read_rows(text), read_rows(words), strict=True)])


def _prompt(fmt: Format, level: Level) -> Prompt:
    return lambda record: fmt.prompt(record.text, level)


def _row(fmt: Format, record: Record, level: Level, output: Mapping[str, Any]) -> dict[str, Any]:
    answer, gold = fmt.parse(output["output"], level, record.text), gold_answer(record)
    return {"id": record.id, "task": record.task, "level": level, "text": record.text,
            "gold": {"label": gold.label, "items": items_to_json(gold.items)},
            "answer": (answer.cut() if output["truncated"] else answer).to_json(),
            **{key: output[key] for key in ("tokens", "steps") if key in output}}


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + ".partial")


def _whole_lines(partial: Path) -> list[str]:
    """The lines of an earlier attempt; what a kill cut off is taken out of the file."""
    whole = partial.read_bytes().split(b"\n")[:-1] if partial.exists() else []
    if whole:
        os.truncate(partial, sum(len(line) + 1 for line in whole))
    return [line.decode("utf-8") for line in whole]


def _finish(path: Path, rows: Mapping[str, dict[str, Any]], records: Sequence[Record]) -> list[Answer]:
    ordered = [rows[r.id] for r in records]
    write_jsonl(path, ordered)
    _partial(path).unlink()
    return [Answer.from_json(row["answer"]) for row in ordered]
