"""The published two-way formats: their strings as printed, what they read back, what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from giellm_utils.core.answer import Answer, PROBLEMS
from giellm_utils.core.schema import Item, LEVELS, Part, Record, Span, Task, Word
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.sets import scnm, scpos, tcree
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.config import FormatConfig
from giellm_utils.formats.registry import FORMATS, make_format
from support.records import records_of

SCPOS = {task.name: task for task in scpos.TASKS}
PUBLISHED = ("slg", "usa", "oiellm")
TASKS = [scnm.TASK, *scpos.TASKS, tcree.TASK]
#: (format, task) pairs that are defined.
DEFINED = [(name, task) for name in PUBLISHED for task in TASKS if name == "oiellm" or task is not tcree.TASK]


def entity_record(text: str, label: str, *words: tuple[str, str]) -> Record:
    spans = [(kind, text.index(s), len(s)) for kind, s in words]
    return Record("r", "scnm", text, label, tuple(
        Word("entity", kind, Span(at, at + n)) for kind, at, n in spans)).validate(scnm.TASK)


PLAIN = entity_record("佐藤と鈴木は京都にいる。", "社会",
                      ("人名", "佐藤"), ("人名", "鈴木"), ("地名", "京都"))
NOTHING = entity_record("雨が降る。", "自然")
TYPES = ":人名;:法人名;:政治的組織名;:その他の組織名;:地名;:施設名;:製品名;:イベント名;"
OPTIONS = "<社会><文芸><学問><技術><自然>"
WORDS = ":人名;佐藤:人名;鈴木:地名;京都"


@pytest.mark.parametrize("name, prompt, target, nothing", [
    ("slg", f"{PLAIN.text}{OPTIONS}{PLAIN.text}固有表現抽出{TYPES}:無い;", f"<社会>固有表現抽出{WORDS}",
     "<自然>固有表現抽出:無い;"),
    ("usa", f"{PLAIN.text}{OPTIONS}{PLAIN.text}固有表現抽出{TYPES}", f"<社会>固有表現抽出{WORDS}",
     "<自然>固有表現抽出:無い;"),
    ("oiellm", f"{PLAIN.text}/NER", f"社会/NER/{WORDS}", "自然/NER/:無い;")])
def test_scnm_word_for_word(name, prompt, target, nothing):
    fmt = make_format(name, scnm.TASK)
    assert (fmt.prompt(PLAIN.text), fmt.target(PLAIN), fmt.target(NOTHING)) == (prompt, target, nothing)
    assert fmt.parse(target, text=PLAIN.text) == Answer("社会", tuple(PLAIN.items()), (), target)
    assert fmt.parse(nothing) == Answer("自然", (), (), nothing)


def test_usa_is_the_model_card_on_its_own_task():
    record = Record("r", "scpos-n", "キスした", "積極", (Word("sentiment", "中立", Span(0, 2)),))
    fmt = make_format("usa", SCPOS["scpos-n"])
    assert fmt.prompt("キスした") == "キスした<積極><消極>キスしたPOS:ポジティブ;:中立;:ネガティブ;"
    assert fmt.target(record) == "<積極>POS:中立;キス"
    assert make_format("usa", SCPOS["scpos-rw"]).prompt("x").endswith("POS:ポジティブ;:ネガティブ;")


@pytest.mark.parametrize("name, words", [
    ("scnm", "/NER"), ("scpos-rw", "/Sentiment Relation Word"), ("scpos-n", "/Sentiment N"),
    ("scpos-adj", "/Sentiment Adj"), ("scpos-n-adj", "/Sentiment Adj and N"),
    ("tcree", "/Relation Extraction/Event Extraction")])
def test_oiellm_has_the_published_task_words(name, words):
    task = next(t for t in TASKS if t.name == name)
    assert make_format("oiellm", task).prompt("x") == f"x{words}"


def test_oiellm_writes_relations_between_colons():
    record = Record("r", "tcree", "田中は日銀の総裁に就任した", "経歴", (
        Word("relation", "所属", Span(0, 2), Span(3, 5)), Word("relation", "役職", Span(0, 2), Span(6, 8)),
        Word("event", "就任", Span(9, 11)))).validate(tcree.TASK)
    fmt = make_format("oiellm", tcree.TASK)
    target = "経歴/Relation Extraction/:田中;所属;日銀:田中;役職;総裁:/Event Extraction/:就任;就任"
    assert fmt.target(record) == target
    assert fmt.parse(target, text=record.text) == Answer("経歴", tuple(record.items()), (), target)
    assert fmt.target(Record("r", "tcree", "x", "経歴")) == (
        "経歴/Relation Extraction/:無い;/Event Extraction/:無い;")


# Texts without the marks that these formats do not escape.
characters = st.characters(exclude_characters=":;/", exclude_categories=["Cs"])
plain_texts = st.text(characters, min_size=1, max_size=12)
many = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(st.sampled_from(DEFINED).flatmap(
    lambda pair: st.tuples(st.just(make_format(*pair)), records_of(pair[1], plain_texts | st.sampled_from(
        ["無い無い", "POS固有表現抽出", "<積極>>", "NER NER", "社会<社会>"])))))
def test_what_is_written_is_read_back(drawn):
    fmt, record = drawn
    target = fmt.target(record)
    assert fmt.parse(target, text=record.text) == Answer(record.label, tuple(record.items()), (), target)
    assert record.text in fmt.prompt(record.text)


@many
@given(st.sampled_from(DEFINED), st.lists(st.sampled_from(
    [*":;/<>", "<社会>", "社会", "/NER/", "固有表現抽出", ":人名;佐藤", ":無い;", "人名", "POS", "積極",
     "/Relation Extraction/", "/Event Extraction/", ":田中;所属;日銀:", "就任"])
    | st.text(max_size=3)).map("".join))
def test_any_string_gives_an_answer_with_named_problems(pair, output):
    answer = make_format(*pair).parse(output, text="佐藤")
    assert {p.name for p in answer.problems} <= set(PROBLEMS)
    assert all(item.surfaces and all(item.surfaces) for item in answer.items) and answer.raw == output
    assert answer.label is not None or not answer.well_formed


@pytest.mark.parametrize("name, output, problems, surfaces", [
    ("slg", "固有表現抽出:人名;佐藤", ["no_text_label"], ["佐藤"]),
    ("slg", "<政治>固有表現抽出:人名;佐藤", ["unknown_text_label"], ["佐藤"]),
    ("slg", "<社会>", ["missing_instruction"], []),
    ("slg", "<社会>はい固有表現抽出:無い;", ["unexpected_text"], []),
    ("slg", "<社会>固有表現抽出:人名:地名;京都", ["bad_item"], ["京都"]),
    ("slg", "<社会>固有表現抽出:神名;佐藤", ["unknown_word_label"], ["佐藤"]),
    ("slg", "<社会>固有表現抽出:人名;", ["empty_span"], []),
    ("slg", "<社会>固有表現抽出:無い;:人名;佐藤", ["none_with_items"], ["佐藤"]),
    ("slg", "<社会>固有表現抽出:人名;山田", ["not_in_text"], ["山田"]),
    ("slg", "<社会>固有表現抽出:製品名;佐;藤", ["not_in_text"], ["佐;藤"]),
    ("oiellm", "/NER/:無い;", ["no_text_label"], []),
    ("oiellm", "社会", ["missing_instruction"], []),
    ("oiellm", "社会/NER/:人名;佐藤:", ["bad_item"], ["佐藤"])])
def test_each_problem_by_name(name, output, problems, surfaces):
    answer = make_format(name, scnm.TASK).parse(output, text=PLAIN.text)
    assert [p.name for p in answer.problems] == problems
    assert [i.surfaces[0] for i in answer.items] == surfaces


def test_oiellm_sections_are_told_apart_and_an_open_list_is_a_fault():
    fmt = make_format("oiellm", tcree.TASK)
    answer = fmt.parse("経歴/Relation Extraction/:田中;所属;日銀/Event Extraction/:就任;就任")
    assert [p.name for p in answer.problems] == ["bad_item"]
    assert answer.items == (Item("relation", "所属", ("田中", "日銀")), Item("event", "就任", ("就任",)))
    half = fmt.parse("経歴/Relation Extraction/:無い;")
    assert [p.name for p in half.problems] == ["missing_instruction"]


def test_what_a_format_is_not_defined_for_is_refused():
    for name in ("slg", "usa"):
        with pytest.raises(FormatError, match="one part of spans, not for TCREE"):
            make_format(name, tcree.TASK)
    relations = Task("r", "", ("a",), (Part("r", "関係", ("x",), "relation"),))
    with pytest.raises(FormatError, match=r"not for r \(task r\)"):
        make_format("slg", relations)
    twice = Task("t", "", ("a",), (Part("k", "甲", ("x",)), Part("j", "乙", ("y",))))
    with pytest.raises(FormatError, match="one task word for several parts of task t"):
        make_format("oiellm", twice)
    fmt = make_format("slg", scnm.TASK)
    for call in (lambda: fmt.prompt("x", "text"), lambda: fmt.target(PLAIN, "words"),
                 lambda: fmt.parse("", "text")):
        with pytest.raises(FormatError, match="the level joint only"):
            call()
    other = make_format("oiellm", scnm.TASK)
    with pytest.raises(FormatError, match="format oiellm has no grammar"):
        other.grammar("joint", "x", 1)
    with pytest.raises(FormatError, match="none of its outputs can be closed"):
        other.close("", "joint", "x")


# -- the registry ----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", FORMATS)
def test_every_registered_format_is_two_way_and_knows_its_name(name):
    fmt = make_format(name, scnm.TASK)
    assert fmt.name == name and fmt.task is scnm.TASK
    for level in fmt.levels:
        target = fmt.target(PLAIN, level)
        answer = fmt.parse(target, level, PLAIN.text)
        assert not answer.problems and answer.raw == target
    assert fmt.levels == (("joint",) if name in PUBLISHED else LEVELS)


OURS = [(name, task) for name in ("giellm", "giellm-card", "giellm-words-first", "giellm-twice")
        for task in TASKS]


@pytest.mark.parametrize("name, task", [*DEFINED, *OURS])
def test_fixed_strings_cover_all_that_is_not_text(name, task):
    """Every character of a prompt and of a target stands in the text or in a fixed piece."""
    fmt = make_format(name, task)
    known = set("".join(fmt.fixed_strings()))
    record = Record("r", task.name, "文", task.text_labels[-1], tuple(
        Word(p.kind, p.labels[-1], Span(0, 1), Span(0, 1) if p.shape == "relation" else None)
        for p in task.parts)).validate(task)
    empty = Record("r", task.name, "文", task.text_labels[0])
    assert set(fmt.prompt("文") + fmt.target(record) + fmt.target(empty)) <= known | {"文"}


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="no format 'gielm'; known formats: giellm, giellm-card, slg"):
        make_format("gielm", scnm.TASK)
    assert FormatConfig().name == "giellm" and FormatConfig(name="slg").name == "slg"
    with pytest.raises(ValidationError, match="must be one of giellm, giellm-card, slg, usa, oiellm"):
        FormatConfig(name="xml")
