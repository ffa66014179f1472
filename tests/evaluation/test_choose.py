"""The choice of a learning rate on dev: best mean by a condition's own metrics, ties, refusals."""

from __future__ import annotations

import pytest

from giellm_utils.evaluation.choose import choose, own_score
from giellm_utils.evaluation.trial_table import TrialError
from support.cells import cell


def on_dev(condition: str, rate: float, right: list[int], task: str = "scnm", **more):
    """A cell that got the text labels (joint, text) or the first of two words (words) of `right` right."""
    columns = {"tl": right} if condition == "text" else {"matched": right, "predicted": [2] * len(right)}
    if condition == "joint":
        columns |= {"tl": right}
    return cell(condition, 0, task=task, arm=f"rate-{rate:g}".replace(".", "-"), **columns, **{
        "split": "dev", "settings": {"training": {"splits": ["train"], "learning_rate": rate}}, **more})


def test_the_best_mean_over_datasets_wins_and_a_tie_goes_to_the_smaller_rate():
    found = choose([on_dev("text", 2e-3, [1, 1, 0]), on_dev("text", 2e-3, [0, 0, 0], "tcree"),
                    on_dev("text", 1e-3, [1, 0, 0]), on_dev("text", 1e-3, [1, 1, 0], "tcree"),
                    on_dev("words", 2e-3, [1, 1, 0]), on_dev("words", 1e-3, [1, 0, 1])])
    assert [(c.condition, c.value, c.cells) for c in found.choices] == [("text", 1e-3, 2), ("words", 1e-3, 1)]
    assert [(t.value, t.score) for t in found.choices[0].tried] == [(1e-3, 0.5), (2e-3, 0.333333)]


def test_joint_is_held_to_both_of_its_metrics():
    assert own_score(on_dev("joint", 1e-3, [1, 1, 0])) == pytest.approx((2 / 3 + 2 * 2 / 12) / 2)


def test_the_pilot_is_no_part_of_the_search():
    pilot = cell("text", 101, tl=[1, 1], split="dev",
                 settings={"training": {"splits": ["train"], "learning_rate": 9.0}})
    assert [t.value for t in choose([pilot, on_dev("text", 1e-3, [0, 1])]).choices[0].tried] == [1e-3]


def test_what_saw_dev_or_is_not_of_dev_or_incomplete_is_refused():
    with pytest.raises(TrialError, match="trained on train and scored on test: a choice is made on dev"):
        choose([on_dev("text", 1e-3, [1], split="test")])
    seen = {"training": {"splits": ["train", "dev"], "learning_rate": 1e-3}}
    with pytest.raises(TrialError, match="trained on train and dev and scored on dev"):
        choose([on_dev("text", 1e-3, [1], settings=seen)])
    with pytest.raises(TrialError, match="words: its rates were not all tried on the same datasets"):
        choose([on_dev("words", 1e-3, [1]), on_dev("words", 2e-3, [1], "tcree")])
