"""HTML for notebooks: nothing unescaped, spans where they are scored, right and wrong told apart."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.core import markup
from giellm_utils.core.answer import Answer, Problem
from giellm_utils.core.markup import Mark
from giellm_utils.core.schema import Item, Part, Record, Span, Task, Word
from giellm_utils.data.offsets import locate
from giellm_utils.evaluation.score import COMPARED
from giellm_utils.reporting import html as views
from support.results import decodings, share, system, systems

SCNM = Task("scnm", "SCNM", ("社会", "文芸"),
            (Part("entity", "固有表現抽出", ("人名", "法人名", "地名", "製品名")),))
TCREE = Task("tcree", "TCREE", ("経歴", "事件"), (Part("relation", "関係抽出", ("所属", "出身"), "relation"),
                                             Part("event", "イベント抽出", ("就任", "退任"))))
EVIL = "<script>alert('x')</script>&\"\u202e\u0000\u200b\n\u2028"


class Page(HTMLParser):
    """Checks that tags close in order and collects tags, styles, visible text and titled spans."""

    VOID = {"br", "hr"}

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict]] = []
        self.tags: Counter[str] = Counter()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.titled: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs) -> None:
        self.tags[tag] += 1
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs)))
        if "title" in dict(attrs):
            self.titled.append((dict(attrs)["title"], ""))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data) -> None:
        self.text += data
        if any("title" in attrs for _, attrs in self.open):
            title, text = self.titled[-1]
            self.titled[-1] = (title, text + data)


def page(html: markup.Html) -> Page:
    assert html._repr_html_() == str(html)
    found = Page(str(html))
    assert not {"script", "style", "link", "img", "iframe"} & found.tags.keys()
    for tag, attrs in found.elements:
        assert not any(name.startswith("on") or name in ("href", "src", "class") for name in attrs), tag
        style = attrs.get("style", "")
        # A colour without its background (or the reverse) is unreadable on a dark page.
        assert len(re.findall(r"(?:^|;)color:", style)) == style.count("background:"), (tag, style)
        if tag in ("div", "table", "tr", "details", "summary"):  # cells take their row's
            assert "color:" in style, f"{tag} takes the page's colours"
    return found


def item(label: str, *surfaces: str, kind: str = "entity") -> dict:
    return {"kind": kind, "label": label, "surfaces": list(surfaces)}


GOLD = {"label": "社会", "items": [item("地名", "東京"), item("人名", "田中")]}


def row(label: str | None = "社会", items: list[dict] = GOLD["items"], problems: tuple[str, ...] = (),
        **changes) -> dict:
    """A row of inference.predictions; `problems` are names, whose detail is EVIL but for "truncated"."""
    return {"id": "s1", "task": "scnm", "level": "joint", "text": "東京で東京の田中が会った。", "gold": GOLD,
            "answer": {"label": label, "items": items, "raw": "<社会>固有表現抽出:地名;東京:人名;田中",
                       "problems": [{"name": n, "detail": "" if n == "truncated" else EVIL}
                                    for n in problems]},
            "tokens": 9, **changes}


WRONG = row("文芸", [item("人名", "田"), item("人名", "田")], ("not_in_text", "truncated"), id="s2")


def test_record_spans_are_highlighted_at_their_offsets() -> None:
    text = "東京大学の田中は、東京へ。"
    record = Record("r1", "scnm", text, "社会", (
        Word("entity", "地名", Span(0, 2)), Word("entity", "法人名", Span(0, 4)),
        Word("entity", "人名", Span(5, 7))))
    found = page(views.records([record], SCNM))
    # The nested place name is named first where both lie over a piece.
    assert found.titled == [
        ("地名 [0, 2), 法人名 [0, 4)", "東京"), ("法人名 [0, 4)", "大学"), ("人名 [5, 7)", "田中")]
    assert "東京地名大学法人名の田中人名は、東京へ。" in found.text and "社会" in found.text


def test_crossing_spans_are_cut_and_tagged_once() -> None:
    html = markup.highlight("abcdef", [Mark(0, 4, "x"), Mark(2, 6, "y")], markup.tints("xy"))
    found = Page(html)
    assert [text for _, text in found.titled] == ["ab", "cd", "ef"]
    assert found.text == "abcdxefy"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=12), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4))
def test_highlight_loses_no_character(text: str, ranges: list[tuple[int, int]]) -> None:
    text = text.replace("\ue000", "")
    marks = [Mark(a, b, "\ue000") for a, b in ranges if a < b <= len(text)]
    found = Page(markup.highlight(text, marks, markup.tints("\ue000"))).text
    assert found.count("\ue000") == len(marks)
    assert found.replace("\ue000", "") == Page(markup.safe(text)).text


@pytest.mark.parametrize("char", list("\u202e\u2066\u200b\u0000\u001b\u2028\ufeff\ud800"))
def test_invisible_characters_are_shown_by_number(char: str) -> None:
    shown = markup.safe(f"a{char}b")
    assert char not in shown and f"U+{ord(char):04X}" in shown
    shown.encode("utf-8")


def test_everything_is_escaped() -> None:
    task = Task("t", "T", (EVIL[:8].replace("<", "").replace(">", ""),), (Part("k", "抽出", ("a&b",)),))
    record = Record(EVIL, "t", EVIL, task.text_labels[0], (Word("k", "a&b", Span(0, 8)),))
    bad = row(EVIL, [item(EVIL, EVIL)], (EVIL,), id=EVIL, text=EVIL)
    bad["answer"]["raw"] = EVIL
    odd = {EVIL: system({"tl": share(.5)})}
    for html in (views.records([record], task), views.predictions([bad]),
                 views.side_by_side([{"level": EVIL, "prompt": EVIL, "target": EVIL}]),
                 views.scores_table(odd), views.datasets_table({EVIL: odd}),
                 views.decodings_table(decodings("joint", EVIL).tasks, "joint")):
        found = page(html)
        assert "<script>alert('x')</script>&" in found.text, "the text itself must be readable"
        assert not {"\u202e", "\u0000", "\u200b", "\u2028"} & set(str(html))


def test_relations_and_events_stand_on_lines_of_their_own() -> None:
    text = "田中は日本銀行の総裁に就任した。"
    record = Record("r", "tcree", text, "経歴", (
        Word("relation", "所属", Span(0, 2), Span(3, 7)), Word("event", "就任", Span(11, 13))))
    found = page(views.records([record, Record("q", "tcree", "何もない。", "事件")], TCREE))
    assert "関係抽出: 田中 –[所属]→ 日本銀行" in found.text and "イベント抽出: 就任 就任" in found.text
    assert ("所属 [3, 7)", "日本銀行") in found.titled and ("就任 [11, 13)", "就任") in found.titled
    assert "関係抽出: 無い" in found.text


def test_limits_are_said() -> None:
    record = Record("r", "scnm", "文。", "社会")
    assert "2 of 5 records" in page(views.records([record] * 5, SCNM, limit=2)).text
    assert "of 5 records" not in page(views.records([record] * 5, SCNM)).text
    assert "1 of 3 listed" in page(views.predictions([row()] * 3, limit=1)).text


def test_side_by_side_keeps_prompt_and_target() -> None:
    found = page(views.side_by_side([{"level": "joint", "prompt": "文。<社会>", "target": "<社会>"}]))
    assert "文。<社会>" in found.text and found.tags["tr"] == 2


def test_scores_table_shows_value_and_interval_in_per_cent() -> None:
    score = share(.8712, 200)
    found = {"majority": system({"tl": share(.65)}, n=200),
             "joint": system({"tl": score, "f1": share(.7), "invented": score}, n=200),
             "words": system({"tl": None, "f1": share(None)}, n=200, n_empty_gold=15,
                             empty_gold={"f1": score})}
    shown = page(views.scores_table(found))
    assert "87.1 [79.1, 95.1]" in shown.text and "200" in shown.text and "–" in shown.text
    assert shown.text.index("joint") < shown.text.index("words only") < shown.text.index("majority class")
    assert "WL, exact" not in shown.text and "invented" not in shown.text
    assert "invented spans" in page(views.scores_table(found, metrics=["invented"])).text
    empty = page(views.scores_table(found, group="empty_gold")).text
    assert "TL" not in empty and "15" in empty and "200" not in empty
    assert "185" in page(views.scores_table(found, group="with_words")).text


def test_all_datasets_stand_in_one_table() -> None:
    found = page(views.datasets_table({"scnm": systems(), "tcree": systems()}))
    assert found.tags["table"] == 1 and found.tags["tr"] == 1 + 2 * len(systems())
    assert found.text.count("scnm") == len(systems()) and "ALL, both levels" in found.text
    assert "WL, as a set" not in found.text, "few metrics: the others are in the dataset's own table"


def test_decodings_table_has_both_ways_of_one_condition() -> None:
    found = page(views.decodings_table(decodings("joint", "scnm", "tcree").tasks, "joint"))
    assert found.tags["tr"] == 5 and found.text.count("constrained") == 2 and "9.8" in found.text
    assert found.text.count("50.0") == 4 * len(COMPARED) and found.text.count("–") == 2, "a resumed decoding"
    assert page(views.decodings_table(decodings("text", "scnm").tasks, "joint")).tags["tr"] == 1


def test_an_answer_to_a_text_of_ones_own() -> None:
    said = Answer("社会", (Item("entity", "地名", ("東京",)), Item("entity", "人名", ("山田",))),
                  (Problem("not_in_text", "山田"), Problem("truncated", "")), "<社会>固有表現抽出:地名;東京")
    found = page(views.answer("東京へ行く。", said, SCNM))
    assert found.titled == [("地名 [0, 2)", "東京")] and "社会" in found.text
    assert "固有表現抽出: 地名 東京 · 人名 山田" in found.text and "not_in_text: 山田" in found.text
    assert "truncated: the budget of new tokens ran out" in found.text and said.raw in found.text
    nothing = page(views.answer(EVIL, Answer(None), TCREE))
    assert "関係抽出: 無い" in nothing.text and "イベント抽出: 無い" in nothing.text
    odd = Answer(EVIL, (Item("entity", EVIL, (EVIL,)),), (Problem(EVIL, EVIL),), EVIL)
    assert "<script>alert('x')</script>&" in page(views.answer(EVIL, odd, SCNM)).text


def test_predictions_show_the_difference() -> None:
    found = page(views.predictions([row(), WRONG]))
    assert found.tags["details"] == found.tags["summary"] == 2
    assert "1 of 2 right" in found.text and "✓" in found.text and "✗" in found.text
    assert "文芸 instead of 社会" in found.text
    assert "missing地名 東京 · 人名 田中" in found.text and "spurious人名 田 ×2" in found.text
    assert "not_in_text" in found.text and "truncated" in found.text
    # One of two occurrences is gold: the first one, at 0, and not the second, at 3.
    assert ("地名 [0, 2)", "東京") in found.titled and not any("[3, 5)" in title for title, _ in found.titled)


@pytest.mark.parametrize(("only", "ids"), [("right", ["s1"]), ("wrong", ["s2"]), (None, ["s1", "s2"])])
def test_predictions_can_be_filtered(only, ids) -> None:
    text = page(views.predictions([row(), WRONG], only=only)).text
    assert [i for i in ("s1", "s2") if i in text] == ids
    assert "1 of 2 right" in text


def test_unknown_filter_is_refused() -> None:
    with pytest.raises(ValueError, match="only is 'both'"):
        views.predictions([], only="both")


def test_each_level_is_judged_by_what_it_was_asked() -> None:
    words = row(None, level="words")
    assert views.compare(words).right and views.compare(words).label_right is None
    assert views.compare(row(items=[], level="text")).right
    assert not views.compare(row(items=[])).right and not views.compare(row("文芸", [], level="text")).right
    twice = row(items=[*GOLD["items"], GOLD["items"][0]])
    assert views.compare(twice).spurious == Counter([Item("entity", "地名", ("東京",))])
    assert not views.compare(row(None)).right


def test_a_label_that_looks_like_a_target_changes_nothing() -> None:
    """What is judged is decided by the row's level, not read off a target string."""
    odd = row("抽出", gold={**GOLD, "label": "抽出"}, level="words")
    assert views.compare(odd).label_right is None
    assert "抽出" not in page(views.predictions([odd])).text.replace(odd["answer"]["raw"], "")


