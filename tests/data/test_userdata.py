"""userdata.py and `giellm data check`: every fault is found with its line and field, all at once."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from giellm_utils.core.settings import ConfigError
from giellm_utils.formats.giellm import Converter
from giellm_utils.cli.data import data_app
from giellm_utils.core.schema import Part, Task
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.checker import FIELDS, read_records, RecordChecker, UserDataError
from giellm_utils.data.own import check, load_task, load_user_dataset

ROOT = Path(__file__).resolve().parents[2]
INTENTS = ROOT / "examples" / "intents"
TEN = ROOT / "tests" / "data" / "ten_faults.jsonl"
TASK = Task("news", "News", ("政治", "経済"), (
    Part("entity", "固有表現", ("人名", "地名")), Part("relation", "関係", ("所属",), shape="relation")))
GOOD: dict[str, Any] = {"id": "1", "text": "田中は東京の東京電機の社長", "label": "経済", "split": "train", "words": [
    {"kind": "entity", "label": "人名", "span": [0, 2]},
    {"kind": "relation", "label": "所属", "head": [0, 2], "tail": [6, 10]}]}

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


def faults_of(*rows: Any) -> list[tuple[int, str, str]]:
    checker = RecordChecker(TASK)
    for line, row in enumerate(rows, 1):
        checker.add(line, row)
    return [(f.line, f.field, f.message) for f in checker.faults]


def word(**keys: Any) -> dict[str, Any]:
    return {**GOOD, "words": [keys]}


def test_ten_faults_give_ten_lines() -> None:
    result = CliRunner().invoke(data_app, ["check", str(TEN), "--task", str(INTENTS / "task.yaml")])
    assert result.exit_code == 2
    assert result.output.splitlines() == [f"{TEN}:{line}" for line in TEN_LINES]


def test_the_example_is_sound_and_checks_in_one_line() -> None:
    result = CliRunner().invoke(data_app, ["check", str(INTENTS / "data.jsonl"), "--task",
                                           str(INTENTS / "task.yaml")])
    assert result.exit_code == 0
    assert result.output == (f"{INTENTS / 'data.jsonl'}: 126 records (train 84, dev 14, test 28), "
                             "193 words, no fault\n")


def test_the_example_loads_as_a_dataset() -> None:
    data = load_user_dataset(INTENTS / "task.yaml")
    assert [len(data.split(s)) for s in ("train", "dev", "test")] == [84, 14, 28]
    assert set(data.provenance) == {"source", "title", "files", "licence", "attribution", "note"}
    assert [f["name"] for f in data.provenance["files"]] == ["data.jsonl", "task.yaml"]
    trained = {(w.kind, w.label) for r in data.split("train") for w in r.words}
    assert trained == {("slot", label) for label in data.task.parts[0].labels}
    for split in ("train", "dev", "test"):
        assert {r.label for r in data.split(split)} == set(data.task.text_labels)
    first = data.records[0]
    assert Converter(data.task).target(first, "joint") == "<空調操作>スロット抽出:機器;ヒーター:日時;三十分"
    assert all(Converter(data.task).locate(list(r.items()), r.text) == list(r.words) for r in data.records)


def test_the_documentation_shows_what_happens() -> None:
    page = (ROOT / "docs" / "your-own-data.md").read_text("utf-8")
    for line in TEN_LINES:
        assert f"\nten_faults.jsonl:{line}\n" in page
    task = load_task(INTENTS / "task.yaml")
    assert f"\n{Converter(task).prompt('ヒーター、三十分したら消して', 'joint')}\n<空調操作>スロット抽出:" in page
    row, = (json.loads(b) for b in re.findall(r"```json\n(.*?)```", page, re.S))
    assert RecordChecker(task).add(1, row)
    assert set(yaml.safe_load(*re.findall(r"```yaml\n(.*?)```", page, re.S))) == {
        "name", "title", "text_labels", "parts", "data", "licence", "attribution"}


def test_the_documented_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `giellm data` line of the page; the sheet stays empty, so its score is refused."""
    page = (ROOT / "docs" / "your-own-data.md").read_text("utf-8")
    commands = re.findall(r"^giellm data (.*)$", page, re.M)
    assert len(commands) == 4
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for command in commands[:3]:
        assert CliRunner().invoke(data_app, shlex.split(command)).exit_code == 0, command
    refused = CliRunner().invoke(data_app, shlex.split(commands[3]))
    assert isinstance(refused.exception, SourceError) and "no question is answered" in str(refused.exception)


