"""leakage: twins are found whatever their form, and no test text of any dataset is trained on."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path

import pytest
from rapidfuzz import fuzz
from typer.testing import CliRunner

from giellm_utils.cli.data import data_app
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.leakage import fold, leakage, near_pairs, near_twins, THRESHOLD
from giellm_utils.data.registry import load_dataset, TASKS
from support.datasets import hub_row, hub_yaml, needs_open, of_texts, write_rows

INTENTS = Path(__file__).resolve().parents[2] / "examples" / "intents" / "task.yaml"
SOURCES = ["embedded", pytest.param("open", marks=needs_open)]


def pair(report: dict, train: str, test: str) -> dict:
    row, = (r for r in report["pairs"] if (r["train"], r["test"]) == (train, test))
    return row


def test_fold() -> None:
    assert fold(" ＡＢＣ　ｶﾞ\n株 ") == fold("ABC ガ 株") == "ABC ガ 株"


def test_near_pairs_equal_brute_force() -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("あいうえお", k=rng.randint(1, 14))) for _ in range(150)]
    texts += [t[:-1] + "か" for t in texts] + [t * 3 for t in texts[:40]] + [t * 3 + "き" for t in texts[:40]]
    texts = list(dict.fromkeys(texts))
    expected = [(i, j) for i, j in combinations(range(len(texts)), 2)
                if fuzz.ratio(texts[i], texts[j]) >= THRESHOLD]
    assert len(expected) > 20
    assert near_pairs(texts) == expected


def test_near_twins_equal_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    others = ["".join(rng.choices("あいう", k=rng.randint(1, 20))) for _ in range(80)]
    texts = [t[:-1] + "か" for t in others] + ["".join(rng.choices("あいう", k=12)) for _ in range(80)]
    expected = {i for i, t in enumerate(texts) if any(fuzz.ratio(t, o) >= THRESHOLD for o in others)}
    assert 20 < len(expected) < len(texts)
    assert near_twins(texts, others) == expected
    monkeypatch.setattr("giellm_utils.data.leakage.CHUNK", 7)
    assert near_twins(texts, others) == expected
    assert near_twins([], others) == near_twins(texts, []) == set()


def test_near_pairs_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{i:03d}番目の文はここで終わるのであった" for i in range(30)]
    whole = near_pairs(texts)
    monkeypatch.setattr("giellm_utils.data.leakage.CHUNK", 4)
    assert near_pairs(texts) == whole and len(whole) > 50


def test_counts() -> None:
    long = "彼は翌年の春に故郷の町へ戻り、小さな写真館を開いた。"
    first = of_texts("first", train=["ｶﾅと　漢字", long, "同じ文"], dev=["開発用の文です"],
                    test=["カナと 漢字", long.replace("春", "秋"), "別の文章である", "同じ文!"])
    second = of_texts("second", train=["まったく関係のない話"], test=["開発用の文です", "別の文章である"])
    report = leakage([first, second])
    assert json.loads(json.dumps(report)) == report
    own = pair(report, "first", "first")
    assert {k: own[k] for k in ("train_texts", "test_texts", "exact", "near")} == {
        "train_texts": 4, "test_texts": 4, "exact": 1, "near": 1}
    assert sorted(own["examples"]) == [["first-test-0", "first-train-0"], ["first-test-1", "first-train-1"]]
    assert pair(report, "first", "second")["exact"] == 1
    assert pair(report, "second", "first")["exact"] == pair(report, "second", "second")["exact"] == 0
    assert report["within"] == [{"dataset": "first", "texts": 8, "exact": 2, "near": 2},
                                {"dataset": "second", "texts": 3, "exact": 0, "near": 0}]


def test_reports_hold_no_text() -> None:
    report = json.dumps(leakage([of_texts("d", train=["秘密の文章なのです"], test=["秘密の文章なのです"])]),
                        ensure_ascii=False)
    assert "秘密" not in report


@pytest.mark.parametrize("source", SOURCES)
def test_no_test_text_of_any_dataset_is_trained_on(source: str) -> None:
    """Over all six together: scnm and tcree share sentences, but never across train and test."""
    report = leakage([load_dataset(name, source) for name in TASKS])
    assert len(report["pairs"]) == 36
    assert [(r["train"], r["test"], r["examples"]) for r in report["pairs"] if r["exact"]] == []
    assert all(r["exact"] == 0 for r in report["within"])
    if source == "embedded":
        assert all(r["near"] == 0 for r in report["pairs"])
    # Near-duplicates of the real corpora are theirs; this holds the counts that the docs give.
    assert max(r["near"] / r["test_texts"] for r in report["pairs"]) < 0.025


def test_command() -> None:
    result = CliRunner().invoke(data_app, ["leakage", "--json", "--task", str(INTENTS)])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {r["test"] for r in report["pairs"]} == {*TASKS, "intents"}
    shown = CliRunner(env={"COLUMNS": "300"}).invoke(data_app, ["leakage"])
    assert shown.exit_code == 0 and "0 / 0" in shown.output and "test texts" in shown.output


def test_two_datasets_of_one_name_are_told_apart_or_refused() -> None:
    """By task name alone the second would have stood for both."""
    one = of_texts("d", train=["あいう"], test=["かきく"])
    two = of_texts("d", train=["かきく"], test=["さしす"])
    with pytest.raises(ConfigError, match="d, d have one name"):
        leakage([one, two])
    report = leakage([one, two], ["one", "two"])
    assert pair(report, "two", "one")["exact"] == 1 and pair(report, "one", "two")["exact"] == 0


def test_command_takes_a_hub_yaml(tmp_path: Path) -> None:
    """Fault 6: it was read as a task YAML and refused. Its task is one of ours, beside which it stands."""
    ours = next(r.text for r in load_dataset("scnm", "embedded").split("train"))
    write_rows(tmp_path / "snapshot" / "train.jsonl", [hub_row("まったく別の文です。")])
    write_rows(tmp_path / "snapshot" / "test.jsonl", [hub_row(ours)])
    path = hub_yaml(tmp_path)
    result = CliRunner().invoke(data_app, ["leakage", "--json", "--task", str(path)])
    assert result.exit_code == 0, result.exception
    report = json.loads(result.stdout)
    name = f"scnm ({path})"
    assert {r["test"] for r in report["pairs"]} == {*TASKS, name}
    assert pair(report, "scnm", name)["exact"] == 1 and pair(report, name, "scnm")["exact"] == 0
