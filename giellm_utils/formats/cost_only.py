"""Formats whose cost only is measured: one SCNM record -> the calls, (prompt, target) pairs, that carry it.

Written from public descriptions, in our own code; each function names its source and what is inferred.
FORMATS is the table of all formats measured, the two-way ones among them. The same rules for all:

- every call set carries the text label and every (entity label, surface); labels stay Japanese;
- keywords, punctuation and layout are the published ones; instruction sentences are our wording, no
  longer than the published ones, and in English where those are;
- a detail that is not published is read in its shortest plausible way, in the peer's favour;
- chat templates, in-context examples and system prompts are left out of all.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.registry import make_format

#: Structure tokens of UIE's own vocabulary (its README): each counts as one token.
MARKERS = ("<spot>", "<extra_id_2>")
#: Entity types an IEPile instruction asks for (README: "Recommended splitting numbers vary by task: NER: 6").
IEPILE_SPLIT = 6
#: GoLLIE's docstrings: the annotation guideline of each class, one short sentence (ours).
GUIDELINES = {
    "人名": "人物の名前。架空の人物も含む。", "法人名": "会社などの法人の名称。",
    "政治的組織名": "政府、政党、軍など政治的な組織の名称。",
    "その他の組織名": "楽団やチームなど、法人でも政治的組織でもない組織の名称。",
    "地名": "国、都市、山、川などの名称。", "施設名": "駅、寺院、学校などの施設の名称。",
    "製品名": "商品、作品、法律などの名称。", "イベント名": "大会、祭り、事件などの名称。"}


class Call(NamedTuple):
    """One call of a model: what it reads, what it should write (without the end of sequence)."""

    prompt: str
    target: str


class Facts(NamedTuple):
    """What every format must carry, and the labels it may offer.

    `entities`: (label, surface), in canonical order.
    """

    text: str
    label: str
    entities: tuple[tuple[str, str], ...]
    text_labels: tuple[str, ...]
    types: tuple[str, ...]

    def grouped(self) -> dict[str, list[str]]:
        """Entity label -> surfaces, in the order of the labels' first mention."""
        groups: dict[str, list[str]] = defaultdict(list)
        for label, surface in self.entities:
            groups[label].append(surface)
        return dict(groups)


def facts(record: Record, task: Task) -> Facts:
    """The facts of one SCNM record; raises FormatError for another task."""
    if task.name != "scnm":
        raise FormatError(f"the peers' formats are written for SCNM, not for {task.title} (task {task.name})")
    return Facts(record.text, record.label, tuple((i.label, i.surfaces[0]) for i in record.items()),
                 task.text_labels, task.parts[0].labels)


def uie(record: Record, task: Task) -> list[Call]:
    """UIE (Lu et al. 2022, arXiv 2203.12277): schema instructor in, SEL out, one call.

    Prompt as in its code (universal-ie/UIE): `<spot>` before each type, `<extra_id_2>` before the text, no
    `<asoc>` where a task has no associations. Target in the paper's notation, `((type: span)(type: span))`;
    the code's sentinel tokens would cost about as much. UIE has no text class: the text labels are five more
    spots of the same call, and the right one is a node without a span, `(社会)` (ours; a call of its own
    would cost the text again).
    """
    text, label, entities, text_labels, types = facts(record, task)
    schema = "".join(f"<spot>{name}" for name in (*text_labels, *types))
    nodes = "".join(f"({kind}: {surface})" for kind, surface in entities)
    return [Call(f"{schema}<extra_id_2>{text}", f"(({label}){nodes})")]


def instruct_uie(record: Record, task: Task) -> list[Call]:
    """InstructUIE (Wang et al. 2023, arXiv 2304.08085): instruction, options, text; one call a task, so two.

    Layout (`Option:`, `Text:`, `Answer:`) and `None` for no entity from its code (BeyonderXX/InstructUIE,
    src/uie_dataset.py), `type: word; type: word` from its configs/instruction_config.json. It has no text
    classification: that call follows the same layout (ours).
    """
    text, label, entities, text_labels, types = facts(record, task)

    def prompt(instruction: str, options: Sequence[str]) -> str:
        return f"{instruction}\nOption:{','.join(options)} \nText: {text}\nAnswer:"

    extract = 'List all entity words of the text by category. Output format is "type1: word1; type2: word2".'
    answer = "; ".join(f"{kind}: {surface}" for kind, surface in entities) or "None"
    return [Call(prompt("Choose the category of the text.", text_labels), label),
            Call(prompt(extract, types), answer)]


