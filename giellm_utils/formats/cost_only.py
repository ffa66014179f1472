"""SCNM in the peers' formats: one record -> the calls, (prompt, target) pairs, that carry all of it.

Written from public descriptions, in our own code; each function names its source and what is inferred.
The same rules for all of them:

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

from giellm_utils.core.schema import Level, Record
from giellm_utils.formats.giellm import Converter

#: Structure tokens of UIE's own vocabulary (its README): each counts as one token.
MARKERS = ("<spot>", "<extra_id_2>")
#: Entity types one IEPile instruction asks for: "Recommended splitting numbers vary by task: NER: 6" (README).
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
    """What every format must carry, and the labels it may offer. `entities`: (label, surface), canonical order."""

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


def facts(record: Record, converter: Converter) -> Facts:
    """The facts of one SCNM record; raises ValueError for another task."""
    task = converter.task
    if task.name != "scnm":
        raise ValueError(f"the peers' formats are written for SCNM, not for {task.title} (task {task.name})")
    return Facts(record.text, record.label, tuple((i.label, i.surfaces[0]) for i in record.items()),
                 task.text_labels, task.parts[0].labels)


def ours(*levels: Level) -> Callable[[Record, Converter], list[Call]]:
    """Our formats, one call a level: the Format Converter's own (GIELLM, arXiv 2311.06838, model cards)."""
    def calls(record: Record, converter: Converter) -> list[Call]:
        return [Call(converter.prompt(record.text, level), converter.target(record, level)) for level in levels]
    return calls


def slg(record: Record, converter: Converter) -> list[Call]:
    """SLG (Gan, Zhang, Mori 2023, arXiv 2306.15978): one call, the text twice, every label of both levels.

    From the authors' repository (ganchengguang/SLG-framework, file "Format Converter"), whose joint templates
    with labels give the text once before either label list. All its templates are commented out: that the
    scores belong to these, not to its two without labels ("simple", "singlepromptword"), is inferred. The
    scoring code there wants `<社会>固有表現抽出…`, so the text labels are in marks, as in its template for the
    text class alone, and the entity types follow the Instruction Word, as in its second template.
    """
    return _text_twice(record, converter, (*converter.task.parts[0].labels, converter.task.none))


def usa(record: Record, converter: Converter) -> list[Call]:
    """USA (Gan, Zhang, Mori 2023, arXiv 2309.03787): one call, the text twice, every label of both levels.

    The model card's format for sentiment, `{text}<積極><消極>{text}POS:ポジティブ;:中立;:ネガティブ;`, with SCNM's
    labels and Instruction Word (inferred: it was never published for SCNM). Unlike SLG it offers no "無い".
    """
    return _text_twice(record, converter, converter.task.parts[0].labels)


def _text_twice(record: Record, converter: Converter, options: Sequence[str]) -> list[Call]:
    text, label, entities, _, _ = facts(record, converter)
    word = converter.instructions
    prompt = f"{text}{converter.options}{text}{word}" + "".join(f":{option};" for option in options)
    return [Call(prompt, f"{converter.mark(label)}{word}{_pairs(entities, converter)}")]


def _pairs(entities: Sequence[tuple[str, str]], converter: Converter) -> str:
    """`:人名;佐藤:地名;東京`, unescaped: the escape rule is ours."""
    return "".join(f":{label};{surface}" for label, surface in entities) or f":{converter.task.none};"


def oiellm(record: Record, converter: Converter) -> list[Call]:
    """OIELLM (Gan et al. 2024, arXiv 2407.10953): `{text}/NER` -> `社会/NER/:人名;…`, one call, no label offered.

    From its model cards (ganchengguang/OIELLM-8B-Instruction), whose example is English. For Japanese the
    task word NER is kept and an empty list is SLG's `:無い;` (both inferred).
    """
    text, label, entities, _, _ = facts(record, converter)
    return [Call(f"{text}/NER", f"{label}/NER/{_pairs(entities, converter)}")]


def uie(record: Record, converter: Converter) -> list[Call]:
    """UIE (Lu et al. 2022, arXiv 2203.12277): schema instructor in, SEL out, one call.

    Prompt as in its code (universal-ie/UIE): `<spot>` before each type, `<extra_id_2>` before the text, no
    `<asoc>` where a task has no associations. Target in the paper's notation, `((type: span)(type: span))`;
    the code's sentinel tokens would cost about as much. UIE has no text class: the text labels are five more
    spots of the same call, and the right one is a node without a span, `(社会)` (ours; a call of its own
    would cost the text again).
    """
    text, label, entities, text_labels, types = facts(record, converter)
    schema = "".join(f"<spot>{name}" for name in (*text_labels, *types))
    nodes = "".join(f"({kind}: {surface})" for kind, surface in entities)
    return [Call(f"{schema}<extra_id_2>{text}", f"(({label}){nodes})")]


def instruct_uie(record: Record, converter: Converter) -> list[Call]:
    """InstructUIE (Wang et al. 2023, arXiv 2304.08085): instruction, options, text; one call a task, so two.

    Layout (`Option:`, `Text:`, `Answer:`) and `None` for no entity from its code (BeyonderXX/InstructUIE,
    src/uie_dataset.py), `type: word; type: word` from its configs/instruction_config.json. It has no text
    classification: that call follows the same layout (ours).
    """
    text, label, entities, text_labels, types = facts(record, converter)

    def prompt(instruction: str, options: Sequence[str]) -> str:
        return f"{instruction}\nOption:{','.join(options)} \nText: {text}\nAnswer:"

    extract = 'List all entity words of the text by category. Output format is "type1: word1; type2: word2".'
    answer = "; ".join(f"{kind}: {surface}" for kind, surface in entities) or "None"
    return [Call(prompt("Choose the category of the text.", text_labels), label),
            Call(prompt(extract, types), answer)]


