"""checker: every fault of a row and of a file is found with its line and field, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.core.schema import Part, Task
from giellm_utils.data.checker import FIELDS, read_records, RecordChecker, UserDataError

TASK = Task("news", "News", ("政治", "経済"), (
    Part("entity", "固有表現", ("人名", "地名")), Part("relation", "関係", ("所属",), shape="relation")))
GOOD: dict[str, Any] = {
    "id": "1", "text": "田中は東京の東京電機の社長", "label": "経済", "split": "train", "words": [
    {"kind": "entity", "label": "人名", "span": [0, 2]},
    {"kind": "relation", "label": "所属", "head": [0, 2], "tail": [6, 10]}]}

def faults_of(*rows: Any) -> list[tuple[int, str, str]]:
    checker = RecordChecker(TASK)
    for line, row in enumerate(rows, 1):
        checker.add(line, row)
    return [(f.line, f.field, f.message) for f in checker.faults]


def word(**keys: Any) -> dict[str, Any]:
    return {**GOOD, "words": [keys]}


def test_offsets_and_surfaces_say_the_same() -> None:
    surfaces = {**GOOD, "words": [
        {"kind": "entity", "label": "地名", "surface": "東京"},
        {"kind": "entity", "label": "人名", "surface": "東京"},
        {"kind": "relation", "label": "所属", "head_text": "田中", "tail_text": "東京電機"}]}
    offsets = {**GOOD, "words": [
        {"kind": "entity", "label": "地名", "span": [3, 5]},
        {"kind": "entity", "label": "人名", "span": [6, 8]},
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
    (word(kind="event", label="人名", span=[0, 1]), "words[0].kind",
     "'event' is not one of entity, relation"),
    (word(**{**SPAN, "label": "所属"}, span=[0, 1]), "words[0].label", "'所属' is not one of 人名, 地名"),
    (word(**SPAN), "words[0]", "lacks its place"),
    (word(**SPAN, spam=[0, 1], span=[0, 1]), "words[0].spam", "unknown field"),
    (word(**SPAN, span=[0, 1.0]), "words[0].span", "[0, 1.0] is not [start, end]"),
    (word(**SPAN, span=[False, 1]), "words[0].span", "is not [start, end]"),
    (word(**SPAN, span=[3, 1]), "words[0].span", "[3, 1] is no range"),
    (word(**SPAN, span=[-2, 1]), "words[0].span", "[-2, 1] is no range"),
    (word(**SPAN, span=[0, 2], surface="東京"), "words[0].span",
     "reads '田中' in the text, but surface is '東京'"),
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
