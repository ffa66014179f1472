"""compare.py: differences by hand, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.experiment.compare import compare_runs
from giellm_utils.experiment.manifest import StageError
from giellm_utils.core.files import write_json, write_text

ZEROS = dict.fromkeys(("wl_exact", "wl_set", "wl_words", "all", "all_set", "tp", "fp", "fn", "offset_tp", "offset_fp",
                       "offset_fn", "n_spans", "n_invented"), 0.0)


def run(folder: Path, right: list[int], epochs: float, first: int = 0) -> Path:
    """A run of which only the text labels differ."""
    rows = [{"id": f"d{first + i}", "gold_label": "x", "predicted_label": "x" if r else None, "tl": float(r), **ZEROS,
             "well_formed": True, "truncated": False, "empty_gold": True} for i, r in enumerate(right)]
    write_text(folder / "04_evaluate" / "documents" / "joint.t.csv", pd.DataFrame(rows).to_csv(index=False))
    for stage in ("03_train", "04_evaluate"):
        write_json(folder / stage / "manifest.json", {"parameters": {"seed": 1, "training": {"epochs": epochs}}})
    write_json(folder / "03_train" / "trainings.json", [{"job": "joint", "steps": 3, "seed": 1}])
    return folder


def test_the_difference_is_paired_and_names_what_differs(tmp_path, monkeypatch):
    a, b = run(tmp_path / "a", [1, 0, 0, 0] * 10, 3), run(tmp_path / "b", [1, 1, 0, 0] * 10, 5)
    # Another order of the same documents changes nothing.
    path = b / "04_evaluate" / "documents" / "joint.t.csv"
    write_text(path, pd.read_csv(path).iloc[::-1].to_csv(index=False))
    found = compare_runs(a, b, resamples=200)
    scores = found["tasks"]["t"]["tl"]
    assert (scores["a"]["value"], scores["b"]["value"], scores["difference"]["value"]) == (0.25, 0.5, 0.25)
    # Paired: only the ten documents that changed vary, so the interval is narrower than of two samples (0.2 a side).
    assert 0.1 < scores["difference"]["low"] and scores["difference"]["high"] < 0.42
    assert scores["difference"]["verdict"] == "higher" and found["settings"] == {"training.epochs": [3, 5]}
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["compare", "a", "b", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0 and "+25.0" in done.output
    assert json.loads((tmp_path / "out" / "a-b.joint.json").read_text())["a"] == "a"


def test_what_cannot_be_compared_is_said(tmp_path):
    a = run(tmp_path / "a", [1, 0], 3)
    with pytest.raises(StageError, match="different documents"):
        compare_runs(a, run(tmp_path / "b", [1, 0], 3, first=1))
    with pytest.raises(StageError, match="no scores of job joint"):
        compare_runs(a, tmp_path)
