"""Conditions whose prompts say a level, in a run: their own names, and what they need beside them."""

from __future__ import annotations

import pytest

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import TrainingsFile
from giellm_utils.core.files import read_jsonl
from giellm_utils.core.settings import ConfigError
from giellm_utils.reporting import run_tables
from giellm_utils.reporting.results import RunResults
from support.experiments import run_stages, write_profile


@pytest.mark.parametrize("names, trained", [
    (["text-given-gold"], ["text-given"]),
    (["text-given-gold", "text-given", "text"], ["text-given", "text"])])
def test_conditions_that_share_a_training_have_their_own_names(names, trained, in_process, tmp_path,
                                                               monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    compared = run_stages(write_profile(tmp_path, {"training": {"conditions": names}}))
    assert in_process.trained == trained and compared.conditions == names
    run = tmp_path / "runs" / "tiny"
    listed = artifacts.read(run / "03_train" / "trainings.json", TrainingsFile).root
    assert [row.condition for row in listed] == names
    history = read_jsonl(run / "03_train" / "history.jsonl")
    assert list(dict.fromkeys(row["condition"] for row in history)) == names
    assert "words, gold label given with its" in run_tables.summary_table(RunResults(run))


def test_a_level_is_not_predicted_by_whatever_lies_in_the_run(in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    profile = write_profile(tmp_path, {"training": {"conditions": ["text", "words-given"]}})
    with pytest.raises(ConfigError, match="words-given is given what condition words predicts, which this "
                                          "profile does not train: add words to training.conditions"):
        run_stages(profile, until="03")
    assert in_process.trained == []
