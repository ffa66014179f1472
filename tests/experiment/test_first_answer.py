"""`giellm bench extract`: a first answer by parts, with the weights of the repository's kind at toy size."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.bench import bench_app
from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.benchmarks import first_answer
from giellm_utils.models.bundle import BundleError
from giellm_utils.reporting.figures import first_answer as figure
from giellm_utils.reporting.measurements import first_answer_table


@pytest.fixture
def trained(finished_runs, child_environment, monkeypatch):
    """The folder of a finished training; what is started here sees this session's cache."""
    for name, value in child_environment.items():
        monkeypatch.setenv(name, value)
    return next(finished_runs.glob("*/joint/*/seed-*"))


def test_every_part_is_timed_beside_the_command(trained, tmp_path) -> None:
    card = json.loads((trained / "model" / "giellm.json").read_text("utf-8"))
    task = next(iter(card["tasks"]))
    done = CliRunner().invoke(bench_app, ["extract", "--model", str(trained), "--task", task, "--times", "1",
                                          "--text", "京都で展示会が開かれた。", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output + repr(done.exception)
    path, = tmp_path.glob("*.json")
    found = json.loads(path.read_text("utf-8"))
    assert list(found["parts"]) == list(first_answer.PARTS) and found["characters"] == 12
    assert all(len(s) == 1 and s[0] > 0 for s in found["parts"].values())
    # torch alone takes longer to import than this text to be answered by a toy model.
    assert found["parts"]["imports"][0] > found["parts"]["answer"][0] and found["command"][0] > 0
    assert str(trained.parent) not in path.read_text("utf-8")
    rows = [line for line in first_answer_table(found).splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(first_answer.PARTS) + 1
    figure.draw(found)


def test_what_cannot_be_timed_is_said(trained, tmp_path) -> None:
    with pytest.raises(BundleError, match="holds no model"):
        CliRunner().invoke(bench_app, ["extract", "--model", str(tmp_path)], catch_exceptions=False)
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(ConfigError, match="it has no giellm.json"):
        CliRunner().invoke(bench_app, ["extract", "--model", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(ConfigError, match="the text is not answered: .*none"):
        CliRunner().invoke(bench_app, ["extract", "--model", str(trained), "--task", "none"],
                           catch_exceptions=False)
