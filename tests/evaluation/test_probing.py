"""The summary of probes: scores by what was told, differences with intervals, and their picture."""

from __future__ import annotations

import numpy as np
import pytest

from giellm_utils.core.cells import Counts
from giellm_utils.core.mre_report import ProbeReport
from giellm_utils.core.probe import Probe
from giellm_utils.evaluation.probing import summarise
from giellm_utils.evaluation.trial_table import TrialError
from giellm_utils.reporting import mre_tables
from giellm_utils.reporting.figures import mre_probes
from support.figures import assert_nothing_overlaps, texts


def probe(seed: int, n: int = 40, **changes) -> Probe:
    """Gold two words a document; told gold finds both, told its own one in two documents of three."""
    rng = np.random.default_rng(seed)
    ones = [1] * n

    def words(matched: list[int]) -> Counts:
        return Counts(matched=matched, predicted=[2] * n, wl_exact=ones, wl_set=ones, well_formed=ones,
                      truncated=[0] * n)

    own = [2 if i % 3 else int(rng.integers(0, 2)) for i in range(n)]
    return Probe(**{
        "task": "scnm", "condition": "joint", "seed": seed, "split": "test", "told": "text", "asked": "words",
        "ids": [f"d{i}" for i in range(n)], "clusters": [f"c{i}" for i in range(n)], "gold": [2] * n,
        "answers": {"gold": words([2] * n), "predicted": words(own), "wrong": words([0] * n)},
        "label_alone": [int(i % 2) for i in range(n)], "label_with_words": ones, "seconds": 1.0,
        "machine": "m", "git": "g", **changes})


def test_scores_and_differences_by_what_was_told():
    report = summarise([probe(2), probe(1)])
    scores = {s.told: s for s in report.scores}
    assert scores["gold"].values == [1.0, 1.0] and scores["wrong"].values == [0.0, 0.0]
    assert scores["label alone"].values == [0.5, 0.5] and scores["label alone"].metric == "tl"
    assert scores["predicted"].seeds == [1, 2] and scores["predicted"].metric == "f1"
    first, *_, labels = report.differences
    assert [(d.a, d.b) for d in report.differences] == [
        ("gold", "predicted"), ("gold", "wrong"), ("predicted", "wrong"),
        ("label and gold words", "label alone")]
    assert first.value == pytest.approx(np.mean(first.differences)) and first.low < first.value < first.high
    assert labels.value == pytest.approx(0.5)


def test_one_seed_has_scores_and_no_interval():
    report = summarise([probe(1)])
    assert report.scores and not report.differences


def test_words_first_is_scored_on_the_label():
    n = 40
    told = Counts(tl=[1] * 30 + [0] * 10, well_formed=[1] * n, truncated=[0] * n)
    report = summarise([probe(1, condition="words-first", told="words", asked="text", label_alone=None,
                              label_with_words=None, answers={"gold": told})])
    assert [(s.metric, s.told, s.values) for s in report.scores] == [("tl", "gold", [0.75])]


def test_different_documents_are_refused():
    with pytest.raises(TrialError, match="seeds 1 and 2, hold different documents"):
        summarise([probe(1), probe(2, n=30)])


def test_table_and_picture_show_every_score():
    report = summarise([probe(1), probe(2)])
    table = mre_tables.probes(report)
    assert table.count("label and gold words") == 2 and "100.0" in table
    assert "Not measured" in mre_tables.probes(ProbeReport(scores=[], differences=[]))
    (_, figure), = mre_probes.draw(report.model_dump())
    assert_nothing_overlaps(figure)
    assert {"gold minus predicted", "gold minus wrong", "predicted minus wrong",
            "label and gold words minus label alone"} <= set(texts(figure))
