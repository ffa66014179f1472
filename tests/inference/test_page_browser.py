"""The page of `giellm extract --html` in a browser: what a reader sees, and what the keyboard changes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import escape
from PIL import Image

from giellm_utils.core import markup
from giellm_utils.core.schema import Part, Task
from giellm_utils.data.registry import TASKS
from giellm_utils.inference.page import label_key, word_key, write_page
from support.browser import Browser, BrowserError, CHROMIUM

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is installed")

TASK, RELATIONS = TASKS["scnm"], TASKS["tcree"]
PERSON, PLACE, FACILITY = "人名", "地名", "施設名"
FIRST, SECOND, THIRD = "田中は京都大学へ行った。", "大阪で会議があった。", "地球は太陽を回る。"
#: As they are read: a word's tag stands behind it.
MARKED = ["田中人名 0.30は京都地名 0.60大学施設名 0.90へ行った。", "大阪地名 0.70で会議があった。", THIRD]
TIE = f"地球 –[{RELATIONS.parts[0].labels[0]} 0.50]→ 太陽"

#: Each writes its number into the window's title where it runs; the second fetches a file, too.
HOSTILE = ["<script>document.title += 1</script>",
           '<img src="http://127.0.0.1:65535/x.png" onerror="document.title += 2">',
           "</script><script>document.title += 3</script>", '"><svg onload="document.title += 4">']
#: A label holds no angle bracket (core.schema), and need not to get out of an attribute.
HOSTILE_LABEL = '" autofocus tabindex="0" onfocus="document.title += 5'

#: What can be seen; a ground that is transparent cannot.
SEEN = """(() => {
  const seen = selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility());
  const texts = elements => elements.map(e => e.innerText);
  const styled = (selector, name, test) => texts(seen(selector).filter(e => test(getComputedStyle(e)[name])));
  return {
    count: document.getElementById("count").innerText, texts: texts(seen(".text")), ties: texts(seen("li")),
    coloured: styled(".text span", "backgroundColor", colour => colour !== "rgba(0, 0, 0, 0)"),
    dotted: styled(".text span", "borderBottomStyle", line => line === "dotted"),
    struck: styled(".label", "textDecorationLine", line => line === "line-through"),
  };
})()"""

#: The window's title once a frame is drawn, which is when an autofocus takes effect.
TITLE = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(document.title))))"

#: What lies over each other by more than a rounding.
OVERLAPS = """(() => {
  const parts = "h1, header p, header label, #count, small, .label, .text span, .text b, li, .notes";
  const boxes = [...document.querySelectorAll(parts)].flatMap(e =>
    [...e.getClientRects()].map(box => ({box, text: e.innerText})));
  return boxes.flatMap(({box: a, text}, i) => boxes.slice(i + 1).filter(({box: b}) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1).map(other => [text, other.text]));
})()"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def word(label: str, start: int, end: int, text: str, sure: float) -> dict:
    return {"kind": "entity", "label": label, "surface": text[start:end], "start": start, "end": end,
            "confidence": sure}


def row(text: str, label: str, sure: float, words: list[dict], task: Task = TASK, **more) -> dict:
    result = {"level": "joint", "label": label, "confidence": sure, "words": words, "truncated": False,
              "problems": [], "pieces": 1}
    return {"text": text, "tasks": {task.name: {**result, **more}}}


def rows() -> list[dict]:
    tie = {"kind": "relation", "label": RELATIONS.parts[0].labels[0], "confidence": 0.5, **{
        name: {"surface": THIRD[start:end], "start": start, "end": end}
        for name, start, end in (("head", 0, 2), ("tail", 3, 5))}}
    return [row(FIRST, TASK.text_labels[0], 0.99, [word(PERSON, 0, 2, FIRST, 0.3), word(
                FACILITY, 3, 7, FIRST, 0.9), word(PLACE, 3, 5, FIRST, 0.6)]),
            row(SECOND, TASK.text_labels[1], 0.4, [word(PLACE, 0, 2, SECOND, 0.7)]),
            row(THIRD, RELATIONS.text_labels[0], 0.8, [tie], RELATIONS, pieces=2)]


def report(folder: Path, *more: dict, source: str = "texts.jsonl · weights") -> Path:
    tasks = {task.name: task for task in (TASK, RELATIONS)}
    return write_page(folder / "report.html", [*rows(), *more], tasks, source)


