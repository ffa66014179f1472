"""Sequences keep the corpus order, and the decoding budget never sees a test target."""

from __future__ import annotations

from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.registry import FORMATS
from giellm_utils.models.load import load_tokenizer
from giellm_utils.training.sequences import budget, build, costs_and_budgets
from support.models import SCRATCH

SCNM, TCREE = (load_dataset(name, "embedded") for name in ("scnm", "tcree"))


def formats(name: str = "giellm") -> dict:
    return {d.task.name: FORMATS[name](d.task) for d in (SCNM, TCREE)}


def test_rows_stay_in_the_order_of_the_records():
    records = [r for pair in zip(SCNM.records[:3], TCREE.records[:3], strict=True) for r in pair]
    rows = build(formats(), records, "text")
    assert [(row["id"], row["task"]) for row in rows] == [(r.id, r.task) for r in records]
    assert all(row["prompt"].startswith(r.text) for row, r in zip(rows, records, strict=True))
    both = build(formats(), records[:1], "text", "words")
    assert [row["target"] for row in both] == [formats()["scnm"].target(records[0], level)
                                               for level in ("text", "words")]


def test_a_budget_is_a_quarter_more_than_the_longest_and_the_end(scratch_cache):
    assert budget([4, 8, 3]) == 8 + 2 + 1
    known = [*SCNM.split("train")[:5], *SCNM.split("dev")[:2]]
    longest = max(SCNM.split("test"), key=lambda r: len(formats()["scnm"].target(r)))
    tokenizer, only = load_tokenizer(SCRATCH), {"scnm": formats()["scnm"]}
    without, with_test = (costs_and_budgets(tokenizer, only, records)["scnm"]["joint"]
                          for records in (known, [*known, longest]))
    assert without.budget == with_test.budget == budget(without.target)
    assert len(with_test.prompt) == 8 and max(with_test.target) == with_test.target[-1]


def test_only_the_levels_of_a_format_are_counted(scratch_cache):
    for name, make in FORMATS.items():
        costs = costs_and_budgets(load_tokenizer(SCRATCH), {"scnm": make(SCNM.task)}, SCNM.split("train")[:2])
        assert list(costs["scnm"]) == list(make(SCNM.task).levels), name
