"""Cutting long texts: pieces tile the text, end where sentences do, and are as long as those of training."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.inference.cut import cut, Limits, MOST_INSTRUCTIONS
from giellm_utils.models.bundle import Lengths


def characters(texts):
    return [len(t) for t in texts]


@pytest.mark.parametrize("text, limit", [
    ("", 20), ("一文だけ。", 20), ("一つ目の文。二つ目!?「三つ目。」\n四つ目の文がここに" * 9, 40),
    ("句点のない長い文" * 40, 30), ("長い" * 60 + "。短い。" * 20, 30), ("固有表現抽出" * 70, 2000)])
def test_cuts_tile_the_text_within_the_limits(text, limit):
    ranges = cut(text, characters, Limits(limit, instructions=["固有表現抽出"]))
    assert "".join(text[a:b] for a, b in ranges) == text
    for a, b in ranges:
        assert 0 < b - a <= limit and text[a:b].count("固有表現抽出") <= MOST_INSTRUCTIONS


@settings(deadline=None)
@given(text=st.text(alphabet="あい。、!\n 抽出\ud800", max_size=120), p95=st.integers(1, 30),
       more=st.integers(0, 60), tokens=st.integers(16, 80))
def test_every_text_is_tiled_within_tokens_and_characters(text, p95, more, tokens):
    limits = Limits.of(tokens, Lengths(median=1, p95=p95, longest=p95 + more), ["抽出"])
    ranges = cut(text, characters, limits)
    assert "".join(text[a:b] for a, b in ranges) == text
    assert all(0 < b - a <= min(limits.whole, tokens) for a, b in ranges)
    if len(text) <= min(limits.whole, tokens // 4) and text:
        assert ranges == [(0, len(text))]


def test_cuts_fall_on_sentence_ends_where_there_are_some():
    text = "彼は「行く。」と言った。雨だ!\n晴れ?" * 10
    ranges = cut(text, characters, Limits(30))
    assert {text[a:b][-1] for a, b in ranges} <= set("。!\n?」") and len(ranges) > 1
    assert not any(text[a] in "」\n" for a, _ in ranges)


def test_pieces_are_as_long_as_the_texts_of_training():
    """Short sentences are packed up to the 95th percentile, one up to the longest stays whole."""
    limits = Limits.of(1000, Lengths(median=20, p95=40, longest=60))
    long = "あ" * 54 + "。"
    text = "東京の雨。" * 20 + long + "東京の雨。" * 3
    pieces = [text[a:b] for a, b in cut(text, characters, limits)]
    assert pieces == ["東京の雨。" * 8, "東京の雨。" * 8, "東京の雨。" * 4, long, "東京の雨。" * 3]
    assert cut(text[-60:], characters, limits) == [(0, 60)], "as long as the longest of training"


def test_only_an_overlong_sentence_is_cut_inside_and_at_its_pauses():
    limits = Limits.of(1000, Lengths(median=20, p95=40, longest=500))
    text = "今日は雨が降って、" * 12 + "終わる。晴れ。"
    pieces = [text[a:b] for a, b in cut(text, characters, limits)]
    assert "".join(pieces) == text and [len(p) for p in pieces] == [36, 36, 40, 3]
    assert [p[-1] for p in pieces] == ["、", "、", "。", "。"]
    bare = cut("あ" * 100, characters, limits)
    assert [b - a for a, b in bare] == [34, 33, 33], "without pauses into even parts"


def test_the_context_stays_the_upper_bound():
    limits = Limits.of(24, Lengths(median=20, p95=400, longest=4000))
    text = "東京の雨。" * 30
    assert max(b - a for a, b in cut(text, characters, limits)) <= 24
