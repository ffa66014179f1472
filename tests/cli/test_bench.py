"""`giellm bench subsample` and `tokens`: their files, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from giellm_utils.cli.bench import bench_app
from giellm_utils.core.files import write_text
from giellm_utils.core.settings import ConfigError
from giellm_utils.evaluation.score import COLUMNS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run `r` of 120 documents, every second label right; ids run backwards."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    i = np.arange(120)
    right = (i % 2 == 0).astype(float)
    frame = pd.DataFrame({**dict.fromkeys(COLUMNS, 1.0), "id": [f"d{k:04}" for k in i[::-1]],
                          "gold_label": "x", "predicted_label": "x", "tl": right, "all": right,
                          "well_formed": True, "truncated": False, "empty_gold": False})
    write_text(tmp_path / "r" / "04_evaluate" / "documents" / "joint.t.csv", frame.to_csv(index=False))
    return tmp_path


def test_a_subsample_is_written_under_its_address(run):
    done = CliRunner().invoke(bench_app, ["subsample", "--run", "r", "--task", "t", "--first", "1", "--draws",
                                          "200", "--out", str(run / "out")])
    assert done.exit_code == 0, done.output
    found = json.loads((run / "out" / "r.joint.t.json").read_text(encoding="utf-8"))
    assert (found["run"], found["condition"], found["task"], found["n"]) == ("r", "joint", "t", 120)
    assert found["all"]["tl"]["value"] == 0.5 and found["first"]["tl"]["value"] == 0 and found["git"]
    assert list(found["samples"]) == ["100"] and "   all {'tl': 50.0" in done.output


def test_what_cannot_be_sampled_is_said(run):
    def fault(*arguments: str) -> str:
        done = CliRunner().invoke(bench_app, ["subsample", "--task", "t", *arguments])
        assert isinstance(done.exception, ConfigError), done.output
        return str(done.exception)

    assert "--first is 500; give 1 to 120" in fault("--run", "r", "--first", "500")
    assert "run the profile of none to stage 04 first" in fault("--run", "none")


def test_token_costs_are_written_with_their_table(scratch_cache, tmp_path):
    done = CliRunner().invoke(bench_app, ["tokens", "--source", "embedded", "--model", "scratch",
                                          "--items", "5", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "scnm-embedded.json").read_text(encoding="utf-8"))["n"] == 5
    assert "| calls | tokens in |" in done.output
