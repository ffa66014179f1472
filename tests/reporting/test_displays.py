"""The paper's displays made anew: drawings without overlaps, examples that read back, the paper's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.core.paths import ROOT
from giellm_utils.data.registry import TASKS
from giellm_utils.formats.registry import make_format
from giellm_utils.reporting import displays
from giellm_utils.reporting.figures import illustration
from giellm_utils.reporting.results import RunResults
from support.figures import assert_nothing_overlaps, texts


def test_the_drawings_show_a_text_with_its_labels_and_no_two_texts_overlap() -> None:
    drawn = dict(illustration.draw(Path()))
    assert list(drawn) == ["mutual-reinforcement", "workflow"]
    for figure in drawn.values():
        assert_nothing_overlaps(figure)
    record, fmt = illustration.shown_example("scnm")
    claim, flow = (texts(figure) for figure in drawn.values())
    assert {fmt.target(record, "text"), fmt.target(record, "words"), record.text} <= set(claim)
    assert "".join(flow).count(fmt.target(record, "joint")) == 1


def test_examples_are_what_the_converter_writes() -> None:
    rows = displays.converter_examples()
    assert [row["dataset"] for row in rows] == [task.title for task in TASKS.values()]
    for row, task in zip(rows, TASKS.values(), strict=True):
        fmt = make_format("giellm", task)
        assert not fmt.parse(row["target, joint"], "joint").problems
        assert row["prompt, its end"].endswith(task.parts[-1].instruction)


def test_every_part_has_its_instruction_word_and_whose_it_is() -> None:
    rows = displays.instruction_words()
    assert len(rows) == sum(len(t.parts) for t in TASKS.values()) and all(r["published"] for r in rows)
    assert rows[0]["Instruction Word"] == "固有表現抽出"


def test_the_design_says_what_each_condition_changes() -> None:
    rows = {row["condition"]: row for row in displays.design()}
    assert len(rows) == len(CONDITIONS) and rows["joint"]["differs from joint else"] == "–"
    assert rows["two-task"]["asked"] == "text and words, apart"
    assert "twice" in rows["two-task"]["differs from joint else"]
    assert (rows["placebo words"]["scored"], rows["placebo label"]["scored"]) == ("text", "words")
    assert len({tuple(row.values()) for row in rows.values()}) == len(rows)


def test_the_papers_comparison_stands_beside_the_runs() -> None:
    run = RunResults(ROOT / "results" / "mini")
    rows = displays.reinforcement(run)
    assert [r["training"] for r in rows[3:]] == ["joint", "text only", "words only"]
    assert (rows[0]["TL"], rows[2]["WL"]) == (96.49, 58.73)
    joint = run.scores.tasks["tcree"]["joint"].all["tl"].value
    assert rows[3]["TL"] == pytest.approx(100 * joint) and rows[4]["WL"] is None
    assert len(displays.reinforcement(RunResults(ROOT / "results" / "open-scnm"))) == 3
