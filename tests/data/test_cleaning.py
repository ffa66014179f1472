"""cleaning and `giellm data check --write`: test stays, doubles and leaks go, every line is counted once."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.data import data_app
from giellm_utils.data.checker import read_records, UserDataError
from giellm_utils.data.cleaning import clean
from giellm_utils.data.leakage import leakage, near_pairs
from giellm_utils.data.own import load_dataset, load_task
from support.datasets import own_task, row, write_rows

ROOT = Path(__file__).resolve().parents[2]
#: No two share a character, so that no two commands are nearly the same.
DAYS = ("明日", "今朝", "週末", "来月", "昨夜")
PLACES = ("札幌", "仙台", "京都", "福岡", "那覇", "松山", "金沢")
REQUESTS = ("の天気を教えて", "行きの電車は何時", "で泊まれる宿を探して", "に傘を持って行くべき",
            "の道は混んでいる", "までバスで着けるか", "から荷物を送りたい", "へ着くのはいつ")
WEATHER = "明日の札幌の天気を教えて"


def corpus() -> list[dict[str, Any]]:
    """400 spoken commands like those of a public set, 150 of them test, with all its faults.

    test      145 texts, 5 of them twice
    train     250 lines: 112 texts of their own, 50 of them once more (20 in other widths and spaces);
              46 test texts (10 with other spaces), 10 test texts with a ね, 6 dev texts, 6 lines of an
              unknown label; 20 more are dev
    """
    texts = ["".join(parts) for parts in product(DAYS, PLACES, REQUESTS)]
    random.Random(0).shuffle(texts)
    assert len(texts) == 280 and near_pairs(texts) == []
    test, train, dev = texts[:145], texts[145:257], texts[257:277]
    faulty = [f"{text}、お願い" for text in texts[277:]] * 2
    lines = [*((t, "test", "a") for t in (*test, *test[:5])), *((t, "dev", "a") for t in dev),
             *((t, "train", "a") for t in (*train, *train[:30])),
             *((f"　{t} ", "train", "a") for t in train[30:50]),
             *((t, "train", "a") for t in test[:36]), *((f"{t}　", "train", "a") for t in test[36:46]),
             *((f"{t}ね", "train", "a") for t in test[60:70]), *((t, "train", "a") for t in dev[:6]),
             *((t, "train", "nothing") for t in faulty)]
    random.Random(1).shuffle(lines)
    return [row(f"u-{i}", text, split, label) for i, (text, split, label) in enumerate(lines)]


def test_a_public_corpus_comes_out_clean_and_counted(tmp_path: Path) -> None:
    """Fault 11: 117 of 400 lines were doubles or leaks, and their removal was left to the user."""
    rows = corpus()
    assert len(rows) == 400 and sum(r["split"] == "test" for r in rows) == 150
    task = own_task(tmp_path, rows)
    data, out = tmp_path / "d.jsonl", tmp_path / "clean.jsonl"
    result = CliRunner().invoke(data_app, ["check", str(data), "--task", str(task), "--write", str(out)])
    assert result.exit_code == 0, result.exception
    faults = [line for line in result.stdout.splitlines() if ": label: 'nothing' is not one of a, b" in line]
    assert len(faults) == 6
    said = result.stdout.splitlines()[6:]
    assert said == [
        f"{data}: 400 lines, 123 dropped",
        "     61 doubles: their text stands in a line that stays",
        "     46 leaks: train or dev, and their text stands in test",
        "     10 near leaks: train or dev, 90 % or more like a test text",
        "      6 with other faults, listed above",
        f"{out}: 277 records (train 112, dev 20, test 145), 0 words, no fault"]
    page = (ROOT / "docs" / "your-own-data.md").read_text("utf-8")
    assert "\n".join(said).replace(str(data), "commands.jsonl").replace(str(out), "clean.jsonl") in page
    records, left = read_records(load_task(task), out)
    assert left == []
    assert {r.text for r in records if r.split == "test"} == {r["text"] for r in rows if r["split"] == "test"}
    own_task(tmp_path, data="clean.jsonl")
    report = leakage([load_dataset(task)])
    assert all(cell["exact"] == cell["near"] == 0 for cell in report["pairs"])


def cleaned(folder: Path, *rows: Any) -> tuple[list[str], tuple[int, int, int, int]]:
    """The ids left in order, and (doubles, leaks, near, faulty)."""
    found = clean(load_task(own_task(folder, list(rows))), folder / "d.jsonl")
    assert [json.loads(line)["id"] for line in found.lines] == [r.id for r in found.records]
    assert len(found.lines) + found.doubles + found.leaks + found.near + found.faulty == found.total
    return [r.id for r in found.records], (found.doubles, found.leaks, found.near, found.faulty)


@pytest.mark.parametrize(("rows", "left", "counts"), [
    ([row("1", "同じ文"), row("2", "同じ文")], ["1"], (1, 0, 0, 0)),
    ([row("1", "同じ文"), row("2", "同じ文", "test")], ["2"], (0, 1, 0, 0)),
    ([row("1", "同じ文"), row("2", "同じ文", "dev"), row("3", "別")], ["2", "3"], (1, 0, 0, 0)),
    ([row("1", "ＡＢ　文", "test"), row("2", "AB 文", "test")], ["1"], (1, 0, 0, 0)),
    ([row("1", "同じ文"), row("2", "同じ文", "dev"), row("3", "同じ文", "test")], ["3"], (0, 2, 0, 0)),
    ([row("1", WEATHER), row("2", f"{WEATHER}ね", "test")], ["2"], (0, 0, 1, 0)),
    # Nearly equal texts of train and dev are no leak.
    ([row("1", WEATHER), row("2", f"{WEATHER}ね", "dev")], ["1", "2"], (0, 0, 0, 0)),
    # A copied line is a double, not a second line with its id.
    ([row("1", "同じ文"), row("1", "同じ文"), row("2", "別")], ["1", "2"], (1, 0, 0, 0)),
    ([row("1", "一つ"), row("1", "二つ", "test")], ["1"], (0, 0, 0, 1)),
    # A test line that is not written leaks nothing.
    ([row("1", "同じ文"), row("2", "同じ文", "test", "nothing")], ["1"], (0, 0, 0, 1)),
    ([row("1", "よい"), {"id": "2"}, [], row("3", "悪い", slots=[])], ["1"], (0, 0, 0, 3)),
])
def test_what_stays(rows: list[Any], left: list[str], counts: tuple[int, ...], tmp_path: Path) -> None:
    assert cleaned(tmp_path, *rows) == (left, counts)


def test_the_id_that_stays_is_that_of_test(tmp_path: Path) -> None:
    rows = [row("1", "一つ"), row("1", "二つ", "test")]
    found = clean(load_task(own_task(tmp_path, rows)), tmp_path / "d.jsonl")
    assert [r.text for r in found.records] == ["二つ"]
    assert [(f.line, f.message) for f in found.faults] == [
        (1, "'1' is the id of line 2 already; ids must differ")]


def test_lines_are_written_as_they_were(tmp_path: Path) -> None:
    task = own_task(tmp_path)
    line = '{"split":"train",  "id": "1", "text": "\\u6587", "label": "a", "words": [], "meta": {"k": [1]}}'
    (tmp_path / "d.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n")
    out = tmp_path / "out" / "clean.jsonl"
    result = check(tmp_path / "d.jsonl", task, out)
    assert result.exit_code == 0 and out.read_text("utf-8") == line + "\n"
    assert "      0 with other faults\n" in result.stdout


def check(data: Path, task: Path, out: Path, *more: str) -> Any:
    return CliRunner().invoke(data_app, ["check", str(data), "--task", str(task), "--write", str(out), *more])


def test_no_file_is_overwritten_unasked(tmp_path: Path) -> None:
    task, data, out = own_task(tmp_path, [row("1", "文")]), tmp_path / "d.jsonl", tmp_path / "clean.jsonl"
    out.write_text("mine", "utf-8")
    refused = check(data, task, out)
    assert isinstance(refused.exception, UserDataError) and out.read_text("utf-8") == "mine"
    assert str(refused.exception) == f"{out} exists; choose another name or add --overwrite to replace it"
    assert check(data, task, out, "--overwrite").exit_code == 0 and "文" in out.read_text("utf-8")
    itself = check(data, task, data, "--overwrite")
    assert isinstance(itself.exception, UserDataError) and "the file to be checked" in str(itself.exception)


def test_nothing_left_is_nothing_written(tmp_path: Path) -> None:
    task, out = own_task(tmp_path, [{"id": "1"}]), tmp_path / "clean.jsonl"
    result = check(tmp_path / "d.jsonl", task, out)
    assert isinstance(result.exception, UserDataError) and "no line is left to write" in str(result.exception)
    assert not out.exists() and "d.jsonl:1: text: is missing" in result.stdout
    with pytest.raises(UserDataError, match="nothing.jsonl cannot be read"):
        clean(load_task(task), tmp_path / "nothing.jsonl")


def test_written_lines_are_sound_whatever_the_file(tmp_path: Path) -> None:
    """Random rows out of few texts, ids and splits: what is written has no fault and loses no test text."""
    rng = random.Random(2)
    for _ in range(30):
        rows = [row(str(rng.randint(0, 30)), rng.choice(("ＡＢ", "AB", "A B", WEATHER, f"{WEATHER}。", "雨")),
                    rng.choice(("train", "dev", "test", "valid")), rng.choice("aab")) for _ in range(12)]
        task = own_task(tmp_path, rows)
        found = clean(load_task(task), tmp_path / "d.jsonl")
        write_rows(tmp_path / "c.jsonl", [json.loads(line) for line in found.lines])
        if found.lines:
            assert read_records(load_task(task), tmp_path / "c.jsonl")[1] == []