def test_offsets_and_surfaces_say_the_same() -> None:
    surfaces = {**GOOD, "words": [
        {"kind": "entity", "label": "地名", "surface": "東京"},
        {"kind": "entity", "label": "人名", "surface": "東京"},
        {"kind": "relation", "label": "所属", "head_text": "田中", "tail_text": "東京電機"}]}
    offsets = {**GOOD, "words": [
        {"kind": "entity", "label": "地名", "span": [3, 5]}, {"kind": "entity", "label": "人名", "span": [6, 8]},
        {"kind": "relation", "label": "所属", "head": [0, 2], "tail": [6, 10], "tail_text": "東京電機"}]}
    checkers = [RecordChecker(TASK), RecordChecker(TASK)]
    assert checkers[0].add(1, surfaces) and checkers[1].add(1, offsets)
    assert checkers[0].records == checkers[1].records


SPAN, REL = {"kind": "entity", "label": "人名"}, {"kind": "relation", "label": "所属"}


@pytest.mark.parametrize(("row", "field", "message"), [
    ([], "record", "is a list, not a JSON object"),
    ({**GOOD, "text": " "}, "text", "is empty"),
    ({**GOOD, "text": "あ\ud800い", "words": []}, "text", "half a surrogate"),
    ({**GOOD, "id": None}, "id", "is null, not a string"),
    ({**GOOD, "split": "valid"}, "split", "'valid' is not one of train, dev, test"),
    ({**GOOD, "words": None}, "words", "is null, not a list; write []"),
    ({k: v for k, v in GOOD.items() if k != "words"}, "words", "is missing; write []"),
    ({**GOOD, "words": ["田中"]}, "words[0]", "is a string, not an object"),
    ({**GOOD, "words": [*GOOD["words"], GOOD["words"][0]]}, "words[2]", "stands twice"),
    ({**GOOD, "meta": 1}, "meta", "is a number, not an object"),
    (word(kind="event", label="人名", span=[0, 1]), "words[0].kind", "'event' is not one of entity, relation"),
    (word(**{**SPAN, "label": "所属"}, span=[0, 1]), "words[0].label", "'所属' is not one of 人名, 地名"),
    (word(**SPAN), "words[0]", "lacks its place"),
    (word(**SPAN, spam=[0, 1], span=[0, 1]), "words[0].spam", "unknown field"),
    (word(**SPAN, span=[0, 1.0]), "words[0].span", "[0, 1.0] is not [start, end]"),
    (word(**SPAN, span=[False, 1]), "words[0].span", "is not [start, end]"),
    (word(**SPAN, span=[3, 1]), "words[0].span", "[3, 1] is no range"),
    (word(**SPAN, span=[-2, 1]), "words[0].span", "[-2, 1] is no range"),
    (word(**SPAN, span=[0, 2], surface="東京"), "words[0].span", "reads '田中' in the text, but surface is '東京'"),
    (word(**SPAN, surface="大阪"), "words[0].surface", "'大阪' is not in the text"),
    (word(**SPAN, surface=""), "words[0].surface", "is empty"),
    ({**GOOD, "words": [{**SPAN, "surface": "田中"}, {**SPAN, "label": "地名", "surface": "田中"}]},
     "words[1].surface", "named more often than it stands"),
    (word(**REL, head=[0, 2]), "words[0]", "it needs head (or head_text) and tail (or tail_text)"),
    (word(**REL, head=[0, 2], tail_text="東京電機"), "words[0]", "give both ends the same way"),
    (word(**REL, head_text="田中", tail_text="大阪"), "words[0].tail_text", "'大阪' is not in the text"),
])
def test_each_fault_alone(row: Any, field: str, message: str) -> None:
    (line, found, said), = faults_of(row)
    assert (line, found) == (1, field) and message in said


