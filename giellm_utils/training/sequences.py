"""Records -> training sequences, their cost in tokens, and the decoding budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from giellm_utils.core.answer import gold_answer
from giellm_utils.core.artifacts import TokenCosts, TokensFile
from giellm_utils.core.conditions import Loss
from giellm_utils.core.schema import Level, Record
from giellm_utils.formats.base import Format


def sequence(fmt: Format, record: Record, level: Level) -> dict[str, Any]:
    """One row of a sequence file: id, task, prompt, target."""
    return {"id": record.id, "task": record.task, "prompt": fmt.prompt(record.text, level),
            "target": fmt.target(record, level)}


def given_sequence(fmt: Format, record: Record, level: Level) -> dict[str, Any]:
    """The same with the other level, gold, in the prompt."""
    return {**sequence(fmt, record, level),
            "prompt": fmt.prompt_given(record.text, level, gold_answer(record))}


def build(formats: Mapping[str, Format], records: Sequence[Record], *levels: Level,
          loss: Loss = "tokens", given: bool = False) -> list[dict[str, Any]]:
    """Rows of all records, one a level; the data sets stay mixed in the order of `records`.

    With `loss` levels each also says where in its joint target the second level starts: `border`, in
    characters. With `given` the prompts say the other level. Raises FormatError for a format that cannot.
    """
    made = given_sequence if given else sequence
    rows = [made(formats[r.task], r, level) for r in records for level in levels]
    if loss == "levels":
        for row, record in zip(rows, records, strict=True):
            row["border"] = formats[record.task].border(record)
    return rows


def token_costs(tokenizer: PreTrainedTokenizerFast,
                rows: Sequence[Mapping[str, str]]) -> dict[str, list[int]]:
    """Tokens of each prompt and target, specials not counted."""
    return {key: [len(ids) for ids in tokenizer([r[key] for r in rows], add_special_tokens=False).input_ids]
            if rows else [] for key in ("prompt", "target")}


def budget(target_tokens: Sequence[int]) -> int:
    """New tokens to allow: the longest gold target of the training set, a quarter more, and the end of
    sequence. Test targets may be longer than any seen in training; what is cut counts as truncated."""
    longest = max(target_tokens)
    return longest + longest // 4 + 1


def costs_and_budgets(tokenizer: PreTrainedTokenizerFast, formats: Mapping[str, Format],
                      records: Sequence[Record]) -> TokensFile:
    """task -> level -> TokenCosts, for the levels of each task's format: lengths over all records, the
    budget from train and dev alone."""
    found: dict[str, dict[Level, TokenCosts]] = {}
    for task, fmt in formats.items():
        mine = [r for r in records if r.task == task]
        known = [r for r in mine if r.split != "test"]
        found[task] = {level: TokenCosts(
            **token_costs(tokenizer, build(formats, mine, level)),
            budget=budget(token_costs(tokenizer, build(formats, known, level))["target"]))
            for level in fmt.levels}
    return TokensFile(found)
