"""own and `giellm data check`: a dataset of one's own from its two files, as the documentation shows it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from giellm_utils.cli.data import data_app
from giellm_utils.core.files import sha256
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.checker import RecordChecker, UserDataError
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.offsets import locate
from giellm_utils.data.own import load_dataset, load_task
from giellm_utils.data.registry import source_files
from giellm_utils.formats.giellm import GiellmFormat
from support.datasets import own_task, row, write_rows

ROOT = Path(__file__).resolve().parents[2]
INTENTS = ROOT / "examples" / "intents"
TEN = ROOT / "tests" / "data" / "ten_faults.jsonl"
TEN_LINES = [
    "2: json: not valid JSON (Expecting value at column 60); each line must be one whole JSON object",
    "3: split: is missing",
    "4: slots: unknown field; known are id, text, label, words, split and meta",
    "5: text: is a number, not a string",
    "6: label: '暖房操作' is not one of 照明操作, 空調操作, 音楽再生, 予定登録, 天気確認, 乗換案内, 宿泊予約",
    "7: words[0].span: [0, 20] ends after the text, which has 7 characters; offsets count Unicode "
    "characters, not bytes",
    "8: words[0].span: [2, 2] is empty; the end is exclusive",
    "9: words[0]: has head, tail, but a word of kind 'slot' has the shape span: it needs span (or surface)",
    "10: id: 'a1' is the id of line 1 already; ids must differ",
    "11: text: stands in train already (line 1; equal after NFKC) and here in test; keep it in one of them",
]


def test_ten_faults_give_ten_lines() -> None:
    result = CliRunner().invoke(data_app, ["check", str(TEN), "--task", str(INTENTS / "task.yaml")])
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [f"{TEN}:{line}" for line in TEN_LINES]
    assert "to drop lines whose text stands twice: giellm data check" in result.stderr


def test_the_example_is_sound_and_checks_in_one_line() -> None:
    result = CliRunner().invoke(data_app, ["check", str(INTENTS / "data.jsonl"), "--task",
                                           str(INTENTS / "task.yaml")])
    assert result.exit_code == 0
    assert result.output == (f"{INTENTS / 'data.jsonl'}: 126 records (train 84, dev 14, test 28), "
                             "193 words, no fault\n")


def test_the_example_loads_as_a_dataset() -> None:
    data = load_dataset(INTENTS / "task.yaml")
    assert [len(data.split(s)) for s in ("train", "dev", "test")] == [84, 14, 28]
    assert [f.name for f in data.provenance.files] == ["data.jsonl", "task.yaml"]
    assert data.provenance.licence == "CC0 1.0" and data.provenance.redistributable
    trained = {(w.kind, w.label) for r in data.split("train") for w in r.words}
    assert trained == {("slot", label) for label in data.task.parts[0].labels}
    for split in ("train", "dev", "test"):
        assert {r.label for r in data.split(split)} == set(data.task.text_labels)
    first = data.records[0]
    assert GiellmFormat(data.task).target(first, "joint") == (
        "<空調操作>スロット抽出:機器;ヒーター:日時;三十分")
    assert all(locate(r.items(), r.text) == list(r.words) for r in data.records)


def test_the_documentation_shows_what_happens() -> None:
    page = (ROOT / "docs" / "your-own-data.md").read_text("utf-8")
    for line in TEN_LINES:
        assert f"\nten_faults.jsonl:{line}\n" in page
    task = load_task(INTENTS / "task.yaml")
    prompt = GiellmFormat(task).prompt("ヒーター、三十分したら消して", "joint")
    assert f"\n{prompt}\n<空調操作>スロット抽出:" in page
    row, = (json.loads(b) for b in re.findall(r"```json\n(.*?)```", page, re.S))
    assert RecordChecker(task).add(1, row)
    assert set(yaml.safe_load(*re.findall(r"```yaml\n(.*?)```", page, re.S))) == {
        "name", "title", "text_labels", "parts", "data", "licence", "attribution"}


def test_the_documented_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `giellm data` line of the page; the sheet stays empty, so its score is refused."""
    page = (ROOT / "docs" / "your-own-data.md").read_text("utf-8")
    commands = re.findall(r"^giellm data (.*)$", page, re.M)
    assert len(commands) == 5
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for command in commands[:4]:
        assert CliRunner().invoke(data_app, shlex.split(command)).exit_code == 0, command
    refused = CliRunner().invoke(data_app, shlex.split(commands[4]))
    assert isinstance(refused.exception, SourceError) and "no question is answered" in str(refused.exception)


@pytest.mark.parametrize(("changes", "message"), [
    ({"licence": None}, "task.yaml: licence: Field required"),
    ({"lables": 1}, "task.yaml, line 8: lables: unknown key"),
    ({"text_labels": ["a", True]}, "line 3: text_labels.1: Input should be a valid string, not True"),
    ({"name": "scnm"}, "'scnm' is a task of this package"),
    ({"name": "My Task"}, "task.yaml, line 1: name"),
    ({"text_labels": ["a:b"]}, "label 'a:b' is empty or holds one of"),
    ({"text_labels": ["a", "a"]}, "holds a duplicate"),
    ({"parts": []}, "task.yaml, line 4: parts"),
    ({"parts": [{"kind": "e", "instruction": "x", "labels": ["l"], "shape": "list"}]}, "parts.0.shape"),
])
def test_task_yaml_faults(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_task(own_task(tmp_path, **changes))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_loading_names_the_first_fault_and_the_command(tmp_path: Path) -> None:
    task = own_task(tmp_path, [{"id": "1"}])
    with pytest.raises(UserDataError, match=r"d.jsonl:1: text: is missing \(and 3 more\).*giellm data check"):
        load_dataset(task)


def test_its_texts_may_be_passed_on_unless_the_yaml_says_otherwise(tmp_path: Path) -> None:
    assert load_dataset(own_task(tmp_path, [row("1", "文")])).provenance.redistributable
    assert not load_dataset(own_task(tmp_path, redistributable=False)).provenance.redistributable


def test_source_files_change_with_the_data_and_with_the_task(tmp_path: Path) -> None:
    """Fault 1: neither file was an input of the run, so an edit of either left every stage current."""
    task = own_task(tmp_path, [row("1", "文")])

    def hashes() -> dict[str, str]:
        return {name: sha256(path) for name, path in source_files(str(task))}

    first = hashes()
    assert first == {f.name: f.sha256 for f in load_dataset(task).provenance.files}
    write_rows(tmp_path / "d.jsonl", [row("1", "別の文")])
    second = hashes()
    assert second["d.jsonl"] != first["d.jsonl"] and second["task.yaml"] == first["task.yaml"]
    own_task(tmp_path, text_labels=["b", "a"])
    assert hashes()["task.yaml"] != first["task.yaml"]
    (tmp_path / "d.jsonl").unlink()
    assert list(hashes()) == ["task.yaml"]
