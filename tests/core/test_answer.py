"""Answer: which problems are faults of form, and that nothing is lost on disk."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giellm_utils.core.answer import (
    Answer,
    gold_answer,
    OTHER_FAULTS,
    Problem,
    PROBLEMS,
    TEXT_FAULTS,
    WORD_FAULTS,
)
from giellm_utils.core.schema import Item, Record, Span, Word


def with_problem(name: str) -> Answer:
    return Answer("社会", (), (Problem(name, "x"),))


@pytest.mark.parametrize("name", WORD_FAULTS)
def test_a_word_level_fault_is_one_of_form_everywhere(name):
    assert not with_problem(name).well_formed and not with_problem(name).words_well_formed


@pytest.mark.parametrize("name", TEXT_FAULTS)
def test_a_text_level_fault_leaves_the_words_alone(name):
    assert not with_problem(name).well_formed and with_problem(name).words_well_formed


@pytest.mark.parametrize("name", OTHER_FAULTS)
def test_content_and_length_are_no_faults_of_form(name):
    assert with_problem(name).well_formed and with_problem(name).words_well_formed


def test_cutting_marks_once():
    answer = Answer("社会", raw="<社会>").cut()
    assert answer.truncated and answer.cut() == answer and answer.label == "社会" and answer.raw == "<社会>"
    assert not Answer("社会").truncated


def test_gold_is_the_record_in_order():
    words = (Word("e", "地名", Span(0, 2)), Word("e", "地名", Span(3, 5)))
    record = Record("1", "t", "東京と京都", "社会", words)
    items = Item("e", "地名", ("東京",)), Item("e", "地名", ("京都",))
    assert gold_answer(record) == Answer("社会", items)


texts = st.text(max_size=5)
items = st.builds(Item, texts, texts, st.lists(texts, min_size=1, max_size=2).map(tuple))
problems = st.lists(st.builds(Problem, st.sampled_from(PROBLEMS), texts), max_size=2).map(tuple)
answers = st.builds(Answer, st.none() | texts, st.lists(items, max_size=3).map(tuple), problems, texts)


@given(answers)
def test_json_and_back(answer):
    assert Answer.from_json(json.loads(json.dumps(answer.to_json()))) == answer
