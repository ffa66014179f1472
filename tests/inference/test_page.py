"""The page of `giellm extract --html`: read back as HTML, hostile texts in it, its script where node is."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from giellm_utils.core.schema import Task
from giellm_utils.data.registry import TASKS
from giellm_utils.inference.page import check_page, label_key, MARKER, PageError, word_key, write_page

HOSTILE = ["<script>alert(1)</script>東京", '"><img src=x onerror=alert(1)>',
           "東\u202e京\ud800&amp;{{ 7*7 }}", ""]
VOID = {"meta", "input", "img", "br", "link"}


class Tree(HTMLParser):
    """Elements as {"tag", "attrs", "text", "inside"}; `text` is all that stands in them, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = {"tag": "", "attrs": {}, "text": "", "inside": []}
        self.open = [self.root]
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        made = {"tag": tag, "attrs": dict(attrs), "text": "", "inside": []}
        self.open[-1]["inside"].append(made)
        if tag not in VOID:
            self.open.append(made)

    def handle_endtag(self, tag):
        while self.open.pop()["tag"] != tag:
            pass

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data


def find(element: dict, tag: str, **attrs) -> list[dict]:
    wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attrs.items()}
    return [found for inside in element["inside"] for found in (
        *([inside] if inside["tag"] == tag and wanted.items() <= inside["attrs"].items() else []),
        *find(inside, tag, **attrs))]


def word(label: str, start: int, end: int, text: str, sure: float | None = 0.9) -> dict:
    return {"kind": "entity", "label": label, "surface": text[start:end], "start": start, "end": end,
            "confidence": sure}


def relation(text: str, head: tuple[int, int], tail: tuple[int, int]) -> dict:
    ends = {name: {"surface": text[a:b], "start": a, "end": b} for name, (a, b) in (
        ("head", head), ("tail", tail))}
    return {"kind": "relation", "label": TASKS["tcree"].parts[0].labels[0], **ends, "confidence": 0.25}


def row(text: str, words: list[dict], task: str = "scnm", **more) -> dict:
    result = {"level": "joint", "label": TASKS[task].text_labels[0], "confidence": 0.9999, "words": words,
              "truncated": False, "problems": [], "pieces": 1}
    return {"text": text, "tasks": {task: {**result, **more}}}


def page(path: Path, *rows: dict, tasks=("scnm", "tcree")) -> str:
    chosen = {name: TASKS[name] for name in tasks}
    return write_page(path / "p.html", rows, chosen, "in.jsonl · <m>").read_text("utf-8")


def texts_of(tree: Tree) -> list[dict]:
    return find(tree.root, "div", class_="text")


def test_the_page_holds_every_text_with_its_words_and_confidences(tmp_path):
    text = "田中は京都大学へ行った。"
    given = [word("人名", 0, 2, text, 0.123), word("施設名", 3, 7, text, 0.9), word("地名", 3, 5, text)]
    made = page(tmp_path, row(text, given) | {"id": "x1"}, row("京都。", [], label=None, confidence=None))
    tree = Tree(made)
    first, second = texts_of(tree)
    pieces = find(first, "span")
    assert [(p["text"], p["attrs"].get("data-over")) for p in pieces] == [
        ("田中", "0"), ("は", None), ("京都", "2 1"), ("大学", "1"), ("へ行った。", None)]
    # The shortest word gives the ground, the longest the line; numbers are those of the labels' colours.
    labels = TASKS["scnm"].parts[0].labels
    place, facility = labels.index("地名") % 8, labels.index("施設名") % 8
    assert pieces[2]["attrs"]["class"] == f"b{place} u{facility}"
    assert [t["text"] for t in find(first, "b")] == ["人名 0.12", "地名 0.90", "施設名 0.90"]
    assert second["text"] == "京都。" and not find(second, "b")
    chips = [c["text"].split() for c in find(tree.root, "span", class_="label")]
    assert chips == [[TASKS["scnm"].text_labels[0], "0.99"], ["–"]], "never rounded up to sure"
    assert [s["text"] for s in find(tree.root, "small")][0] == "x1"


