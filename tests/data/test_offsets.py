"""The one rule that places surfaces: by hand, and what always holds of it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.core.schema import Item
from giellm_utils.data.offsets import locate, locate_spans
from support.records import EMPTY, PERSON, trip_records, TWICE


def located(text: str, *surfaces: str) -> list[tuple[int, int] | None]:
    words = locate([Item("entity", "人名", (s,)) for s in surfaces], text)
    return [(w.span.start, w.span.end) if w else None for w in words]


def test_the_kth_item_stands_for_the_kth_occurrence() -> None:
    assert located("東京と東京と東京", "東京", "東京") == [(0, 2), (3, 5)]
    assert located("東京と京", "京", "東京", "京") == [(1, 2), (0, 2), (3, 4)]
    assert located("東京と東京", "東京", "東京", "東京") == [(0, 2), (3, 5), (3, 5)], "too many: the last"
    assert located("あああ", "ああ", "ああ") == [(0, 2), (0, 2)], "occurrences do not overlap"
    assert located("東京", "大阪", "", "東京") == [None, None, (0, 2)]


def test_loaders_get_none_where_there_is_no_kth_occurrence() -> None:
    spans = locate_spans(["東京", "京", "東京", "東京", "", "大阪"], "東京と東京")
    assert [s and (s.start, s.end) for s in spans] == [(0, 2), (1, 2), (3, 5), None, None, None]


def test_parts_count_their_occurrences_apart() -> None:
    items = [Item("event", "就任", ("就任",)), Item("entity", "人名", ("就任",))]
    assert [w.span.start for w in locate(items, "就任と就任")] == [0, 0]


def test_a_relation_takes_the_first_head_and_the_nearest_tail() -> None:
    def relation(text: str, head: str, tail: str) -> list[tuple[int, int]] | None:
        word, = locate([Item("relation", "所属", (head, tail))], text)
        return word and [(s.start, s.end) for s in word.spans]

    assert relation("日銀。田中は日銀の田中", "田中", "日銀") == [(3, 5), (0, 2)]
    assert relation("日銀とはいう田中は日銀の田中", "田中", "日銀") == [(6, 8), (9, 11)]
    assert relation("社は社の社", "社", "社") == [(0, 1), (2, 3)], "another occurrence than the head"
    assert relation("田中", "田中", "日銀") is None and relation("田中", "", "田中") is None


def test_gold_of_plain_records_comes_back() -> None:
    for record in (TWICE, PERSON, EMPTY):
        assert locate(record.items(), record.text) == list(record.words)


@settings(max_examples=300, deadline=None)
@given(trip_records(), st.randoms(use_true_random=False))
def test_every_surface_of_the_text_gets_a_place_that_reads_so(record, rng: random.Random) -> None:
    items = [*record.items(), Item("entity", "地", ("そこにない",)), Item("place", "居", ("a", ""))]
    rng.shuffle(items)
    for item, word in zip(items, locate(items, record.text), strict=True):
        if all(s and s in record.text for s in item.surfaces):
            assert (word.kind, word.label) == (item.kind, item.label)
            assert tuple(s.of(record.text) for s in word.spans) == item.surfaces
        else:
            assert word is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["a", "aa", "ab", "b", "c"]), max_size=6), st.text("abc", max_size=8))
def test_the_two_functions_place_alike(surfaces: list[str], text: str) -> None:
    words = locate([Item("k", "l", (s,)) for s in surfaces], text)
    for word, span in zip(words, locate_spans(surfaces, text), strict=True):
        assert span is None or word.span == span