def yayi_uie(record: Record, task: Task) -> list[Call]:
    """YAYI-UIE (Xiao et al. 2023, arXiv 2312.15548): text, then an instruction with a JSON shape; two calls.

    Prompt from its README (wenge-research/YAYI-UIE): one instruction a task, `json {a/b/c:[entities]}`. The
    README shows no answer: ours is JSON without spaces that names only the types that occur (inferred). It
    has no text classification: that call follows the same layout, its answer is the bare label (ours).
    """
    found = facts(record, task)
    classify = f"Classify the given text. Answer with one of {'/'.join(found.text_labels)}."
    extract = ("Extract all entities and types from the text. "
               f"Format the answer in json {{{'/'.join(found.types)}:[entities]}}.")
    answer = json.dumps(found.grouped(), ensure_ascii=False, separators=(",", ":"))
    return [Call(f"Text: {found.text}\n{classify}", found.label),
            Call(f"Text: {found.text}\n{extract}", answer)]


def iepile(record: Record, task: Task) -> list[Call]:
    """IEPile (Gui et al. 2024, arXiv 2402.14710): JSON in, JSON out, IEPILE_SPLIT types a call: three calls.

    Prompt and answer from its README (zjunlp/IEPile, section 2.1): `{"instruction", "schema", "input"}` by
    json.dumps, `{"type": [surfaces]}` with an empty list for each type that does not occur. It has no text
    classification: that call follows the same layout, its answer is a JSON string (ours).
    """
    found = facts(record, task)

    def prompt(instruction: str, schema: Sequence[str]) -> str:
        return json.dumps({"instruction": instruction, "schema": list(schema), "input": found.text},
                          ensure_ascii=False)

    classify = "You are an expert in text classification. Choose the class of the input from the schema. " \
               "Respond with a JSON string."
    extract = "You are an expert in named entity recognition. Extract the entities of the input that match " \
              "the schema. Return an empty list for a type that does not occur. Respond with a JSON string."
    calls = [Call(prompt(classify, found.text_labels), json.dumps(found.label, ensure_ascii=False))]
    groups = found.grouped()
    for start in range(0, len(found.types), IEPILE_SPLIT):
        batch = found.types[start:start + IEPILE_SPLIT]
        answer = {kind: groups.get(kind, []) for kind in batch}
        calls.append(Call(prompt(extract, batch), json.dumps(answer, ensure_ascii=False)))
    return calls


def gollie(record: Record, task: Task) -> list[Call]:
    """GoLLIE (Sainz et al. 2024, arXiv 2310.03668): Python classes in, a list of instances out; one call.

    Layout from its repository (hitz-zentroa/GoLLIE: templates/prompt.txt, src/tasks/conll03/prompts.py; the
    model writes from `result =` on). Its guidelines are sentences to paragraphs with examples; ours are one
    short Japanese sentence a class. The list stands on one line, where its formatter would break a long
    one. The text class is one more class, whose docstring names the labels (ours; it has no such task).
    """
    text, label, entities, text_labels, types = facts(record, task)

    def quoted(value: str) -> str:
        # A JSON string is a Python string too, and keeps the full-width space that repr would escape.
        return json.dumps(value, ensure_ascii=False)

    names = "、".join(text_labels)
    classes = [f'@dataclass\nclass 類別(Template):\n    """文の類別。{names}。"""\n    label: str\n']
    classes += [f'@dataclass\nclass {kind}(Entity):\n    """{GUIDELINES[kind]}"""\n    span: str\n'
                for kind in types]
    prompt = ("# The following lines describe the task definition\n" + "\n".join(classes)
              + f"\n# This is the text to analyze\ntext = {quoted(text)}\n"
              "\n# The annotation instances that take place in the text above are listed here\nresult =")
    instances = [f"類別(label={quoted(label)})",
                 *(f"{kind}(span={quoted(surface)})" for kind, surface in entities)]
    return [Call(prompt, f" [{', '.join(instances)}]")]


def written(name: str, *levels: Level) -> Callable[[Record, Task], list[Call]]:
    """The calls of a two-way format, one a level."""
    def calls(record: Record, task: Task) -> list[Call]:
        fmt = make_format(name, task)
        return [Call(fmt.prompt(record.text, level), fmt.target(record, level)) for level in levels]
    return calls


@dataclass(frozen=True)
class CostFormat:
    """One way to ask for a record. `calls` raises FormatError for a task that the format is not defined for.

    `offers`: the levels whose labels the prompts list; a model learns the others from its training data.
    """

    title: str
    calls: Callable[[Record, Task], list[Call]]
    offers: Literal["none", "text", "both"] = "both"


#: Every format measured, ours first.
FORMATS: Mapping[str, CostFormat] = {
    "joint": CostFormat("ours, joint", written("giellm", "joint"), "text"),
    "text_words": CostFormat("ours, text + words", written("giellm", "text", "words"), "text"),
    "slg": CostFormat("SLG", written("slg", "joint")), "usa": CostFormat("USA", written("usa", "joint")),
    "oiellm": CostFormat("OIELLM", written("oiellm", "joint"), "none"),
    "uie": CostFormat("UIE (SEL)", uie), "instruct_uie": CostFormat("InstructUIE", instruct_uie),
    "yayi_uie": CostFormat("YAYI-UIE", yayi_uie), "iepile": CostFormat("IEPile", iepile),
    "gollie": CostFormat("GoLLIE", gollie)}