def yayi_uie(record: Record, converter: Converter) -> list[Call]:
    """YAYI-UIE (Xiao et al. 2023, arXiv 2312.15548): text, then an instruction with a JSON shape; two calls.

    Prompt from its README (wenge-research/YAYI-UIE): one instruction a task, `json {a/b/c:[entities]}`. The
    README shows no answer: ours is JSON without spaces that names only the types that occur (inferred). It
    has no text classification: that call follows the same layout, its answer is the bare label (ours).
    """
    found = facts(record, converter)
    classify = f"Classify the given text. Answer with one of {'/'.join(found.text_labels)}."
    extract = ("Extract all entities and types from the text. "
               f"Format the answer in json {{{'/'.join(found.types)}:[entities]}}.")
    answer = json.dumps(found.grouped(), ensure_ascii=False, separators=(",", ":"))
    return [Call(f"Text: {found.text}\n{classify}", found.label), Call(f"Text: {found.text}\n{extract}", answer)]


def iepile(record: Record, converter: Converter) -> list[Call]:
    """IEPile (Gui et al. 2024, arXiv 2402.14710): JSON in, JSON out, at most IEPILE_SPLIT types a call: three calls.

    Prompt and answer from its README (zjunlp/IEPile, section 2.1): `{"instruction", "schema", "input"}` by
    json.dumps, `{"type": [surfaces]}` with an empty list for each type that does not occur. It has no text
    classification: that call follows the same layout, its answer is a JSON string (ours).
    """
    found = facts(record, converter)

    def prompt(instruction: str, schema: Sequence[str]) -> str:
        return json.dumps({"instruction": instruction, "schema": list(schema), "input": found.text},
                          ensure_ascii=False)

    classify = "You are an expert in text classification. Choose the class of the input from the schema. " \
               "Respond with a JSON string."
    extract = "You are an expert in named entity recognition. Extract the entities of the input that match the " \
              "schema. Return an empty list for a type that does not occur. Respond with a JSON string."
    calls = [Call(prompt(classify, found.text_labels), json.dumps(found.label, ensure_ascii=False))]
    groups = found.grouped()
    for start in range(0, len(found.types), IEPILE_SPLIT):
        batch = found.types[start:start + IEPILE_SPLIT]
        answer = {kind: groups.get(kind, []) for kind in batch}
        calls.append(Call(prompt(extract, batch), json.dumps(answer, ensure_ascii=False)))
    return calls


def gollie(record: Record, converter: Converter) -> list[Call]:
    """GoLLIE (Sainz et al. 2024, arXiv 2310.03668): annotated Python classes in, a list of instances out; one call.

    Layout from its repository (hitz-zentroa/GoLLIE: templates/prompt.txt, src/tasks/conll03/prompts.py; the
    model writes from `result =` on). Its guidelines are sentences to paragraphs with examples; ours are one
    short Japanese sentence a class. The list stands on one line, where its formatter would break a long
    one. The text class is one more class, whose docstring names the labels (ours; it has no such task).
    """
    text, label, entities, text_labels, types = facts(record, converter)

    def quoted(value: str) -> str:
        # A JSON string is a Python string too, and keeps the full-width space that repr would escape.
        return json.dumps(value, ensure_ascii=False)

    classes = [f'@dataclass\nclass 類別(Template):\n    """文の類別。{"、".join(text_labels)}。"""\n    label: str\n']
    classes += [f'@dataclass\nclass {kind}(Entity):\n    """{GUIDELINES[kind]}"""\n    span: str\n' for kind in types]
    prompt = ("# The following lines describe the task definition\n" + "\n".join(classes)
              + f"\n# This is the text to analyze\ntext = {quoted(text)}\n"
              "\n# The annotation instances that take place in the text above are listed here\nresult =")
    instances = [f"類別(label={quoted(label)})", *(f"{kind}(span={quoted(surface)})" for kind, surface in entities)]
    return [Call(prompt, f" [{', '.join(instances)}]")]


@dataclass(frozen=True)
class Format:
    """One way to ask for a record. `calls` raises ValueError for a task other than SCNM (ours: never).

    `offers`: the levels whose labels the prompts list; a model learns the others from its training data.
    """

    title: str
    calls: Callable[[Record, Converter], list[Call]]
    offers: Literal["none", "text", "both"] = "both"


#: Every format measured, ours first.
FORMATS: Mapping[str, Format] = {
    "joint": Format("ours, joint", ours("joint"), "text"),
    "text_words": Format("ours, text + words", ours("text", "words"), "text"),
    "slg": Format("SLG", slg), "usa": Format("USA", usa), "oiellm": Format("OIELLM", oiellm, "none"),
    "uie": Format("UIE (SEL)", uie), "instruct_uie": Format("InstructUIE", instruct_uie),
    "yayi_uie": Format("YAYI-UIE", yayi_uie), "iepile": Format("IEPile", iepile),
    "gollie": Format("GoLLIE", gollie)}
