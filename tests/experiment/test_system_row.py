"""Rows of results/systems: the same documents, scorer and record for every system; nothing is replaced
unasked and no text gets out."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.answer import Answer, gold_answer
from giellm_utils.core.files import StorageError
from giellm_utils.core.settings import ConfigError
from giellm_utils.core.system_result import result_path, SystemResult
from giellm_utils.experiment import system_row
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.system_row import Answered
from support.experiments import write_profile

WHERE = {"command": "giellm evaluate --system oracle", "machine": system_row.machine()}


def answered(asked, answers, **changes) -> Answered:
    return Answered(**{"system": "oracle", "entry": "oracle", "title": "oracle", "level": "joint",
                       "answers": answers, "settings": {"k": 5}, "fit_seconds": 0.5, "predict_seconds": 1.25,
                       **changes})


@pytest.fixture
def asked(tmp_path):
    return system_row.select(load_profile(write_profile(tmp_path)), "scnm")


def test_the_documents_are_those_of_the_profile(tmp_path, asked):
    profile = load_profile(write_profile(tmp_path))
    assert (len(asked.train), len(asked.test), asked.source, asked.split) == (16, 6, "embedded", "test")
    assert {r.split for r in asked.test} == {"test"}
    fewer = system_row.select(profile, "scnm", limit=4)
    assert len(fewer.test) == 4 and {r.id for r in fewer.test} < {r.id for r in asked.test}
    on_dev = system_row.select(profile, "scnm", split="dev")
    assert len(on_dev.test) == 4 and {r.split for r in on_dev.train} == {"train"}  # dev is not trained on
    with pytest.raises(ConfigError, match="profile tiny has no dataset of task 'tcree'; it has scnm"):
        system_row.select(profile, "tcree")


def test_a_row_holds_scores_and_correctness_but_no_text(tmp_path, asked):
    right = [gold_answer(r) for r in asked.test]
    half = [*right[:3], *([Answer(None)] * 3)]
    path, result = system_row.write_row(asked, answered(asked, half, lenient=right), tmp_path, **WHERE)
    assert path == result_path(tmp_path, "oracle", "embedded", "scnm")
    assert artifacts.read(path, SystemResult) == result
    assert (result.scores.all["tl"].value, result.lenient.all["tl"].value) == (0.5, 1.0)
    assert result.scores.all["tl"].low < 0.5 < result.scores.all["tl"].high
    assert (result.n_train, result.n_test, result.fit_seconds, result.predict_seconds) == (16, 6, 0.5, 1.25)
    assert result.settings == {"k": 5} and result.machine.processors >= 1 and result.git
    frame = pd.read_csv(path.with_name(result.documents), dtype={"id": str})
    assert list(frame["id"]) == [r.id for r in asked.test] and list(frame["tl"]) == [1, 1, 1, 0, 0, 0]
    written = path.read_text("utf-8") + path.with_name(result.documents).read_text("utf-8")
    assert not any(r.text in written or s in written for r in asked.test
                   for i in r.items() for s in i.surfaces if len(s) > 2)


def test_another_result_is_not_replaced_unasked(tmp_path, asked):
    right = [gold_answer(r) for r in asked.test]
    path, _ = system_row.write_row(asked, answered(asked, right), tmp_path, **WHERE)
    system_row.write_row(asked, answered(asked, right), tmp_path, **WHERE)  # the same again is no harm
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"result \(settings was .*5\}, is .*3\}\).*--force"):
        system_row.write_row(asked, answered(asked, right, settings={"k": 3}), tmp_path, **WHERE)
    assert path.read_bytes() == before
    system_row.write_row(asked, answered(asked, right, settings={"k": 3}), tmp_path, force=True, **WHERE)
    assert artifacts.read(path, SystemResult).settings == {"k": 3}


def test_the_same_command_again_renews_its_row(tmp_path, asked):
    """Settings that JSON writes otherwise than Python holds them (tuples) are the same settings."""
    right = [gold_answer(r) for r in asked.test]
    for seconds in (1.0, 2.0):
        path, _ = system_row.write_row(asked, answered(asked, right, fit_seconds=seconds,
                                                       settings={"grid": ({"c": 0.1}, {"c": 1})}), tmp_path,
                                       **WHERE)
    assert artifacts.read(path, SystemResult).fit_seconds == 2.0


def test_the_command_writes_the_row_of_a_registered_system(tmp_path):
    given = ["evaluate", "--profile", write_profile(tmp_path), "--task", "scnm", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*given, "--system", "majority"])
    assert done.exit_code == 0, done.output
    assert "majority class on scnm (embedded, test): 6 documents" in done.output
    row = json.loads(result_path(tmp_path, "majority", "embedded", "scnm").read_text())
    assert row["entry"] == "majority" and row["scores"]["n"] == 6
    for more, message in ((["--system", "joint"], "system joint is not built of a task alone"),
                          (["--system", "lexicon"], "system lexicon is not defined for task scnm"),
                          (["--system", "majority", "--split", "train"], "it must be dev or test")):
        failed = CliRunner().invoke(app, [*given, *more])
        assert message in str(failed.exception)
