"""leakage.py: twins are found whatever their form, and no test text of any dataset is trained on."""

from __future__ import annotations

import json
import os
import random
from itertools import combinations
from pathlib import Path

import pytest
from rapidfuzz import fuzz
from typer.testing import CliRunner

from giellm_utils.cli.data import data_app
from giellm_utils.data.leakage import THRESHOLD, fold, leakage, near_pairs
from giellm_utils.core.schema import Part, Record, Task
from giellm_utils.data.registry import TASKS, load_dataset, Dataset

INTENTS = Path(__file__).resolve().parents[2] / "examples" / "intents" / "task.yaml"
SOURCES = ["embedded", pytest.param("open", marks=pytest.mark.skipif(
    not os.environ.get("GIELLM_DATA_DIR"),
    reason="GIELLM_DATA_DIR is not set: the real corpora are not at hand"))]


def dataset(name: str, **texts: list[str]) -> Dataset:
    task = Task(name, name, ("a",), (Part("e", "固有表現", ("x",)),))
    records = (Record(f"{name}-{split}-{i}", name, text, "a", split=split)  # type: ignore[arg-type]
               for split, items in texts.items() for i, text in enumerate(items))
    return Dataset(task, tuple(records), {})


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


def test_near_pairs_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{i:03d}番目の文はここで終わるのであった" for i in range(30)]
    whole = near_pairs(texts)
    monkeypatch.setattr("giellm_utils.data.leakage.CHUNK", 4)
    assert near_pairs(texts) == whole and len(whole) > 50


def test_counts() -> None:
    long = "彼は翌年の春に故郷の町へ戻り、小さな写真館を開いた。"
    first = dataset("first", train=["ｶﾅと　漢字", long, "同じ文"], dev=["開発用の文です"],
                    test=["カナと 漢字", long.replace("春", "秋"), "別の文章である", "同じ文!"])
    second = dataset("second", train=["まったく関係のない話"], test=["開発用の文です", "別の文章である"])
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
    report = json.dumps(leakage([dataset("d", train=["秘密の文章なのです"], test=["秘密の文章なのです"])]),
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
