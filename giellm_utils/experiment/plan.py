"""What a profile's trainings learn from, counted for a plan: of its run where there is one, else by data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import CONVERT, INSPECT, TokensFile
from giellm_utils.core.conditions import get_condition
from giellm_utils.core.files import read_jsonl
from giellm_utils.core.paths import runs_dir, shown
from giellm_utils.core.plan_record import FORCED, Plan
from giellm_utils.core.schema import Level, Record
from giellm_utils.data.config import DataConfig
from giellm_utils.data.corpus import load_corpus
from giellm_utils.data.registry import TASKS
from giellm_utils.experiment.current import why_stale
from giellm_utils.experiment.profile import Profile
from giellm_utils.training.planning.effort import Work

#: Mean tokens of a sequence and of its target where no tokenizer has counted: SCNM joint with SmolLM2's,
#: taken for granted for Llama 2's, which could not be had here.
TOKENS, TARGETS = 200, 63
#: Of a thousand training sentences of the open corpora, a hundred are dev (data layers).
DEV_SHARE = 0.1


def work_of(profile: Profile, *, count: int | None = None, tokens: int | None = None,
            longest: int | None = None) -> tuple[Work, list[str]]:
    """The work of one training of `profile`, and what was taken for granted; `count` (sequences), `tokens`
    (mean) and `longest` replace what is known.

    Raises ConfigError, and SourceError where data that are not the package's cannot be had to be counted.
    """
    run = runs_dir() / profile.name
    counted, records = run / CONVERT / "tokens.json", run / INSPECT / "records.jsonl"
    if tokens is None and count is None and not any(
            why_stale(stage, profile, run, notebook=False) for stage in (INSPECT, CONVERT)):
        costs = artifacts.read(counted, TokensFile)
        found = counted_work(profile, costs, [Record.from_json(row) for row in read_jsonl(records)])
        said = [f"lengths as counted in {shown(run)}"]
    else:
        number = count or sequences(profile.data, profile.training.splits)
        mean = tokens or TOKENS
        most = longest or profile.training.max_tokens
        found = Work(number, number * mean, number * mean * TARGETS // TOKENS, most, most * TARGETS // TOKENS)
        said = [f"{number:,} sequences of {mean} tokens in the mean and at most {most}, of which "
                f"{TARGETS / TOKENS:.0%} carry loss (no tokenizer has counted)"]
    return (found if longest is None else found._replace(longest=longest)), said


def counted_work(profile: Profile, costs: TokensFile, records: Sequence[Record]) -> Work:
    """The work of a run whose texts are counted, of the profile's longest condition."""
    trained = [r for r in records if r.split in profile.training.splits]
    works = []
    for name in profile.training.conditions:
        condition = get_condition(name)
        pairs = [(prompt + 2, target + 1) for level in condition.levels for task in costs
                 for prompt, target in _of(costs, records, trained, task, level, condition.given_level)]
        works.append(Work(len(pairs), sum(map(sum, pairs)), sum(t for _, t in pairs), max(map(sum, pairs)),
                          max(t for _, t in pairs)))
    return max(works, key=lambda work: work.tokens)


def check_memory(profile: Profile, costs: TokensFile, records: Sequence[Record]) -> None:
    """Raise PlanError where this machine cannot hold a training of `profile`, unless it is forced."""
    if os.environ.get(FORCED):
        return
    from giellm_utils.training.plan import refuse_if_too_large

    refuse_if_too_large(profile.model, profile.training, counted_work(profile, costs, records))


def plans_here(profile: Profile, costs: TokensFile, records: Sequence[Record],
               show: Callable[[str], Any] = print) -> list[Plan]:
    """`plan_here` as a list of one; empty, and `show` says why, for a model that cannot be planned for."""
    from giellm_utils.training.planning.architecture import PlanError

    try:
        return [plan_here(profile, costs, records)]
    except (PlanError, NotImplementedError, RuntimeError) as error:
        show(f"not planned: {error}")
        return []


def plan_here(profile: Profile, costs: TokensFile, records: Sequence[Record]) -> Plan:
    """The plan of a run on the devices that its trainings would use here, with its own lengths.

    Raises PlanError, ModelError, and ConfigError where training.machine cannot be had here.
    """
    from giellm_utils.training import machines
    from giellm_utils.training.plan import make_plan
    from giellm_utils.training.planning import hardware

    _, count, _ = machines.plan(profile.training)
    return make_plan(profile.name, profile.model, profile.training, counted_work(profile, costs, records),
                     hardware.here(count), assumed=["texts as counted in this run"])


def _of(costs: TokensFile, records: Sequence[Record], trained: Sequence[Record], task: str,
        level: Level, given: Level | None) -> list[tuple[int, int]]:
    """(prompt, target) tokens of the records of one task that are trained on; a level that is `given` stands
    in the prompt as in its target."""
    wanted, cost = {r.id for r in trained if r.task == task}, costs[task][level]
    mine = [r.id for r in records if r.task == task]
    said = costs[task][given].target if given else [0] * len(mine)
    return [(p + s, t) for i, p, s, t in zip(mine, cost.prompt, said, cost.target, strict=True)
            if i in wanted]


def sequences(data: DataConfig, splits: Sequence[str]) -> int:
    """Sequences a condition trains on: counted where the data is in the package or yours, else the paper's
    sizes of the open corpora within the profile's limits."""
    if data.source == "embedded" or any(name not in TASKS for name in data.tasks):
        return sum(r.split in splits for dataset in load_corpus(data) for r in dataset.records)
    total = 0
    for name in data.tasks:
        limits = {**data.limit, **data.task_limit.get(name, {})}
        sizes = {"dev": round(DEV_SHARE * TASKS[name].paper_train)}
        sizes["train"] = TASKS[name].paper_train - sizes["dev"]
        total += sum(min(sizes[split], limits.get(split, sizes[split])) for split in splits)
    return total
