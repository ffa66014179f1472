"""TCREE: sentence class, relations and events in one output (GIELLM, arXiv 2311.06838).

The authors' data are on the Hub and could not be seen from here (configs/hub/authors-tcree.yaml takes
the labels it finds): every label and Instruction Word here is ours, and so is the open layer over the
Stockmark corpus (machine-made, `data/assets/tcree/GUIDELINE.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from giellm_utils.core.files import read_jsonl
from giellm_utils.core.schema import Part, Record, Span, Task, Word
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.dataset import Dataset, Files, make_dataset, mini_dataset, mini_files, SERVED
from giellm_utils.data.fetch import embedded, fetch, find, Located, RESOURCES, SourceError
from giellm_utils.data.layers import (
    check_layer,
    layer_split,
    mini_rows,
    span_words,
    split_items,
    stockmark_items,
)
from giellm_utils.data.offsets import locate_relation
from giellm_utils.data.splits import stratified_split

MINI, LAYER = "mini/tcree.tsv", "tcree/annotations.jsonl"
TASK = Task(
    name="tcree", title="TCREE",
    text_labels=("組織", "経歴", "作品", "競技", "事件", "場所", "その他"),
    parts=(
        Part("relation", "関係抽出",
             ("所属", "役職", "創設者", "所在地", "出身", "作者", "出演", "親会社", "開催地", "家族",
              "別名", "相手"), shape="relation"),
        Part("event", "イベント抽出",
             ("設立", "解散", "改称", "統合", "就任", "退任", "発表", "製作", "開催", "勝敗", "受賞",
              "誕生", "死去", "戦争", "事故", "司法", "契約"))),
    published="its name, task and sizes; labels and Instruction Words are ours", paper_train=1000)
TASKS: tuple[Task, ...] = (TASK,)
LabelPass = Literal["coupled", "blind"]


def load(task: Task, source: str, label: LabelPass = "coupled") -> Dataset:
    """TCREE from the mini corpus ("embedded") or our layer over the Stockmark corpus ("open").

    Embedded: 320 records. Open: 2,000 records (900 train, 100 dev, 1,000 test), with the text label
    given in the same pass as relations and events ("coupled") or in a pass from the sentence alone
    ("blind"); the mini corpus has the first only and raises SourceError for the second.
    """
    if label not in ("coupled", "blind"):
        raise ConfigError(f"tcree: label must be coupled or blind, not {label!r}")
    if source == "embedded":
        if label == "blind":
            raise SourceError("the embedded mini corpus has no blind text labels for tcree; "
                              "use label=coupled or the open source")
        return mini_dataset(task, _mini(task), mini_files(MINI),
                            note="Its text labels were given in the same pass as relations and events.")
    located = fetch("stockmark")
    return make_dataset(
        task, _open(task, located, "label" if label == "coupled" else "blind_label"),
        source=SERVED[located.served_by],
        title=f"TCREE-open, Stockmark Wikipedia sentences under our machine-made layer ({label} text label)",
        files=[(located.resource.path, located.path), (LAYER, embedded(LAYER))],
        licence=located.resource.licence,
        attribution=f"{located.resource.attribution}; text classes, relations and events: this project",
        note="Text classes, relations and events are a language model's reading, not audited by a human; "
             "agreement with a second pass of the same kind: class 93.5 %, relation F1 0.864, event F1 "
             "0.886. " + ("The text label was given in the same pass as relations and events."
                          if label == "coupled" else
                          "The text label was given in a separate pass from the sentence alone."),
        redistributable=True)


def files(task: Task, source: str, label: LabelPass = "coupled") -> Files:
    """What `load` reads for the same arguments; a raw corpus not yet on this machine has no path."""
    if source == "embedded":
        return mini_files(MINI)
    return [(RESOURCES["stockmark"].path, find("stockmark")), (LAYER, embedded(LAYER))]


def _mini(task: Task) -> Iterator[Record]:
    rows = mini_rows(MINI, 4)
    splits = stratified_split([row[1] for _, row in rows], [row[0] for _, row in rows])
    for i, ((where, (label, text, relations, events)), split) in enumerate(zip(rows, splits, strict=True)):
        words = [*_relations(split_items(relations, 3, where), text, where),
                 *span_words("event", split_items(events, 2, where), text, where)]
        yield Record(f"tcree-{i:06d}", task.name, text, label, tuple(words), split)


def _relations(items: list[list[str]], text: str, where: str) -> Iterator[Word]:
    for head, label, tail in items:
        spans = locate_relation(head, tail, text)
        if spans is None:
            raise SourceError(f"{where}: {head!r} or {tail!r} of the relation {label} is not in the text")
        yield Word("relation", label, *spans)


def _open(task: Task, located: Located, label: str) -> Iterator[Record]:
    items = stockmark_items(located)
    for row in read_jsonl(embedded(LAYER)):
        index = row["index"]
        text = check_layer(LAYER, index, row["text_sha1"], items)
        words = [Word("relation", kind, Span(h0, h1), Span(t0, t1))
                 for h0, h1, kind, t0, t1 in row["relations"]]
        words += [Word("event", kind, Span(start, end)) for kind, start, end in row["events"]]
        yield Record(f"tcree-{index:06d}", task.name, text, row[label], tuple(words),
                     layer_split(row["split"], row["dev"], f"{LAYER}, index {index}"),
                     {"curid": row["curid"]})