def test_all_faults_of_one_row_are_collected() -> None:
    fields = [f for _, f, _ in faults_of({"id": 1, "text": "東京", "label": "x", "split": "y", "words": [
        {**SPAN, "span": [0, 9]}, {"kind": "no", "label": "人名", "span": [0, 1]}, {**REL, "head": [0, 1]}]})]
    assert fields == ["id", "label", "split", "words[1].kind", "words[2]", "words[0].span"]


def test_repeated_texts() -> None:
    second = {**GOOD, "id": "2"}
    assert "is the text of line 1 already" in faults_of(GOOD, second)[0][2]
    assert "stands in train already (line 1" in faults_of(GOOD, {**second, "split": "test"})[0][2]
    spaced = {**second, "text": GOOD["text"] + "　"}
    assert faults_of(GOOD, spaced) == []
    assert "equal after NFKC" in faults_of(GOOD, {**spaced, "split": "dev"})[0][2]


def test_files(tmp_path: Path) -> None:
    def read(content: bytes) -> list[tuple[int, str]]:
        (tmp_path / "d.jsonl").write_bytes(content)
        return [(f.line, f.field) for f in read_records(TASK, tmp_path / "d.jsonl")[1]]

    row = json.dumps(GOOD, ensure_ascii=False).encode()
    assert read(b"\xef\xbb\xbf" + row + b"\r\n\r\n") == []
    assert read(b"\n\n") == [(1, "file")]
    assert read(row + b"\n" + "東京".encode("cp932")) == [(2, "encoding")]
    assert read(b'{"id": "1", "id": "2"}') == [(1, "json")]
    assert read(b"[" * 100_000) == [(1, "json")]
    with pytest.raises(UserDataError, match="nothing.jsonl cannot be read"):
        read_records(TASK, tmp_path / "nothing.jsonl")


def yaml_file(folder: Path, **changes: Any) -> Path:
    keys: dict[str, Any] = {
        "name": "news", "title": "News", "text_labels": ["a", "b"],
        "parts": [{"kind": "entity", "instruction": "固有表現", "labels": ["人名"]}],
        "data": "d.jsonl", "licence": "CC0 1.0", "attribution": "me"}
    path = folder / "task.yaml"
    # JSON is YAML; one key a line, so that faults have a line.
    path.write_text("".join(f"{k}: {json.dumps(v, ensure_ascii=False)}\n"
                            for k, v in {**keys, **changes}.items() if v is not None), encoding="utf-8")
    return path


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
        load_task(yaml_file(tmp_path, **changes))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_loading_names_the_first_fault_and_the_command(tmp_path: Path) -> None:
    task = yaml_file(tmp_path)
    (tmp_path / "d.jsonl").write_text('{"id": "1"}\n', encoding="utf-8")
    with pytest.raises(UserDataError, match=r"d.jsonl:1: text: is missing \(and 3 more\).*giellm data check"):
        load_user_dataset(task)
    assert len(check(task, tmp_path / "d.jsonl")) == 4


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from((*FIELDS, "kind", "span", "head", "tail", "surface", "head_text")),
                        inner, max_size=6), max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(JSON | st.builds(lambda changes: {**GOOD, **changes}, st.dictionaries(
    st.sampled_from(FIELDS), JSON, max_size=2)), max_size=4))
def test_any_json_gives_a_record_or_a_fault(rows: list[Any]) -> None:
    checker = RecordChecker(TASK)
    for line, row in enumerate(rows, 1):
        before = len(checker.faults)
        assert checker.add(line, row) == (len(checker.faults) == before)
    assert all(r.validate(TASK) == r for r in checker.records)
