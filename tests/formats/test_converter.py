"""converter: exact round trip, a parse that never raises, and the rules of DESIGN.md by hand."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from giellm_utils.formats.giellm import PROBLEMS, Converter, Parsed
from giellm_utils.core.schema import LEVELS, Item, Part, Record, SchemaError, Span, Task, Word

ENTITIES = Part("entity", "固有表現抽出", ("人名", "地名", "製品名"))
RELATIONS = Part("relation", "関係抽出", ("所属", "出身"), "relation")
EVENTS = Part("event", "イベント抽出", ("就任",))
SCNM = Task("scnm", "", ("社会", "文芸"), (ENTITIES,))
TCREE = Task("tcree", "", ("経歴", "事件"), (RELATIONS, EVENTS))
#: Instruction Words whose beginnings repeat, so that a border could be read too early.
REPEATS = Task("repeats", "", ("p",), (Part("k", "aab", ("x",)), Part("j", "cd", ("y", "z"), "relation")))
CONVERTERS = [Converter(task, marks) for task in (SCNM, TCREE, REPEATS) for marks in ("<>", "‹>", "||")]
WORDS = [part.instruction for c in CONVERTERS[::3] for part in c.task.parts]

#: Pieces that try the borders: marks, Instruction Words, their beginnings and ends, whole items.
PIECES = [*"\\:;<>‹›|\n\r\0 \"'", "\\\\", ":無い;", "無い", "人名", "<社会>", ":人名;", "田中",
          "😀", "👩‍👩‍👧", "が", "か\u3099", "ﾊﾞ", "\u202e",
          *WORDS, *(w[:n] for w in WORDS for n in range(1, len(w))), *(w[1:] for w in WORDS)]
pieces = st.sampled_from(PIECES) | st.text(max_size=4)
texts = st.lists(pieces, min_size=1, max_size=8).map("".join).filter(bool)
many = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def records(draw) -> tuple[Converter, Record]:
    converter, text = draw(st.sampled_from(CONVERTERS)), draw(texts)
    points = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
    spans = points.filter(lambda p: p[0] != p[1]).map(lambda p: Span(min(p), max(p)))
    words = set()
    for part in converter.task.parts:
        for _ in range(draw(st.integers(0, 3))):
            tail = draw(spans) if part.shape == "relation" else None
            words.add(Word(part.kind, draw(st.sampled_from(part.labels)), draw(spans), tail))
    task = converter.task
    return converter, Record("r", task.name, text, draw(st.sampled_from(task.text_labels)),
                             tuple(words)).validate(task)


@many
@given(records(), st.sampled_from(LEVELS))
def test_round_trip_is_exact(drawn, level):
    converter, record = drawn
    target = converter.target(record, level)
    parsed = converter.parse(target, level, record.text)
    assert parsed.problems == () and parsed.well_formed
    assert parsed.label == (None if level == "words" else record.label)
    assert parsed.items == (() if level == "text" else tuple(record.items()))
    assert parsed.words_raw == ("" if level == "text" else converter.words(record.items()))
    assert target == ("" if level == "words" else converter.mark(record.label)) + parsed.words_raw
    located = converter.locate(parsed.items, record.text)
    assert all(w is not None for w in located)
    assert [tuple(s.of(record.text) for s in w.spans) for w in located] == [i.surfaces for i in parsed.items]


def check_total(converter: Converter, output: str, level: str, text: str) -> None:
    """Parsing never raises, names known problems, and calls clean only what the converter writes."""
    parsed = converter.parse(output, level, text)
    assert isinstance(parsed, Parsed) and {p.name for p in parsed.problems} <= set(PROBLEMS)
    assert all(item.surfaces and all(item.surfaces) for item in parsed.items)
    assert output.endswith(parsed.words_raw)
    converter.locate(parsed.items, text)
    if parsed.well_formed:
        head = "" if level == "words" else converter.mark(parsed.label)
        assert output == head + ("" if level == "text" else converter.words(parsed.items))


@many
@given(st.sampled_from(CONVERTERS), texts | st.text(), st.sampled_from(LEVELS), texts)
def test_parse_is_total_on_random_strings(converter, output, level, text):
    check_total(converter, output, level, text)


@many
@given(records(), st.sampled_from(LEVELS), st.data())
def test_parse_is_total_on_mutated_targets(drawn, level, data):
    converter, record = drawn
    output = converter.target(record, level)
    for _ in range(data.draw(st.integers(1, 3))):
        i, j = sorted(data.draw(st.tuples(*[st.integers(0, len(output))] * 2)))
        j = min(j, i + 3)
        output = output[:i] + data.draw(st.sampled_from(["", output[i:j] * 2, *PIECES])) + output[j:]
    check_total(converter, output, level, record.text)


@many
@given(st.sampled_from(CONVERTERS), texts, st.data())
def test_pieces_join_to_the_escape_of_a_substring_unless_its_end_cuts_an_instruction_word(
        converter, text, data):
    pieces = converter.escaped_pieces(text)
    assert len(pieces) == len(text) and "".join(pieces) == converter.escape(text)
    i, j = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    cut = any(converter.instruction_at(text, k) and k < j < k + len(converter.instruction_at(text, k))
              for k in range(i, j))
    assert ("".join(pieces[i:j]) == converter.escape(text[i:j])) == (not cut)


# -- by hand -------------------------------------------------------------------------------------

C = Converter(SCNM)
T = Converter(TCREE)


def spans(*words: tuple[str, int, int], kind: str = "entity") -> tuple[Word, ...]:
    return tuple(Word(kind, label, Span(start, end)) for label, start, end in words)


def test_published_scnm_format():
    text = "SPRiNGSと最も仲の良いライバルグループ。"
    record = Record("r", "scnm", text, "社会", spans(("人名", 0, 7)))
    assert C.prompt(text, "joint") == text + "<社会><文芸>固有表現抽出"
    assert C.target(record, "joint") == "<社会>固有表現抽出:人名;SPRiNGS"
    assert (C.prompt(text, "text"), C.target(record, "text")) == (text + "<社会><文芸>", "<社会>")
    assert (C.prompt(text, "words"), C.target(record, "words")) == (
        text + "固有表現抽出", "固有表現抽出:人名;SPRiNGS")
    assert Converter(SCNM, "‹>").target(record, "joint") == "‹社会>固有表現抽出:人名;SPRiNGS"


def test_relations_events_and_nothing():
    record = Record("r", "tcree", "田中は日本銀行の総裁に就任した。", "経歴",
                    (Word("relation", "所属", Span(0, 2), Span(3, 7)), *spans(("就任", 11, 13), kind="event")))
    assert T.prompt("x", "joint") == "x<経歴><事件>関係抽出イベント抽出"
    assert T.target(record, "joint") == "<経歴>関係抽出:田中;所属;日本銀行イベント抽出:就任;就任"
    empty = Record("r", "tcree", "x", "事件")
    assert T.target(empty, "joint") == "<事件>関係抽出:無い;イベント抽出:無い;"


def test_escape_is_the_rule_of_the_design():
    assert C.escape(r"a\b:c;d<e>|") == r"a\\b\:c\;d<e>|"
    assert C.escape("固有表現抽出と固有表現") == r"\固有表現抽出と固有表現"
    assert C.escape("関係抽出") == "関係抽出", "only the task's own Instruction Words are escaped"
    assert C.prompt(r"a:\;", "words") == r"a:\;固有表現抽出"


@pytest.mark.parametrize("output, level, names", [
    ("固有表現抽出:無い;", "joint", ["no_text_label"]),
    ("", "text", ["no_text_label"]),
    ("<学問>固有表現抽出:無い;", "joint", ["unknown_text_label"]),
    ("<社会>", "joint", ["missing_instruction"]),
    ("<社会>固有表現抽出:無い;", "text", ["unexpected_text"]),
    ("<社会>ああ固有表現抽出:無い;", "joint", ["unexpected_text"]),
    ("固有表現抽出:無い;固有表現抽出:無い;", "words", ["unexpected_text"]),
    ("固有表現抽出", "words", ["bad_item"]),
    ("固有表現抽出人名;田中", "words", ["bad_item"]),
    ("固有表現抽出:人名", "words", ["bad_item"]),
    ("固有表現抽出:人名;田;中", "words", ["bad_item"]),
    ("固有表現抽出:神名;田中", "words", ["unknown_word_label"]),
    ("固有表現抽出:人名;", "words", ["empty_span"]),
    (r"固有表現抽出:人名;\田中", "words", ["bad_escape"]),
    ("固有表現抽出:人名;田中\\", "words", ["bad_escape"]),
    ("固有表現抽出:無い;:人名;田中", "words", ["none_with_items"]),
    ("固有表現抽出:人名;鈴木", "words", ["not_in_text"]),
])
def test_each_problem_by_name(output, level, names):
    parsed = C.parse(output, level, "田中")
    assert [p.name for p in parsed.problems] == names
    assert all(p.detail or p.name == "no_text_label" for p in parsed.problems)
    assert parsed.well_formed == (names == ["not_in_text"])


def test_sections_out_of_order_are_read_and_reported():
    parsed = T.parse("<経歴>イベント抽出:就任;就任関係抽出:無い;", "joint")
    assert [p.name for p in parsed.problems] == ["missing_instruction"]
    assert parsed.items == (Item("event", "就任", ("就任",)),)


def test_what_can_be_read_is_kept():
    parsed = C.parse("<学問>固有表現抽出:人名;田中:地名:人名;鈴木", "joint", "田中")
    assert parsed.label is None and parsed.words_raw == "固有表現抽出:人名;田中:地名:人名;鈴木"
    assert [i.surfaces for i in parsed.items] == [("田中",), ("鈴木",)]


def test_words_refuses_an_unknown_kind():
    with pytest.raises(SchemaError, match="no part 'event'"):
        C.words([Item("event", "就任", ("就任",))])


@pytest.mark.parametrize("marks, message", [
    ("<", "two characters"), ("<:", "two characters"), ("社>", "stand in text label '社会'")])
def test_marks_that_would_be_ambiguous_are_refused(marks, message):
    with pytest.raises(ValueError, match=message):
        Converter(SCNM, marks)


def located(text: str, *surfaces: str, labels: str = "人名") -> list[tuple[int, int] | None]:
    words = C.locate([Item("entity", labels, (s,)) for s in surfaces], text)
    return [(w.span.start, w.span.end) if w else None for w in words]


def test_the_kth_item_stands_for_the_kth_occurrence():
    assert located("東京と東京と東京", "東京", "東京") == [(0, 2), (3, 5)]
    assert located("東京と京", "京", "東京", "京") == [(1, 2), (0, 2), (3, 4)]
    assert located("東京と東京", "東京", "東京", "東京") == [(0, 2), (3, 5), (3, 5)], "too many: the last"
    assert located("あああ", "ああ", "ああ") == [(0, 2), (0, 2)], "occurrences do not overlap"
    assert located("東京", "大阪", "", "東京") == [None, None, (0, 2)]


def test_parts_count_their_occurrences_apart():
    items = [Item("event", "就任", ("就任",)), Item("entity", "人名", ("就任",))]
    assert [w.span.start for w in C.locate(items, "就任と就任")] == [0, 0]


def test_a_relation_takes_the_first_head_and_the_nearest_tail():
    def relation(text: str, head: str, tail: str):
        word, = T.locate([Item("relation", "所属", (head, tail))], text)
        return word and [(s.start, s.end) for s in word.spans]

    assert relation("日銀。田中は日銀の田中", "田中", "日銀") == [(3, 5), (0, 2)]
    assert relation("日銀とはいう田中は日銀の田中", "田中", "日銀") == [(6, 8), (9, 11)]
    assert relation("社は社の社", "社", "社") == [(0, 1), (2, 3)], "another occurrence than the head"
    assert relation("田中", "田中", "日銀") is None and relation("田中", "", "田中") is None
