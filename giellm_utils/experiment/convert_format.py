"""Stage 02: records as prompts and targets at every level, what they cost in tokens, and the budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from giellm_utils.core.artifacts import TokensFile
from giellm_utils.core.schema import LEVELS, Record
from giellm_utils.data.dataset import SPLITS
from giellm_utils.evaluation.ceiling import Ceiling, gold_ceiling
from giellm_utils.experiment.stages import Stage
from giellm_utils.formats.base import Format
from giellm_utils.models.load import load_tokenizer
from giellm_utils.training.sequences import build, costs_and_budgets, sequence


@dataclass(frozen=True)
class Converted:
    """The run's records, its formats by task, token costs, and the size of the tokenizer (tokens)."""

    records: list[Record]
    formats: Mapping[str, Format]
    costs: TokensFile
    vocabulary: int

    def levels(self, record: Record) -> list[dict[str, str]]:
        """Prompt and target of one record at each level of its format."""
        fmt = self.formats[record.task]
        return [{"level": level, **sequence(fmt, record, level)} for level in fmt.levels]

    def ceilings(self) -> dict[str, Ceiling]:
        """What a perfect model can reach, by task."""
        return {name: gold_ceiling(fmt, [r for r in self.records if r.task == name])
                for name, fmt in self.formats.items()}

    def overview(self) -> list[dict[str, Any]]:
        """One row a task and level: mean tokens in and out, and the budget of new tokens."""
        return [{"task": task, "level": level, "tokens in": sum(c.prompt) / len(c.prompt),
                 "tokens out": sum(c.target) / len(c.target), "budget": c.budget}
                for task, levels in self.costs.items() for level, c in levels.items()]


def run(stage: Stage) -> Converted:
    """Write tokens.json, and for readers every prompt and target to sequences/{level}.{split}.jsonl.

    Raises FormatError where the profile's format is not defined for a task.
    """
    records, tokenizer = stage.records(), load_tokenizer(stage.profile.model)
    costs = costs_and_budgets(tokenizer, stage.formats, records)
    for level in LEVELS:
        with_level = [r for r in records if level in stage.formats[r.task].levels]
        for split in SPLITS:
            rows = build(stage.formats, [r for r in with_level if r.split == split], level)
            stage.write(f"sequences/{level}.{split}.jsonl", rows)
    stage.write("tokens.json", costs)
    stage.facts["model"] = stage.statement
    return Converted(records, stage.formats, costs, len(tokenizer))
