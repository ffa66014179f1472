"""Stage 02: records as prompts and targets at every level, what they cost in tokens, and the budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from giellm_utils.core.artifacts import TokensFile
from giellm_utils.core.schema import LEVELS, Record, Span, Task, Word
from giellm_utils.data.dataset import SPLITS
from giellm_utils.evaluation.ceiling import Ceiling, gold_ceiling
from giellm_utils.experiment.stages import Stage
from giellm_utils.formats.base import Format
from giellm_utils.models.load import load_tokenizer
from giellm_utils.training.sequences import build, costs_and_budgets, sequence

#: The id of a line that stands in for those that may not be shown.
INVENTED = "invented"


@dataclass(frozen=True)
class Converted:
    """The run's formats by task, token costs, and the size of the tokenizer (tokens).

    `records` are those that may be shown: of a dataset whose texts may not, one invented line instead.
    """

    records: list[Record]
    hidden: list[Record]
    formats: Mapping[str, Format]
    costs: TokensFile
    vocabulary: int

    def levels(self, record: Record) -> list[dict[str, str]]:
        """Prompt and target of one record at each level of its format."""
        fmt = self.formats[record.task]
        return [{"level": level, **sequence(fmt, record, level)} for level in fmt.levels]

    def ceilings(self) -> dict[str, Ceiling]:
        """What a perfect model can reach, by task."""
        return {name: gold_ceiling(fmt, [r for r in (*self.records, *self.hidden)
                                         if r.task == name and r.id != INVENTED])
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
    shut = {name for name, p in stage.read("provenance.json").items() if not p.redistributable}
    return Converted([*(r for r in records if r.task not in shut),
                      *(invented(fmt.task) for name, fmt in stage.formats.items() if name in shut)],
                     [r for r in records if r.task in shut], stage.formats, costs, len(tokenizer))


def invented(task: Task) -> Record:
    """A line that nobody wrote, with two words a part, to show a format whose dataset must not be shown."""
    text = "（データの文は公開できないので、これは作った例）甲は乙に会い、丙は丁に会った。"
    first, second, third, fourth = (Span(i, i + 1) for i in map(text.index, "甲乙丙丁"))
    words = [word for part in task.parts for word in (
        (Word(part.kind, part.labels[0], first), Word(part.kind, part.labels[-1], third))
        if part.shape == "span" else
        (Word(part.kind, part.labels[0], first, second), Word(part.kind, part.labels[-1], third, fourth)))]
    return Record(INVENTED, task.name, text, task.text_labels[0], tuple(words)).validate(task)
