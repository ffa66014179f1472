"""The ceiling of gold, by hand and for a format without escapes."""

from __future__ import annotations

from giellm_utils.core.schema import Part, Record, Span, Task, Word
from giellm_utils.evaluation.ceiling import Ceiling, gold_ceiling
from giellm_utils.formats.registry import make_format
from support.records import FORMAT, record, RECORDS


def test_the_ceiling_of_gold_by_hand() -> None:
    second = record("s", "東京と東京", "旅行", ("地", 3, 5))
    # TWICE and second repeat a surface; of 7 gold words only second's is located elsewhere.
    assert gold_ceiling(FORMAT, [*RECORDS, second]) == Ceiling(
        n=4, round_trip=1.0, offset_f1=6 / 7, n_repeated=2, n_moved=1)
    assert gold_ceiling(FORMAT, []) == Ceiling(n=0, round_trip=None, offset_f1=None, n_repeated=0, n_moved=0)
    assert gold_ceiling(FORMAT, [record("e", "雨", "旅行")]).offset_f1 is None


def test_a_format_without_escapes_loses_the_surfaces_with_marks() -> None:
    task = Task("t", "", ("p",), (Part("k", "I", ("x",)),))
    records = [Record("1", "t", "a:b", "p", (Word("k", "x", Span(0, 3)),)),
               Record("2", "t", "a;b", "p", (Word("k", "x", Span(0, 3)),))]
    assert gold_ceiling(make_format("slg", task), records).round_trip == 0.5
    assert gold_ceiling(make_format("giellm", task), records).round_trip == 1
