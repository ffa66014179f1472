"""Reading with good will: what is mended is form; what a model said stays what it said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giellm_utils.formats.lenient import read_leniently
from giellm_utils.formats.registry import make_format
from support.records import FORMAT, GOLD, PERSON, RECORDS, TRIP, trip_records

RIGHT = GOLD["2"]  # <仕事>抽出:人;田中:地;奈良関係:田中;居;奈良


@pytest.mark.parametrize("output", [
    f"```\n{RIGHT}\n```", f"```text\n{RIGHT}", f"「{RIGHT}」", f"  {RIGHT} \n",
    f"出力:\n{RIGHT}\n\n以上です。",
    RIGHT.replace(":", "：").replace(";", "；").replace("<", "＜").replace(">", "＞"),
    "仕事 抽出: 人 ; 田中 : 地;奈良; 関係:田中 ;居; 奈良",
    "ラベル: 仕事\n抽出:人;田中:地;奈良\n関係:田中;居;奈良",
    f"この文は次のとおりです。\n{RIGHT}\nいかがでしょうか。", "<仕事>抽出:人;田中::地;奈良関係::田中;居;奈良",
])
def test_form_is_mended(output):
    strict, lenient = FORMAT.parse(output, "joint", PERSON.text), read_leniently(FORMAT, output, "joint",
                                                                               PERSON.text)
    assert not (strict.well_formed and strict.label == "仕事" and strict.items == tuple(PERSON.items()))
    assert (lenient.label, lenient.items) == ("仕事", tuple(PERSON.items())) and lenient.well_formed
    assert lenient.raw == output


@pytest.mark.parametrize("nothing", ["なし", ":なし", ": 該当なし。", ":None;", ":無い", "無い"])
def test_other_ways_of_saying_nothing(nothing):
    answer = read_leniently(FORMAT, f"<旅行>抽出{nothing}関係{nothing}", "joint", "雨が降る")
    assert (answer.label, answer.items, answer.problems) == ("旅行", (), ())


def test_what_is_wrong_stays_wrong():
    answer = read_leniently(FORMAT, "<散歩>抽出:人;鈴木:魚;奈良関係:奈良;田中", "joint", PERSON.text)
    assert answer.label is None and [i.surfaces for i in answer.items] == [("鈴木",), ("奈良",)]
    assert {p.name for p in answer.problems} == {"unknown_text_label", "not_in_text", "unknown_word_label",
                                                 "bad_item"}
    # The order is the model's, and a section that is lacking is lacking.
    swapped = read_leniently(FORMAT, "<仕事>抽出:地;奈良:人;田中", "joint", PERSON.text)
    assert [i.label for i in swapped.items] == ["地", "人"]
    assert [p.name for p in swapped.problems] == ["missing_instruction"]


def test_a_wide_mark_of_the_text_is_no_mark():
    answer = read_leniently(FORMAT, "<仕事>抽出:地;奈：良関係:無い;", "joint", "田中は奈：良にいる")
    assert [i.surfaces for i in answer.items] == [("奈：良",)] and answer.well_formed


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.id)
@pytest.mark.parametrize("level", ["joint", "text", "words"])
def test_what_is_right_already_is_read_alike(record, level):
    target = FORMAT.target(record, level)
    assert read_leniently(FORMAT, target, level, record.text) == FORMAT.parse(target, level, record.text)


@given(trip_records())
def test_escapes_survive(record):
    """But for blanks, of which this alphabet has none."""
    target = FORMAT.target(record)
    answer = read_leniently(FORMAT, target, "joint", record.text)
    assert (answer.label, answer.items) == (record.label, tuple(record.items()))


@given(st.text(alphabet="<>:;\\ \n`「」抽出関係旅行なし無いab：", max_size=40),
       st.sampled_from(["joint", "text", "words"]))
def test_any_string_can_be_read(output, level):
    assert read_leniently(FORMAT, output, level, "ab抽出").raw == output


def test_another_format_is_only_unwrapped():
    fmt = make_format("oiellm", TRIP)
    target = fmt.target(RECORDS[1])
    assert read_leniently(fmt, f"```\n{target}\n```", "joint", PERSON.text).items == fmt.parse(target).items
