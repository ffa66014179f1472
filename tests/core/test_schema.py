"""schema: every rule raises one sentence that names the field and the value."""

from __future__ import annotations

import pytest

from giellm_utils.core.schema import Item, Part, Record, SchemaError, Span, Task, Word

ENTITIES = Part("entity", "固有表現抽出", ("人名", "地名"))
RELATIONS = Part("relation", "関係抽出", ("所属",), "relation")
TASK = Task("toy", "a toy", ("社会", "文芸"), (ENTITIES, RELATIONS))
TEXT = "田中は日本銀行の田中だ。"


def entity(start: int, end: int, label: str = "人名") -> Word:
    return Word("entity", label, Span(start, end))


def relation(head: tuple[int, int], tail: tuple[int, int], label: str = "所属") -> Word:
    return Word("relation", label, Span(*head), Span(*tail))


def record(*words: Word, **changes) -> Record:
    return Record(**{"id": "r1", "task": "toy", "text": TEXT, "label": "社会", "words": words, **changes})


@pytest.mark.parametrize("start, end", [(2, 2), (3, 1), (-1, 2)])
def test_empty_or_negative_span_is_refused(start, end):
    with pytest.raises(SchemaError, match="empty or negative"):
        Span(start, end)


def test_span_counts_code_points():
    assert Span(1, 2).of("a😀b") == "😀"


def test_validate_sorts_by_part_then_start_end_label():
    words = (relation((8, 10), (3, 7)), relation((0, 2), (3, 7)), entity(8, 10), entity(0, 2, "地名"),
             entity(0, 2, "人名"), entity(0, 1))
    assert record(*words).validate(TASK).words == (
        entity(0, 1), entity(0, 2, "人名"), entity(0, 2, "地名"), entity(8, 10),
        relation((0, 2), (3, 7)), relation((8, 10), (3, 7)))


def test_relations_are_ordered_by_head_tail_then_relation():
    task = Task("toy", "", ("社会",), (Part("relation", "関係抽出", ("b", "a"), "relation"),))
    words = (relation((0, 2), (3, 7), "b"), relation((0, 9), (3, 5), "a"), relation((0, 2), (1, 2), "b"))
    assert [(w.label, w.tail.start) for w in record(*words).validate(task).words] == [
        ("b", 1), ("a", 3), ("b", 3)]


@pytest.mark.parametrize("broken, message", [
    (record(label="学問"), "record r1: label '学問' is not one of 社会, 文芸"),
    (record(text=""), "record r1: text is empty"),
    (record(task="other"), "record r1: task is 'other', not 'toy'"),
    (record(entity(0, 2), entity(0, 2)), "stands twice"),
    (record(entity(0, 2, "所属")), "word label '所属' is not one of 人名, 地名"),
    (record(entity(10, 99)), r"ends after the text \(12 characters\)"),
    (record(relation((0, 2), (10, 99))), "ends after the text"),
    (record(Word("entity", "人名", Span(0, 1), Span(1, 2))), "does not have the shape 'span'"),
    (record(Word("relation", "所属", Span(0, 1))), "does not have the shape 'relation'"),
    (record(Word("event", "人名", Span(0, 1))),
     "record r1: word kind 'event' is not one of entity, relation"),
])
def test_a_broken_record_is_named(broken, message):
    with pytest.raises(SchemaError, match=message):
        broken.validate(TASK)


def test_json_round_trip_keeps_everything():
    before = record(entity(0, 2), relation((0, 2), (3, 7)), split="dev", meta={"source": "x"})
    after = Record.from_json(before.to_json())
    assert after == before and after.meta == before.meta


def test_items_are_surfaces():
    assert list(record(entity(0, 2), relation((0, 2), (3, 7))).items()) == [
        Item("entity", "人名", ("田中",)), Item("relation", "所属", ("田中", "日本銀行"))]


def part(word: str, kind: str = "k", labels: tuple[str, ...] = ("x",)) -> Part:
    return Part(kind, word, labels)


@pytest.mark.parametrize("labels, parts, none, message", [
    (("社:会",), (ENTITIES,), "無い", "label '社:会' is empty or holds one of"),
    (("",), (ENTITIES,), "無い", "label '' is empty"),
    (("社会",), (part("抽<出"),), "無い", "Instruction Word '抽<出'"),
    (("社会",), (ENTITIES,), "無;い", "word for nothing to extract '無;い'"),
    (("社会",), (ENTITIES,), "無い固有表現抽出", "holds an Instruction Word"),
    (("固有表現抽出後",), (ENTITIES,), "無い", "holds an Instruction Word"),
    (("社会",), (part("抽出", labels=("無い",)),), "無い", "is its word for nothing"),
    (("社会", "社会"), (ENTITIES,), "無い", "holds a duplicate"),
    (("社会",), (), "無い", "is empty"),
    (("社会",), (part("抽出"), part("別", "k")), "無い", "holds a duplicate"),
    (("社会",), (part("抽出"), part("抽出", "j")), "無い", "duplicate"),
    (("社会",), (part("関係抽"), part("抽出", "j")), "無い", "overlap"),
    (("社会",), (part("関係抽出"), part("係抽", "j")), "無い", "overlap"),
    (("社会",), (part("aba"),), "無い", "overlap"),
])
def test_a_task_whose_targets_would_be_ambiguous_is_refused(labels, parts, none, message):
    with pytest.raises(SchemaError, match=message):
        Task("t", "", labels, parts, none)


def test_part_by_kind():
    assert TASK.part("relation") is RELATIONS
    with pytest.raises(SchemaError, match=r"task toy has no part 'event'; it has \['entity', 'relation'\]"):
        TASK.part("event")
