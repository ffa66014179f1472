"""benchmarks.corpus: committed statistics are up to date, hold no text, and are written whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.data import data_app
from giellm_utils.core.files import read_json
from giellm_utils.data import describe
from giellm_utils.data.fetch import fetch, SourceError
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.experiment.benchmarks import corpus
from support.datasets import needs_open

ROOT = Path(__file__).resolve().parents[2]
RESULTS, DOCS = ROOT / "results" / "corpus", ROOT / "docs"


@pytest.fixture(scope="module")
def statistics() -> dict:
    return read_json(RESULTS / "statistics.json")


def test_embedded_statistics_are_up_to_date(statistics: dict) -> None:
    fresh = corpus.statistics_report(["embedded"])
    assert {name: found["embedded"] for name, found in statistics["datasets"].items()} == {
        name: found["embedded"] for name, found in fresh["datasets"].items()}
    for name, agreement in fresh["agreement"].items():
        assert statistics["agreement"][name] == agreement


@needs_open
@pytest.mark.parametrize("name", ["scnm", "scpos-n"])
def test_open_statistics_are_up_to_date(name: str, statistics: dict) -> None:
    assert statistics["datasets"][name]["open"] == corpus.dataset_statistics(load_dataset(name, "open"))
    assert statistics["agreement"]["scpos, JRTE judges"] == describe.judge_agreement()


def test_statistics_say_what_they_must(statistics: dict) -> None:
    assert list(statistics["datasets"]) == list(TASKS)
    for name, variants in statistics["datasets"].items():
        assert set(variants) == {"embedded", "open"} | ({"open-blind"} if name == "tcree" else set())
        for found in variants.values():
            floors = {"majority", "lexicon"} if name.startswith("scpos") else {"majority"}
            assert set(found["baselines"]) == floors
            assert found["files"] and all(len(f["sha256"]) == 64 for f in found["files"])
            # Always-empty is right exactly where there is no word.
            assert found["baselines"]["majority"]["wl_exact"]["value"] == pytest.approx(
                1 - found["with_words"]["test"], abs=1e-5)
        if name.startswith("scpos"):
            assert variants["open"]["baselines"]["lexicon"]["wl_exact"]["value"] == 1


@needs_open
def test_no_review_sentence_is_in_results_or_documents() -> None:
    sentences = [line.split("\t")[2] for line in fetch("jrte").path.read_text("utf-8").splitlines()]
    written = "".join(p.read_text("utf-8") for p in [*RESULTS.glob("*.json"), *DOCS.glob("*.md")])
    assert len(sentences) == 5553
    assert not [s for s in sentences if len(s) >= 6 and s in written]


def test_command_writes_nothing_without_the_open_data(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str) -> None:
        raise SourceError("jrte cannot be downloaded")
    monkeypatch.setattr("giellm_utils.data.describe.fetch", unreachable)
    result = CliRunner().invoke(data_app, ["describe", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, SourceError) and not (tmp_path / "out").exists()


def test_command_writes_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "open_rules", lambda: {"title": "open"})
    monkeypatch.setattr(corpus, "statistics_report", lambda: {"seed": 0})
    result = CliRunner().invoke(data_app, ["describe", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0 and "giellm tables" in result.stdout
    assert read_json(tmp_path / "out" / "statistics.json") == {"seed": 0}
    assert list(read_json(tmp_path / "out" / "rules.json")["corpora"]) == ["mini", "jrte"]
