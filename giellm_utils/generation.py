"""Batched greedy decoding, sorted by length, or under grammars (decoding.py); predictions.jsonl.

With `vocabulary: corpus` the output layer scores only the rows of tokens that occur in the texts or
the schema (a few thousand of Gemma's 262,144): the output layer is most of the model. In a throw-away
measurement on SCNM that took 0.17 s an item instead of 0.89 at the same F1.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.config import GenerationConfig
from giellm_utils.converter import Converter
from giellm_utils.decoding import ConstrainedDecoder, Request
from giellm_utils.schema import Level, Record
from giellm_utils.storage import write_jsonl


class GenerationError(RuntimeError):
    """Decoding that could not finish; the message says how far it came and how to go on."""


def too_slow(title: str, config: GenerationConfig, done: int, total: int) -> GenerationError:
    """What to raise where decoding passes its wall-clock cap."""
    return GenerationError(f"decoding {title} passed generation.minutes={config.minutes:g} after {done} of {total} "
                           "texts; run again to go on from there, or raise it")


class RestrictedHead(torch.nn.Module):
    """An output layer that scores only `ids`; all other logits are -inf.

    forward: hidden [..., H] -> logits [..., V]. Exact on the rows it scores.
    """

    def __init__(self, head: torch.nn.Linear, ids: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("ids", ids.to(head.weight.device))
        self.register_buffer("rows", head.weight.detach()[self.ids].clone())
        self.vocabulary = head.weight.shape[0]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = hidden.new_full((*hidden.shape[:-1], self.vocabulary), float("-inf"))
        logits[..., self.ids] = hidden @ self.rows.T
        return logits


def corpus_vocabulary(tokenizer: PreTrainedTokenizerFast, strings: Iterable[str]) -> torch.Tensor:
    """Sorted ids of all tokens that can stand in a copy of any piece of `strings`, and the end of sequence.

    Every token whose text is a substring, not only those the strings are cut into: a span is cut
    otherwise on its own than inside its sentence: with the sentences' own tokens alone, 11 of 1,000 gold
    targets could not be written in the way they are trained, with these 5. Characters too, which
    may be several byte tokens.
    """
    pieces = _pieces(tokenizer)
    longest = max(map(len, pieces))
    ids = {tokenizer.eos_token_id}
    for text in {*strings}:
        ids.update(tokenizer(text, add_special_tokens=False).input_ids)
        for start in range(len(text)):
            for end in range(start + 1, min(len(text), start + longest) + 1):
                ids.update(pieces.get(text[start:end], ()))
    for character in {c for text in strings for c in text}:
        ids.update(tokenizer(character, add_special_tokens=False).input_ids)
    return torch.tensor(sorted(ids))


def _pieces(tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Text of a token -> its ids, for tokens of at most 16 characters (longer ones are runs of spaces and marks)."""
    special, pieces = set(tokenizer.all_special_ids), {}
    for piece, i in tokenizer.get_vocab().items():
        text = tokenizer.convert_tokens_to_string([piece])
        if i not in special and 0 < len(text) <= 16:
            pieces.setdefault(text, []).append(i)
    return pieces


def schema_strings(converter: Converter) -> list[str]:
    """All fixed pieces of a task's targets, as they meet the tokenizer: alone and joined by marks."""
    task = converter.task
    pieces = [converter.options, f":{task.none};", ":;\\", "\\:\\;\\\\"]
    for part in task.parts:
        pieces += [part.instruction, f"{part.instruction}:{task.none};", f"{converter.close}{part.instruction}:",
                   *(f":{label};" for label in part.labels), *(f";{label};" for label in part.labels)]
    return pieces


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], budget: int,
             config: GenerationConfig, on_batch=None, done: int = 0, title: str = "") -> None:
    """Greedy continuations of `prompts` in batches sorted by token length.

    Calls `on_batch(indices, outputs)` after each batch, outputs as {"output", "truncated", "tokens"};
    `done` leading batches are skipped (resume: batches stay the same, hence so does bf16 output).
    """
    lengths = [len(ids) for ids in tokenizer(list(prompts)).input_ids]
    order = sorted(range(len(prompts)), key=lambda i: (lengths[i], i))
    batches = [order[i:i + config.batch_size] for i in range(0, len(order), config.batch_size)]
    tokenizer.padding_side = "left"
    model.eval()
    start = time.monotonic()
    bar = tqdm(total=len(prompts), initial=sum(map(len, batches[:done])), desc=title, unit="text",
               mininterval=2, ncols=90, file=sys.stdout)
    for batch in batches[done:]:
        if time.monotonic() - start > config.minutes * 60:
            raise too_slow(title, config, bar.n, len(prompts))
        inputs = tokenizer([prompts[i] for i in batch], return_tensors="pt", padding=True).to(model.device)
        with torch.inference_mode():
            ids = model.generate(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=budget,
                do_sample=False, num_beams=1, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        outputs = []
        for row in ids[:, inputs["input_ids"].shape[1]:].tolist():
            ended = tokenizer.eos_token_id in row
            row = row[:row.index(tokenizer.eos_token_id)] if ended else row
            text = tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            outputs.append({"output": text, "truncated": not ended, "tokens": len(row)})
        on_batch(batch, outputs)
        bar.update(len(batch))
    bar.close()


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
