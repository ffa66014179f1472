"""Samples of one run's documents: the first by id, and ranges that narrow as samples grow."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from giellm_utils.evaluation.subsample import Subsample, subsample


def documents(n: int = 400) -> pd.DataFrame:
    """Every second document has its label right, every fourth its one word; ids run backwards."""
    i = np.arange(n)
    right, word = (i % 2 == 0).astype(float), (i % 4 == 0).astype(float)
    return pd.DataFrame({
        "id": [f"d{k:04}" for k in i[::-1]], "gold_label": "x", "predicted_label": "x",
        "tl": right, "wl_exact": word, "wl_set": word, "wl_words": word, "all": right * word,
        "all_set": right * word, "tp": word, "fp": 1 - word, "fn": 1 - word, "offset_tp": word,
        "offset_fp": 1 - word, "offset_fn": 1 - word, "well_formed": True, "n_spans": 1.0,
        "n_invented": 0.0, "truncated": False, "empty_gold": False})


def test_samples_lie_around_all_and_narrow() -> None:
    found = subsample(documents(), 1, draws=400, seed=42)
    assert (found.all["tl"].value, found.all["f1"].value) == (0.5, 0.25)
    assert found.first.tl.value == 0  # the smallest id stands last in the frame, at an odd place
    assert (found.n, found.first.n, list(found.samples)) == (400, 1, ["100", "200"])
    wide, narrow = (found.samples[n]["tl"] for n in ("100", "200"))
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]
    # Hypergeometric: 1.96 sqrt(.25 / 100 * 300 / 399) = 0.085 on either side.
    assert wide[1] - wide[0] == pytest.approx(0.17, abs=0.03)
    assert Subsample.model_validate(json.loads(found.model_dump_json())) == found


@pytest.mark.parametrize("first", [0, 401])
def test_what_cannot_be_sampled_is_said(first: int) -> None:
    with pytest.raises(ValueError, match=f"first is {first}; give 1 to 400"):
        subsample(documents(), first, draws=10, seed=0)
