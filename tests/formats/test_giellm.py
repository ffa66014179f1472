"""The GIELLM format: exact round trip, a parse that never raises, and the rules by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st

from giellm_utils.core.answer import Answer, gold_answer, PROBLEMS
from giellm_utils.core.schema import Item, LEVELS, Part, Record, SchemaError, Span, Task, Word
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.giellm import GiellmFormat
from support.records import records_of

ENTITIES = Part("entity", "固有表現抽出", ("人名", "地名", "製品名"))
RELATIONS = Part("relation", "関係抽出", ("所属", "出身"), "relation")
EVENTS = Part("event", "イベント抽出", ("就任",))
SCNM = Task("scnm", "", ("社会", "文芸"), (ENTITIES,))
TCREE = Task("tcree", "", ("経歴", "事件"), (RELATIONS, EVENTS))
#: Instruction Words whose beginnings repeat, so that a border could be read too early.
REPEATS = Task("repeats", "", ("p",), (Part("k", "aab", ("x",)), Part("j", "cd", ("y", "z"), "relation")))
FORMATS = [GiellmFormat(task, marks, words_first=turned) for task in (SCNM, TCREE, REPEATS)
           for marks, turned in (("<>", False), ("‹>", False), ("||", False), ("<>", True), ("||", True))]
WORDS = [part.instruction for f in FORMATS[::5] for part in f.task.parts]

#: Pieces that try the borders: marks, Instruction Words, their beginnings and ends, whole items.
PIECES = [*"\\:;<>‹›|\n\r\0 \"'", "\\\\", ":無い;", "無い", "人名", "<社会>", ":人名;", "田中",
          "😀", "👩‍👩‍👧", "が", "か\u3099", "ﾊﾞ", "\u202e",
          *WORDS, *(w[:n] for w in WORDS for n in range(1, len(w))), *(w[1:] for w in WORDS)]
pieces = st.sampled_from(PIECES) | st.text(max_size=4)
texts = st.lists(pieces, min_size=1, max_size=8).map("".join).filter(bool)
many = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


def records() -> st.SearchStrategy[tuple[GiellmFormat, Record]]:
    return st.sampled_from(FORMATS).flatmap(
        lambda fmt: st.tuples(st.just(fmt), records_of(fmt.task, texts)))


def written(fmt: GiellmFormat, answer: Answer, level: str) -> str:
    """What the format writes for an answer."""
    levels = ["" if level == "words" else fmt.mark(answer.label),
              "" if level == "text" else fmt.words(answer.items)]
    return "".join(reversed(levels) if fmt.words_first else levels)


@many
@given(records(), st.sampled_from(LEVELS))
def test_round_trip_is_exact(drawn, level):
    fmt, record = drawn
    target = fmt.target(record, level)
    answer = fmt.parse(target, level, record.text)
    assert answer == Answer(None if level == "words" else record.label,
                            () if level == "text" else tuple(record.items()), (), target)
    assert target == written(fmt, answer, level)
    if level == "joint":
        border = fmt.border(record)
        parts = fmt.target(record, "text"), fmt.target(record, "words")
        assert (target[:border], target[border:]) == (parts[::-1] if fmt.words_first else parts)


@many
@given(records(), st.sampled_from(LEVELS))
def test_places_are_those_of_the_label_and_the_items(drawn, level):
    fmt, record = drawn
    target = fmt.target(record, level)
    places = fmt.places(target, level)
    answer = fmt.parse(target, level)
    assert (places.label and target[slice(*places.label)]) == (
        None if level == "words" else fmt.mark(record.label))
    said = [target[a:b] for a, b in places.items]
    assert len(said) == len(answer.items) and all(piece[0] == ":" for piece in said)
    for piece, item in zip(said, answer.items, strict=True):
        assert fmt.task.part(item.kind).instruction + piece in fmt.words([item])
    pairs = zip(places.items, places.items[1:], answer.items, answer.items[1:], strict=False)
    assert all(b == c for (_, b), (c, _), one, other in pairs if one.kind == other.kind)


def test_places_by_hand_and_of_a_faulty_output():
    fmt = GiellmFormat(TCREE)
    output = "<経歴>関係抽出:無い;イベント抽出:就任;就\\:任"
    assert fmt.places(output) == ((0, 4), ((18, 26),)) and output[18:26] == ":就任;就\\:任"
    with pytest.raises(FormatError, match="no_text_label"):
        fmt.places("経歴")


def check_total(fmt: GiellmFormat, output: str, level: str, text: str) -> None:
    """Parsing never raises, names known problems, and calls clean only what the format writes."""
    answer = fmt.parse(output, level, text)
    assert {p.name for p in answer.problems} <= set(PROBLEMS) and not answer.truncated
    assert all(item.surfaces and all(item.surfaces) for item in answer.items)
    assert answer.raw == output
    if answer.well_formed:
        assert output == written(fmt, answer, level)


@many
@given(st.sampled_from(FORMATS), texts | st.text(), st.sampled_from(LEVELS), texts)
def test_parse_is_total_on_random_strings(fmt, output, level, text):
    check_total(fmt, output, level, text)


@many
@given(records(), st.sampled_from(LEVELS), st.data())
def test_parse_is_total_on_mutated_targets(drawn, level, data):
    fmt, record = drawn
    output = fmt.target(record, level)
    for _ in range(data.draw(st.integers(1, 3))):
        i, j = sorted(data.draw(st.tuples(*[st.integers(0, len(output))] * 2)))
        j = min(j, i + 3)
        output = output[:i] + data.draw(st.sampled_from(["", output[i:j] * 2, *PIECES])) + output[j:]
    check_total(fmt, output, level, record.text)


@many
@given(st.sampled_from(FORMATS), texts, st.data())
def test_pieces_join_to_the_escape_of_a_substring_unless_its_end_cuts_an_instruction_word(
        fmt, text, data):
    pieces = fmt.escaped_pieces(text)
    assert len(pieces) == len(text) and "".join(pieces) == fmt.escape(text)
    i, j = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    cut = any(fmt.instruction_at(text, k) and k < j < k + len(fmt.instruction_at(text, k))
              for k in range(i, j))
    assert ("".join(pieces[i:j]) == fmt.escape(text[i:j])) == (not cut)


# -- by hand -------------------------------------------------------------------------------------

C = GiellmFormat(SCNM)
T = GiellmFormat(TCREE)


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
    assert GiellmFormat(SCNM, "‹>").target(record, "joint") == "‹社会>固有表現抽出:人名;SPRiNGS"


def test_relations_events_and_nothing():
    record = Record("r", "tcree", "田中は日本銀行の総裁に就任した。", "経歴", (
        Word("relation", "所属", Span(0, 2), Span(3, 7)), *spans(("就任", 11, 13), kind="event")))
    assert T.prompt("x", "joint") == "x<経歴><事件>関係抽出イベント抽出"
    assert T.target(record, "joint") == "<経歴>関係抽出:田中;所属;日本銀行イベント抽出:就任;就任"
    empty = Record("r", "tcree", "x", "事件")
    assert T.target(empty, "joint") == "<事件>関係抽出:無い;イベント抽出:無い;"


def test_a_level_given_stands_behind_the_text_as_in_a_target():
    record = Record("r", "scnm", "AはB。", "文芸", spans(("人名", 0, 1)))
    given = gold_answer(record)
    assert C.prompt_given(record.text, "words", given) == "AはB。<文芸>固有表現抽出"
    assert C.prompt_given(record.text, "text", given) == "AはB。固有表現抽出:人名;A<社会><文芸>"
    nothing = Answer(None)
    assert C.prompt_given("x", "words", nothing) == "x<>固有表現抽出"
    assert C.prompt_given("x", "text", nothing) == "x固有表現抽出:無い;<社会><文芸>"
    with pytest.raises(FormatError, match="asks for both levels, so none can be given"):
        C.prompt_given("x", "joint", given)


def test_the_text_twice_changes_prompts_alone():
    fmt, record = GiellmFormat(SCNM, twice=True), Record("r", "scnm", "A。", "文芸", spans(("人名", 0, 1)))
    assert [fmt.prompt(record.text, level) for level in ("joint", "text", "words")] == [
        "A。<社会><文芸>A。固有表現抽出", "A。<社会><文芸>A。", "A。A。固有表現抽出"]
    for level in LEVELS:
        assert fmt.target(record, level) == C.target(record, level)
        assert fmt.grammar(level, record.text, 2) == C.grammar(level, record.text, 2)
    assert fmt.name == "giellm-twice"
    with pytest.raises(FormatError, match="giellm-twice has no prompt that gives a level"):
        fmt.prompt_given(record.text, "words", Answer("文芸"))


def test_words_first_turns_the_levels_of_a_joint_target_alone():
    fmt = GiellmFormat(SCNM, words_first=True)
    record = Record("r", "scnm", "AはB<社会>。", "文芸", spans(("人名", 0, 1), ("地名", 2, 7)))
    for level in LEVELS:
        assert fmt.prompt(record.text, level) == C.prompt(record.text, level)
        assert level == "joint" or fmt.target(record, level) == C.target(record, level)
    target = "固有表現抽出:人名;A:地名;B<社会><文芸>"
    assert (fmt.target(record), fmt.name) == (target, "giellm-words-first")
    assert fmt.parse(target, "joint", record.text).items == tuple(record.items())
    assert fmt.places(target) == ((20, 24), ((6, 11), (11, 20))) and fmt.border(record) == 20
    assert fmt.target(Record("r", "scnm", "A", "社会")) == "固有表現抽出:無い;<社会>"
    for output, *names in [("固有表現抽出:無い;", "no_text_label"), ("<社会>", "missing_instruction"),
                           ("固有表現抽出:無い;<学問>", "unknown_text_label"),
                           ("<社会>固有表現抽出:無い;", "no_text_label", "unexpected_text")]:
        assert [p.name for p in fmt.parse(output).problems] == names, output


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
    answer = C.parse(output, level, "田中")
    assert [p.name for p in answer.problems] == names
    assert all(p.detail or p.name == "no_text_label" for p in answer.problems)
    assert answer.well_formed == (names == ["not_in_text"])


def test_sections_out_of_order_are_read_and_reported():
    answer = T.parse("<経歴>イベント抽出:就任;就任関係抽出:無い;", "joint")
    assert [p.name for p in answer.problems] == ["missing_instruction"]
    assert answer.items == (Item("event", "就任", ("就任",)),)


def test_what_can_be_read_is_kept():
    answer = C.parse("<学問>固有表現抽出:人名;田中:地名:人名;鈴木", "joint", "田中")
    assert answer.label is None and answer.raw.endswith(":人名;鈴木")
    assert [i.surfaces for i in answer.items] == [("田中",), ("鈴木",)]


def test_words_refuses_an_unknown_kind():
    with pytest.raises(SchemaError, match="no part 'event'"):
        C.words([Item("event", "就任", ("就任",))])


@pytest.mark.parametrize("marks, message", [
    ("<", "two characters"), ("<:", "two characters"), ("社>", "stand in text label '社会'")])
def test_marks_that_would_be_ambiguous_are_refused(marks, message):
    with pytest.raises(FormatError, match=message):
        GiellmFormat(SCNM, marks)


def test_a_format_knows_its_registered_name():
    assert [GiellmFormat(SCNM, m).name for m in ("<>", "‹>")] == ["giellm", "giellm-card"]
    assert GiellmFormat(SCNM, "||").name not in ("giellm", "giellm-card")


def test_fixed_strings_are_what_a_decoding_vocabulary_was_always_made_of():
    task = Task("t", "", ("社会",), (Part("e", "抽出", ("人名",)), Part("r", "関係", ("所属",), "relation")))
    assert GiellmFormat(task, "‹>").fixed_strings() == [
        "‹社会>", ":無い;", ":;\\", "\\:\\;\\\\",
        "抽出", "抽出:無い;", ">抽出:", ":人名;", ";人名;",
        "関係", "関係:無い;", ">関係:", ":所属;", ";所属;"]