def offered(browser: Browser) -> list[str]:
    """The choices of the label filter that a keyboard reaches, in order."""
    browser.press("#label", "Home")
    found: list[str] = []
    while (now := browser.evaluate("label.value")) not in found:
        found.append(now)
        browser.press("#label", "ArrowDown")
    return found


def choose(browser: Browser, key: str) -> dict:
    steps = offered(browser).index(key)
    browser.press("#label", "Home")
    browser.press("#label", "ArrowDown", steps)
    return browser.evaluate(SEEN)


def demand(browser: Browser, hundredths: int) -> dict:
    browser.press("#sure", "Home")
    browser.press("#sure", "ArrowRight", hundredths)
    return browser.evaluate(SEEN)


def pixels(path: Path) -> dict[str, int]:
    """How often each colour, as #RRGGBB, is in a picture."""
    with Image.open(path) as image:
        found = image.convert("RGB").getcolors(image.width * image.height)
    return {"#{:02X}{:02X}{:02X}".format(*colour): count for count, colour in found}


def test_everything_is_shown_at_first_and_nothing_else_is_loaded(browser, tmp_path):
    path = report(tmp_path)
    browser.open(path)
    assert browser.evaluate(SEEN) == {
        "count": "3 of 3 texts", "texts": MARKED, "ties": [TIE], "dotted": ["地球", "太陽"], "struck": [],
        "coloured": ["田中", "京都", "大学", "大阪"]}
    assert browser.requests() == [path.as_uri()]
    shot = browser.screenshot(tmp_path / "report.png")
    assert shot.read_bytes().startswith(b"\x89PNG") and len(colours := pixels(shot)) > 50
    for label in (PERSON, PLACE, FACILITY):
        for colour in markup.TINTS[TASK.parts[0].labels.index(label)]:
            assert colours[colour] > 100, f"{label}: {colour}"


def test_a_chosen_label_hides_the_others(browser, tmp_path):
    browser.open(report(tmp_path))
    keys = [label_key("scnm", TASK.text_labels[0]), label_key("scnm", TASK.text_labels[1]),
            *(word_key("scnm", "entity", label) for label in (PERSON, PLACE, FACILITY)),
            label_key("tcree", RELATIONS.text_labels[0]),
            word_key("tcree", "relation", RELATIONS.parts[0].labels[0])]
    assert offered(browser) == ["", *keys], "labels of the page and no others"
    place, tied, text = (choose(browser, keys[n]) for n in (3, 6, 1))
    assert place["texts"] == ["田中は京都地名 0.60大学へ行った。", MARKED[1]]
    assert place["coloured"] == ["京都", "大阪"] and place["count"] == "2 of 3 texts" and not place["ties"]
    assert tied["texts"] == [THIRD] and tied["ties"] == [TIE] and tied["dotted"] == ["地球", "太陽"]
    assert text["texts"] == [MARKED[1]] and text["coloured"] == ["大阪"], "the words stay with a class"
    assert choose(browser, "")["texts"] == MARKED


def test_what_is_less_sure_than_demanded_goes(browser, tmp_path):
    browser.open(report(tmp_path))
    before = pixels(browser.screenshot(tmp_path / "before.png"))
    half, most = demand(browser, 50), demand(browser, 65)
    after = pixels(browser.screenshot(tmp_path / "after.png"))
    assert half["texts"] == [MARKED[0].replace("人名 0.30", ""), *MARKED[1:]] and half["ties"] == [TIE]
    assert half["coloured"] == ["京都", "大学", "大阪"]
    assert half["struck"] == [f"{TASK.text_labels[1]} 0.40"] and half["count"] == "3 of 3 texts"
    assert most["texts"][0] == "田中は京都大学施設名 0.90へ行った。"
    assert most["coloured"] == ["京都", "大学", "大阪"], "京都 has the colour of the word around it"
    assert most["ties"] == most["dotted"] == [] and browser.evaluate("least.innerText") == "0.65"
    person = markup.TINTS[TASK.parts[0].labels.index(PERSON)][1]
    assert before[person] > 100 and person not in after
    assert choose(browser, word_key("scnm", "entity", PLACE))["texts"] == [MARKED[1]]
    assert choose(browser, label_key("scnm", TASK.text_labels[0]))["count"] == "1 of 3 texts"
    assert choose(browser, label_key("scnm", TASK.text_labels[1]))["texts"] == [], "struck is not chosen"


