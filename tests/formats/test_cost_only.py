"""Every format whose cost is measured carries the whole record and lists the labels that are said."""

from __future__ import annotations

import ast
import json

import pytest

from giellm_utils.core.schema import Record, Span, Word
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.cost_only import Call, FORMATS, IEPILE_SPLIT

TASK = TASKS["scnm"]
CALLS = {"joint": 1, "text_words": 2, "slg": 1, "usa": 1, "oiellm": 1, "uie": 1, "instruct_uie": 2,
         "yayi_uie": 2, "iepile": 3, "gollie": 1}


def record(text: str, label: str, *words: tuple[str, str]) -> Record:
    spans = [Span(text.index(s), text.index(s) + len(s)) for _, s in words]
    entities = tuple(Word("entity", kind, span) for (kind, _), span in zip(words, spans, strict=True))
    return Record("x", "scnm", text, label, entities).validate(TASK)


PLAIN = record("佐藤と鈴木は京都にいる。", "社会", ("人名", "佐藤"), ("人名", "鈴木"), ("地名", "京都"))
EMPTY = record("雨が降る。", "自然")
HOSTILE = record('彼は"A\\B: 1;2"　と\nいう。', "文芸", ("製品名", '"A\\B: 1;2"　と'))
WORD = "固有表現抽出"
TYPES = ("人名", "法人名", "政治的組織名", "その他の組織名", "地名", "施設名", "製品名", "イベント名")


def calls(name: str, given: Record) -> list[Call]:
    return FORMATS[name].calls(given, TASK)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_carries_the_whole_record(name):
    for given in load_dataset("scnm", "embedded").records:
        made = calls(name, given)
        assert len(made) == CALLS[name]
        assert all(given.text in prompt for prompt, _ in made)
        targets = "\n".join(target for _, target in made)
        assert given.label in targets
        for item in given.items():
            assert item.label in targets
            assert targets.count(item.surfaces[0]) >= sum(i == item for i in given.items()), targets


@pytest.mark.parametrize("name", FORMATS)
def test_prompts_list_the_labels_that_are_said_and_no_answer(name):
    form = FORMATS[name]
    prompts = "\n".join(prompt for prompt, _ in calls(name, PLAIN))
    offered = [all(label in prompts for label in labels) for labels in (TASK.text_labels, TYPES)]
    assert offered == {"none": [False, False], "text": [True, False], "both": [True, True]}[form.offers]
    other = record(PLAIN.text, "技術", ("施設名", "京都"))
    assert prompts == "\n".join(prompt for prompt, _ in calls(name, other)), "the answer is in the prompt"


def test_formats_in_plain_text():
    spots = "".join(f"<spot>{label}" for label in (*TASK.text_labels, *TYPES))
    assert calls("uie", PLAIN) == [
        (f"{spots}<extra_id_2>{PLAIN.text}", "((社会)(人名: 佐藤)(人名: 鈴木)(地名: 京都))")]
    (label_prompt, label), (prompt, words) = calls("instruct_uie", PLAIN)
    assert (label, words) == ("社会", "人名: 佐藤; 人名: 鈴木; 地名: 京都")
    for made, options in ((label_prompt, TASK.text_labels), (prompt, TYPES)):
        assert made.endswith(f"\nOption:{','.join(options)} \nText: {PLAIN.text}\nAnswer:")


def test_nothing_to_extract_is_said():
    last = {name: calls(name, EMPTY)[-1].target for name in FORMATS}
    assert last["slg"] == last["usa"] == last["joint"] == f"<自然>{WORD}:無い;"
    assert last["oiellm"] == "自然/NER/:無い;" and last["uie"] == "((自然))"
    assert last["instruct_uie"] == "None" and last["yayi_uie"] == "{}"
    assert last["gollie"] == ' [類別(label="自然")]'
    assert json.loads(last["iepile"]) == {kind: [] for kind in TYPES[IEPILE_SPLIT:]}


@pytest.mark.parametrize("given", [PLAIN, EMPTY, HOSTILE])
def test_json_and_python_formats_read_back(given):
    gold = [(i.label, i.surfaces[0]) for i in given.items()]
    asked, found = [], []
    for prompt, target in calls("iepile", given)[1:]:
        question, answer = json.loads(prompt), json.loads(target)
        assert question["input"] == given.text and list(answer) == question["schema"]
        assert len(question["schema"]) <= IEPILE_SPLIT
        asked += question["schema"]
        found += [(kind, surface) for kind, surfaces in answer.items() for surface in surfaces]
    assert tuple(asked) == TYPES and sorted(found) == sorted(gold)
    yayi = json.loads(calls("yayi_uie", given)[1].target)
    assert sorted((kind, s) for kind, surfaces in yayi.items() for s in surfaces) == sorted(gold)

    (prompt, target), = calls("gollie", given)
    *classes, text, result = ast.parse(prompt + target).body
    assert [c.name for c in classes] == ["類別", *TYPES] and all(ast.get_docstring(c) for c in classes)
    assert ast.literal_eval(text.value) == given.text
    instances = [(c.func.id, c.keywords[0].arg, ast.literal_eval(c.keywords[0].value))
                 for c in result.value.elts]
    assert instances == [("類別", "label", given.label), *((kind, "span", s) for kind, s in gold)]


def test_another_task_is_refused_in_one_sentence():
    other = load_dataset("tcree", "embedded")
    for name in set(FORMATS) - {"joint", "text_words", "oiellm"}:
        with pytest.raises(FormatError, match=r"not for .* \(task tcree\)"):
            FORMATS[name].calls(other.records[0], other.task)