def test_words_that_cross_and_relations(tmp_path):
    text = "東京都庁舎"
    crossing = [word("地名", 0, 3, text), word("施設名", 1, 5, text)]
    tied = [relation(text, (0, 2), (2, 4)), relation(text, (0, 2), (0, 2))]
    tree = Tree(page(tmp_path, row(text, crossing), row(text, tied, "tcree", truncated=True, pieces=3)))
    first, second = texts_of(tree)
    assert [(p["text"], p["attrs"].get("data-over")) for p in find(first, "span")] == [
        ("東", "0"), ("京都", "0 1"), ("庁舎", "1")]
    assert [(p["text"], *map(p["attrs"].get, ("data-over", "class"))) for p in find(second, "span")] == [
        ("東京", "0 1", "bp up"), ("都庁", "0", "bp"), ("舎", None, None)]
    lines = find(tree.root, "li")
    assert [line["text"] for line in lines] == [f"{a} –[{tied[0]['label']} 0.25]→ {b}" for a, b in (
        ("東京", "都庁"), ("東京", "東京"))]
    notes, = find(tree.root, "div", class_="notes")
    assert notes["text"] == "truncated: words may be missing · cut into 3 pieces"


def test_every_word_can_be_chosen_in_the_filter(tmp_path):
    text = "田中"
    tree = Tree(page(tmp_path, row(text, [word("人名", 0, 2, text)]), row(
        text, [relation(text, (0, 1), (1, 2))], "tcree")))
    options = {o["attrs"]["value"] for o in find(tree.root, "option")}
    keys = [e["attrs"]["data-key"] for tag in ("b", "li", "span") for e in find(tree.root, tag)
            if "data-key" in e["attrs"]]
    assert len(keys) == 4 and set(keys) <= options
    assert label_key("scnm", "社会") in options and word_key("scnm", "entity", "人名") in keys


def test_a_page_fetches_nothing_and_nothing_in_it_is_code(tmp_path):
    evil = Task("scnm", "", ("a&b", "'c"), TASKS["scnm"].parts)
    rows = [row(text, [word("人名", 0, len(text), text)] if text else []) | {"id": text} for text in HOSTILE]
    made = write_page(tmp_path / "p.html", rows, {"scnm": evil}, HOSTILE[0]).read_text("utf-8")
    tree = Tree(made)
    script, = find(tree.root, "script")
    allowed = base64.b64encode(hashlib.sha256(script["text"].encode()).digest()).decode()
    policy = [m["attrs"]["content"] for m in find(tree.root, "meta") if "http-equiv" in m["attrs"]]
    assert policy == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"]
    assert not find(tree.root, "img")
    assert not find(tree.root, "link") and "http:" not in made and "https:" not in made
    assert "\u202e" not in made and "U+202E" in made and "U+D800" in made and "{{ 7*7 }}" in made
    assert texts_of(tree)[0]["text"].startswith(HOSTILE[0])
    assert {"text scnm a&b", "text scnm 'c"} <= {o["attrs"]["value"] for o in find(tree.root, "option")}


def test_only_its_own_page_is_written_over(tmp_path):
    path = tmp_path / "p.html"
    for _ in range(2):
        assert page(tmp_path, row("あ", [])).startswith(MARKER)
    before = sorted(tmp_path.iterdir())
    assert before == [path], "no temporary file is left"
    for content in (b"<!DOCTYPE html>\n<html></html>", b"", MARKER.encode()[:40]):
        path.write_bytes(content)
        with pytest.raises(PageError, match="p.html exists and is no page of giellm extract"):
            page(tmp_path, row("あ", []))
        assert path.read_bytes() == content
    with pytest.raises(PageError, match="is a folder; give --html the name of a file"):
        check_page(tmp_path)