def test_a_typed_text_and_the_way_back_to_the_page(browser, tmp_path):
    browser.open(report(tmp_path))
    demand(browser, 50)
    choose(browser, word_key("scnm", "entity", PLACE))
    browser.type("#query", "京都大学")
    # Tags are no part of the text.
    assert browser.evaluate(SEEN)["texts"] == ["田中は京都地名 0.60大学へ行った。"]
    browser.open(report(tmp_path / "other"))
    browser.back()
    assert browser.evaluate(SEEN)["texts"] == MARKED
    assert browser.evaluate("[label.value, query.value, sure.value]") == ["", "", "0"], "shown is what is set"


def hostile_page(path: Path) -> Path:
    task = Task("scnm", "", (HOSTILE_LABEL, "b"), (Part("entity", "w", (HOSTILE_LABEL, "c")),))
    evil = [row(text, HOSTILE_LABEL, 0.9, [word(HOSTILE_LABEL, 0, 5, text, 0.9)], problems=[
        {"name": "p", "detail": text}]) | {"id": text} for text in HOSTILE]
    return write_page(path, [*evil, row("静か", "b", 0.9, [])], {"scnm": task}, " ".join(HOSTILE))


def test_a_hostile_text_stands_as_text_and_runs_nothing(browser, tmp_path):
    bare = tmp_path / "bare.html"
    bare.write_text("".join([*HOSTILE, f'<b title="{HOSTILE_LABEL}">b</b>']), encoding="utf-8")
    browser.open(bare)
    assert sorted(browser.evaluate(TITLE)) == [*"12345"], "each of them runs where nothing is done about it"
    assert len(browser.requests()) == 2
    path = hostile_page(tmp_path / "report.html")
    browser.open(path)
    seen = browser.evaluate(SEEN)
    assert [text.replace(f"{HOSTILE_LABEL} 0.90", "") for text in seen["texts"]] == [*HOSTILE, "静か"]
    assert browser.evaluate("[...document.querySelectorAll('article > small')].map(e => e.innerText)") == [
        *HOSTILE, "5"]
    assert choose(browser, label_key("scnm", HOSTILE_LABEL))["count"] == "4 of 5 texts"
    assert choose(browser, word_key("scnm", "entity", HOSTILE_LABEL))["coloured"] == [t[:5] for t in HOSTILE]
    assert browser.evaluate("document.querySelectorAll('script').length") == 1
    assert browser.evaluate("document.querySelectorAll('img, svg, [onfocus]').length") == 0
    assert browser.evaluate(TITLE) == "giellm extract" and browser.requests() == [path.as_uri()]


def test_the_policy_alone_would_stop_a_hostile_text(browser, tmp_path):
    path = hostile_page(tmp_path / "report.html")
    made = path.read_text("utf-8")
    for text in (*HOSTILE, HOSTILE_LABEL):
        made = made.replace(markup.safe(text), text).replace(str(escape(text)), text)
    path.write_text(made, encoding="utf-8")
    browser.open(path)
    for element in ("img", "svg", "[onfocus]", "script:not(:last-of-type)"):
        assert browser.evaluate(f"document.querySelectorAll('{element}').length"), element
    assert browser.evaluate(TITLE) == "giellm extract"
    assert browser.requests(forbidden=False) == [path.as_uri()] != browser.requests()


@pytest.mark.parametrize("width", [1000, 360])
def test_nothing_overlaps_or_leaves_the_window(browser, tmp_path, width):
    long = "東京" * 40 + "https://example.invalid/" + "a" * 90
    words = [word(FACILITY, 0, 120, long, 0.5), word(PLACE, 40, 90, long, 0.5)]
    browser.open(report(tmp_path, row(long, TASK.text_labels[0], 0.9, words) | {"id": "i" * 150},
                        source="/texts/" + "t" * 150))
    browser.resize(width, 800)
    assert browser.evaluate(OVERLAPS) == []
    assert browser.evaluate("document.scrollingElement.scrollWidth") <= browser.evaluate("innerWidth")


def test_a_browser_that_hangs_is_ended(tmp_path):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    silent.chmod(0o755)
    hanging, start = Browser(str(silent), life=0.5), time.monotonic()
    with pytest.raises(BrowserError, match="createTarget: no answer, 0.5 s after the browser's start"):
        hanging.__enter__()
    assert time.monotonic() - start < 10
    with pytest.raises(ProcessLookupError):
        os.killpg(hanging.process.pid, 0)
