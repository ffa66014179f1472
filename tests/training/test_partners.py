"""Placebo partners keep the form of gold and say nothing else of the text, by record and seed alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.core.schema import Part, Record, Span, Task, Word
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.training.partners import foreign_words, LengthLabels, partnered, random_words
from support.records import EMPTY, record, TRIP, trip_records, TWICE

TCREE = load_dataset("tcree", "embedded")


def overlaps(a: Span, b: Span) -> bool:
    return a.start < b.end and b.start < a.end


def form(words: tuple[Word, ...]) -> list[tuple]:
    """Kind and lengths of every word, and the labels of each kind."""
    lengths = sorted((w.kind, *(s.end - s.start for s in w.spans)) for w in words)
    return [*lengths, *sorted(Counter((w.kind, w.label) for w in words).items())]


def shared(words: tuple[Word, ...]) -> list[tuple[int, int]]:
    """Of each two spans that overlap, how far their starts and ends are apart; of all spans there are."""
    spans = {s for w in words for s in w.spans}
    return sorted((abs(a.start - b.start), abs(a.end - b.end))
                  for a, b in combinations(sorted(spans), 2) if overlaps(a, b))


@settings(max_examples=300, deadline=None)
@given(trip_records(), st.integers(0, 3))
def test_random_words_have_the_form_of_gold(gold, seed):
    made = random_words(gold, TRIP, seed)
    assert made == random_words(gold, TRIP, seed) == made.validate(TRIP), "deterministic, whole, canonical"
    assert (made.text, made.label, form(made.words)) == (gold.text, gold.label, form(gold.words))
    assert shared(made.words) == shared(gold.words)


def test_random_words_are_other_words_where_there_is_room():
    assert Counter(random_words(TWICE, TRIP, 1).items()) != Counter(TWICE.items())
    other = []
    for gold in (r for r in TCREE.records if r.words):
        made = [random_words(gold, TCREE.task, seed) for seed in (1, 2)]
        assert all(Counter(m.items()) != Counter(gold.items()) for m in made), gold.id
        other.append(made[0] != made[1])
    assert sum(other) > 0.95 * len(other), "another seed, other words"


def test_every_place_is_drawn_as_often_as_another():
    gold = record("x", "abcdef", "旅行", ("地", 0, 2), ("人", 2, 3))
    # Blocks of 2 and 1 in 6 characters: (4 + 3 + 2 + 1) places in each of two orders. Gold's is drawn half as
    # often, for there half of the draws are gold itself.
    found = Counter(tuple(sorted((w.span.start, w.span.end) for w in random_words(
        replace(gold, id=f"r{i}"), TRIP, 7).words)) for i in range(4000))
    assert 80 < found.pop(((0, 2), (2, 3))) < 140
    assert len(found) == 19 and max(found.values()) < 1.5 * min(found.values())


def test_where_there_is_no_other_place_gold_stays():
    full = record("x", "東京", "旅行", ("地", 0, 2))
    assert random_words(full, TRIP, 1) == full
    assert random_words(EMPTY, TRIP, 1) is EMPTY
    dealt = random_words(record("x", "東京大阪", "旅行", ("地", 0, 2), ("人", 2, 4)), TRIP, 1)
    assert Counter((w.label, w.span.of("東京大阪")) for w in dealt.words) != Counter(
        {("地", "東京"): 1, ("人", "大阪"): 1})


def test_two_words_of_one_span_keep_two_labels():
    gold = record("x", "abcdefgh", "旅行", ("地", 0, 2), ("人", 0, 2), ("地", 4, 6))
    for seed in range(30):
        made = random_words(gold, TRIP, seed)
        assert form(made.words) == form(gold.words) and len({w.span for w in made.words}) == 2


def test_neither_order_nor_company_matters():
    whole, few = TCREE.split("train"), TCREE.split("train")[5:8][::-1]
    tasks = {"tcree": TCREE.task}
    alone, among = (partnered("random-words", tasks, known, 3) for known in (few, whole))
    assert [alone(r) for r in few] == [among(r) for r in few]


@settings(max_examples=200, deadline=None)
@given(trip_records(), st.lists(trip_records(), max_size=4), st.integers(0, 3))
def test_foreign_words_have_the_form_of_another_text_that_fits(gold, others, seed):
    donors = [replace(other, id=f"d{i}") for i, other in enumerate(others)]
    made = foreign_words(gold, donors, TRIP, seed)
    assert made == foreign_words(gold, donors, TRIP, seed) == made.validate(TRIP)
    assert (made.text, made.label) == (gold.text, gold.label)
    fitting = [form(d.words) for d in donors if len(d.text) <= len(gold.text)]
    assert form(made.words) in [form(d.words) for d in donors] or (not made.words and not fitting)


def test_foreign_words_say_nothing_of_the_text_not_even_how_many():
    gold = record("x", "あ" * 40, "旅行", ("地", 0, 2), ("人", 5, 8))
    donors = [gold, EMPTY, TWICE]
    made = [foreign_words(replace(gold, id=f"r{i}"), donors, TRIP, 1) for i in range(300)]
    counts = Counter(len(m.words) for m in made)
    assert counts.keys() == {0, 2, len(TWICE.words)} and min(counts.values()) > 60
    assert not foreign_words(gold, [gold], TRIP, 1).words, "its own are none of another text"
    own = {len(foreign_words(gold, donors, TRIP, seed).words) for seed in range(30)}
    assert 0 in own and all(form(foreign_words(gold, donors, TRIP, s).words) != form(gold.words)
                            for s in range(30))


# -- the length label --------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(0, 5), st.integers(1, 70))
def test_the_label_tells_the_length_alone(lengths, seed, length):
    task = TASKS["scnm"]
    made = LengthLabels.of(["あ" * n for n in lengths], task, seed)
    assert made == LengthLabels.of(["い" * n for n in reversed(lengths)], task, seed)
    assert sorted(made.labels) == sorted(task.text_labels)
    assert made.label("a" * length) == made.label("b" * length)
    labels = [made.label("a" * n) for n in range(1, 61)]
    assert sum(a != b for a, b in zip(labels, labels[1:], strict=False)) < len(task.text_labels)


def test_buckets_are_as_large_as_each_other_and_wear_another_label_by_seed():
    task = TASKS["scnm"]
    made = [LengthLabels.of(["あ" * n for n in range(1, 101)], task, seed) for seed in range(6)]
    sizes = Counter(made[0].label("x" * n) for n in range(1, 101))
    assert len(sizes) == len(task.text_labels) and max(sizes.values()) - min(sizes.values()) <= 1
    assert len({m.labels for m in made}) > 1 and len({m.edges for m in made}) == 1


@pytest.mark.parametrize("partner", ["random-words", "foreign-words", "length-label"])
def test_a_partner_replaces_its_level_alone(partner):
    known, words = TCREE.split("train"), partner != "length-label"
    made = [partnered(partner, {"tcree": TCREE.task}, known, 1)(r) for r in known]
    same = [(m.label == r.label, m.words == r.words) for m, r in zip(made, known, strict=True)]
    replaced = [right[words] for right in same]
    assert all(right[not words] for right in same) and sum(replaced) < len(known) * 0.7
    assert {(m.id, m.text, m.split) for m in made} == {(r.id, r.text, r.split) for r in known}
    assert [partnered("gold", {}, known, 1)(r) for r in known] == list(known)


def test_each_task_has_its_own_lengths():
    other = Task("other", "", ("x", "y"), (Part("e", "語", ("z",)),))
    short = [Record(f"o{i}", "other", "あ" * i, "x") for i in range(1, 9)]
    label = partnered("length-label", {"tcree": TCREE.task, "other": other}, [*TCREE.records, *short], 1)
    assert Counter(label(r).label for r in short) == {"x": 4, "y": 4}
