"""The grammar as text, and outputs closed by hand; tests/inference walks it with the matcher."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.core.schema import LEVELS, Part, Record, Span, Task, Word
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.escapes import Escapes
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.grammar import item_bounds, span_chunks
from support.records import FORMAT, TRIP, trip_records

TASK = Task("tcree", "", ("経歴", "経済"), (
    Part("relation", "関係抽出", ("所属",), "relation"), Part("event", "イベント抽出", ("就任", "受賞"))))
FMT = GiellmFormat(TASK)
TURNED = GiellmFormat(TRIP, words_first=True)


def test_a_grammar_word_for_word():
    assert FMT.grammar("joint", "a;", {"relation": 1, "event": 2}) == (
        'start: OUTPUT\n'
        'OUTPUT: ("<\\u7d4c\\u6b74>" | "<\\u7d4c\\u6e08>") '
        '"\\u95a2\\u4fc2\\u62bd\\u51fa" '
        '(":\\u7121\\u3044;" | (":" SPAN ";" ("\\u6240\\u5c5e") ";" SPAN){1,1}) '
        '"\\u30a4\\u30d9\\u30f3\\u30c8\\u62bd\\u51fa" '
        '(":\\u7121\\u3044;" | (":" ("\\u5c31\\u4efb" | "\\u53d7\\u8cde") ";" SPAN){1,2})\n'
        'SPAN: SUBSTRING & UNITS\nUNITS: UNIT+\n'
        'UNIT: /[^\\\\]/ | "\\\\\\\\" | "\\\\:" | "\\\\;" | "\\\\\\u95a2\\u4fc2\\u62bd\\u51fa" | '
        '"\\\\\\u30a4\\u30d9\\u30f3\\u30c8\\u62bd\\u51fa"\n'
        'SUBSTRING: %regex {"substring_chunks": ["a", "\\\\;"]}\n')
    assert FMT.grammar("text", "a", 1) == 'start: OUTPUT\nOUTPUT: ("<\\u7d4c\\u6b74>" | "<\\u7d4c\\u6e08>")\n'
    assert FMT.grammar("words", "", 1).endswith(':\\u7121\\u3044;"\n'), "no characters, no spans"


def test_words_first_is_the_same_grammar_turned():
    straight, turned = (GiellmFormat(TASK, words_first=w).grammar("joint", "a;", 2) for w in (False, True))
    label = '("<\\u7d4c\\u6b74>" | "<\\u7d4c\\u6e08>")'
    assert f"OUTPUT: {label} " in straight
    assert turned == straight.replace(f"{label} ", "").replace("\nSPAN", f" {label}\nSPAN", 1)
    for level in ("text", "words"):
        assert GiellmFormat(TASK, words_first=True).grammar(level, "a", 1) == FMT.grammar(level, "a", 1)


@pytest.mark.parametrize("bound, message", [
    (-1, "max_items of part 'relation' is -1; give 0 or more"),
    ({"relation": 1}, "max_items of part 'event' is None; give 0 or more")])
def test_bounds_that_are_none_are_refused(bound, message):
    with pytest.raises(FormatError, match=message):
        FMT.grammar("joint", "a", bound)


def test_chunks_are_the_characters_and_the_beginnings_of_instruction_words():
    escapes = Escapes(["関係抽出"])
    assert span_chunks(escapes, "a:b") == ["a", "\\:", "b"]
    assert span_chunks(escapes, "の関係抽出") == [
        "の", "\\関", "係", "抽", "出", "\\<", "の", "関", "係", "抽"]
    assert span_chunks(escapes, "a\ud800b") == ["a", "\\<", "b"], "a lone surrogate has no bytes"


def test_item_bounds_are_thrice_the_most_items_of_a_record():
    events = tuple(Word("event", "就任", Span(i, i + 1)) for i in range(3))
    records = [Record("a", "tcree", "abc", "経歴", events[:1]), Record("b", "tcree", "abc", "経歴", events)]
    assert item_bounds(TASK, records) == {"relation": 1, "event": 9}
    assert item_bounds(TASK, records, factor=1.5) == {"relation": 1, "event": 5}


# -- closing ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("beginning, closed", [
    ("", "<経歴>関係抽出:無い;イベント抽出:無い;"),
    ("<経", "<経歴>関係抽出:無い;イベント抽出:無い;"),
    ("<経済", "<経済>関係抽出:無い;イベント抽出:無い;"),
    ("<経済>関係抽出:田中;所", "<経済>関係抽出:無い;イベント抽出:無い;"),
    ("<経済>関係抽出:田中;所属;日", "<経済>関係抽出:田中;所属;日イベント抽出:無い;"),
    ("<経済>関係抽出:無い;イベント抽出:就任;就任:受", "<経済>関係抽出:無い;イベント抽出:就任;就任"),
    ("<経済>関係抽出:無い;イベント抽出:就任;就任:受賞;", "<経済>関係抽出:無い;イベント抽出:就任;就任")])
def test_what_can_be_read_of_a_cut_output_stays(beginning, closed):
    assert FMT.close(beginning, "joint", "田中は日銀の総裁に就任した") == closed


@pytest.mark.parametrize("beginning, closed", [
    ("", "関係抽出:無い;イベント抽出:無い;<経歴>"),
    ("関係抽出:田中;所属;日", "関係抽出:田中;所属;日イベント抽出:無い;<経歴>"),
    ("関係抽出:無い;イベント抽出:受賞;日銀<", "関係抽出:無い;イベント抽出:受賞;日銀<経歴>"),
    ("関係抽出:無い;イベント抽出:受賞;日銀<経済", "関係抽出:無い;イベント抽出:受賞;日銀<経済>"),
    ("関係抽出:無い;イベント抽出:受賞;日銀<経済>", "関係抽出:無い;イベント抽出:受賞;日銀<経済>")])
def test_a_cut_output_of_words_first_gets_its_label(beginning, closed):
    fmt = GiellmFormat(TASK, words_first=True)
    assert fmt.close(beginning, "joint", "田中は日銀の総裁に就任した") == closed


def test_an_output_of_another_grammar_cannot_be_closed():
    with pytest.raises(FormatError, match="begins with no text label of task tcree"):
        FMT.close("経歴", "joint", "a")


@settings(max_examples=300, deadline=None)
@given(trip_records(), st.sampled_from(LEVELS), st.sampled_from([FORMAT, TURNED]), st.data())
def test_closing_any_beginning_of_a_target_gives_a_clean_output(record, level, fmt, data):
    target = fmt.target(record, level)
    closed = fmt.close(target[:data.draw(st.integers(0, len(target)))], level, record.text)
    assert fmt.parse(closed, level, record.text).problems == ()
    assert fmt.close(target, level, record.text) == target


@pytest.mark.parametrize("name", TASKS)
def test_every_target_of_the_embedded_corpus_is_closed_already(name):
    dataset = load_dataset(name, "embedded")
    fmt = GiellmFormat(dataset.task)
    for record in dataset.records[::8]:
        target = fmt.target(record)
        assert fmt.close(target, "joint", record.text) == target