#: Just as much of a document as the page's script asks for. stdin: the elements, and what is set one by one.
DOM = r"""
const {root, steps} = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const pattern = /^([a-z]*)(?:\.([a-z]+))?(?:\[([a-z-]+)(?:\^=([a-z]+))?\])?$/;
const is = (e, selector) => selector.split(",").some(one => {
  const [, tag, name, attribute, start] = one.trim().match(pattern);
  return (!tag || e.tag === tag) && (!name || e.className.split(" ").includes(name)) &&
    (!attribute || (attribute in e.attrs && (!start || e.attrs[attribute].startsWith(start))));
});
function make(from) {
  const e = {tag: from.tag, attrs: from.attrs, className: from.attrs.class || "", textContent: from.text,
    value: from.attrs.value || "", hidden: false, dataset: {}, heard: [], inside: from.inside.map(make),
    querySelectorAll: s => e.inside.flatMap(i => [...(is(i, s) ? [i] : []), ...i.querySelectorAll(s)]),
    querySelector: s => e.querySelectorAll(s)[0] || null,
    cloneNode: () => ({querySelectorAll: () => [],
      textContent: e.inside.filter(i => i.tag !== "b").map(i => i.textContent).join("")}),
    addEventListener: (name, what) => e.heard.push(what),
    classList: {toggle: (name, on) => { e[name] = on; }}};
  for (const [k, v] of Object.entries(from.attrs)) if (k.startsWith("data-")) e.dataset[k.slice(5)] = v;
  return e;
}
const page = make(root), all = selector => page.querySelectorAll(selector);
const named = id => all("[id]").find(e => e.attrs.id === id);
globalThis.document = {querySelectorAll: all, getElementById: named};
(0, eval)(`{${all("script")[0].textContent}}`);
named("label").value = "";
console.log(JSON.stringify(steps.map(step => {
  for (const [id, value] of Object.entries(step)) named(id).value = value;
  named("sure").heard[0]();
  return {count: named("count").textContent, texts: all("article").map(a => !a.hidden),
    words: all("[data-word]").map(w => !w.hidden), looks: all("[data-over]").map(p => p.className),
    unsure: all(".label").map(l => l.unsure), offered: all("option").filter(o => !o.hidden).length};
})));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_filters_at_work(tmp_path):
    text = "京都大学"
    tree = Tree(page(tmp_path, row(text, [word("施設名", 0, 4, text, 0.6), word("地名", 0, 2, text, 0.3)]),
                     row("Tokyo", [], confidence=0.4)))
    place = word_key("scnm", "entity", "地名")
    steps = [{}, {"sure": "0.5"}, {"sure": "0", "label": place}, {"sure": "0.5"},
             {"sure": "0.5", "label": label_key("scnm", TASKS["scnm"].text_labels[0])},
             {"label": "", "query": "TOKYO"}]
    done = subprocess.run(["node", "-e", DOM], input=json.dumps({"root": tree.root, "steps": steps}),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    nothing, half, chosen, both, label, typed = json.loads(done.stdout)
    labels = TASKS["scnm"].parts[0].labels
    facility, small = labels.index("施設名") % 8, labels.index("地名") % 8
    assert nothing == {"count": "2 of 2 texts", "texts": [True, True], "words": [True, True], "offered": 4,
                       "unsure": [False, False], "looks": [f"b{small} u{facility}", f"b{facility}"]}
    assert half["words"] == [False, True] and half["looks"] == [f"b{facility}"] * 2
    assert half["texts"] == [True, True] and half["unsure"] == [False, True]
    assert chosen["texts"] == [True, False] and chosen["looks"] == [f"b{small}", ""]
    assert both["texts"] == [False, False] and both["count"] == "0 of 2 texts"
    assert label["texts"] == [True, False], "a class below the threshold is none"
    assert typed["texts"] == [False, True]