def test_surfaces_that_are_not_in_the_text_are_not_marked() -> None:
    relation = item("所属", "田中", "大阪", kind="relation")
    found = page(views.predictions([row(items=[item("人名", "山田"), relation])]))
    assert "田中 –[所属]→ 大阪" in found.text
    assert not any("所属" in title for title, _ in found.titled)
    assert sum("人名" in title for title, _ in found.titled) == 1


@settings(max_examples=200, deadline=None)
@given(st.text("東京都", min_size=1, max_size=9),
       st.lists(st.tuples(st.sampled_from(["entity", "place"]), st.text("東京都", min_size=1, max_size=3)),
                max_size=5))
def test_the_spans_shown_are_those_that_are_scored(text: str, named: list[tuple[str, str]]) -> None:
    """Repeated surfaces: highlighted where data.offsets places them for offset F1, each exactly once."""
    items = [Item(kind, kind, (surface,)) for kind, surface in named]
    rows = [{"kind": i.kind, "label": i.label, "surfaces": list(i.surfaces)} for i in items]
    shown = page(views.predictions([row(items=rows, text=text, gold={"label": "社会", "items": []})]))
    wanted = {f"{w.label} [{w.span.start}, {w.span.end})" for w in locate(items, text) if w}
    assert {m for title, _ in shown.titled for m in re.findall(r"\w+ \[\d+, \d+\)", title)} == wanted
