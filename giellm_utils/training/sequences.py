"""Records -> training sequences, their cost in tokens, and the decoding budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from giellm_utils.core.schema import LEVELS, Level, Record
from giellm_utils.formats.giellm import Converter


def sequence(converter: Converter, record: Record, level: Level) -> dict[str, str]:
    """One row of a sequence file: id, task, prompt, target."""
    return {"id": record.id, "task": record.task, "prompt": converter.prompt(record.text, level),
            "target": converter.target(record, level)}


def build(converters: Mapping[str, Converter], records: Sequence[Record], level: Level) -> list[dict[str, str]]:
    """Rows of all records at one level; the data sets stay mixed in the order of `records`."""
    return [sequence(converters[r.task], r, level) for r in records]


def token_costs(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Mapping[str, str]]) -> dict[str, list[int]]:
    """Tokens of each prompt and target, specials not counted."""
    return {key: [len(ids) for ids in tokenizer([r[key] for r in rows], add_special_tokens=False).input_ids]
            if rows else [] for key in ("prompt", "target")}


def budget(target_tokens: Sequence[int]) -> int:
    """New tokens to allow: the longest gold target of the training set, a quarter more, and the end of
    sequence. Test targets may be longer than any seen in training; what is cut counts as truncated."""
    longest = max(target_tokens)
    return longest + longest // 4 + 1


def costs_and_budgets(tokenizer: PreTrainedTokenizerFast, converters: Mapping[str, Converter],
                      records: Sequence[Record]) -> dict[str, Any]:
    """{task: {level: {"prompt": [...], "target": [...], "budget": n}}}: lengths over all records, the
    budget from train and dev alone."""
    result: dict[str, Any] = {}
    for task, converter in converters.items():
        mine = [r for r in records if r.task == task]
        result[task] = {}
        for level in LEVELS:
            known = build(converters, [r for r in mine if r.split != "test"], level)
            result[task][level] = {**token_costs(tokenizer, build(converters, mine, level)),
                                   "budget": budget(token_costs(tokenizer, known)["target"])}
    return result
