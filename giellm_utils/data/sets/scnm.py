"""SCNM: sentence class and named entities (SLG, arXiv 2306.15978; GIELLM, arXiv 2311.06838).

Its labels, entity types and Instruction Word are the published ones. The authors' sentence classes are
on the Hub (configs/hub/authors-scnm.yaml), never redistributed: those of the open data are ours
(machine-made, `data/assets/scnm/GUIDELINE.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from giellm_utils.core.files import read_tsv
from giellm_utils.core.schema import Part, Record, Span, Task, Word
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
from giellm_utils.data.splits import stratified_split

MINI, LAYER = "mini/scnm.tsv", "scnm/sentence_labels.tsv"
TASK = Task(
    name="scnm", title="SCNM",
    text_labels=("社会", "文芸", "学問", "技術", "自然"),
    parts=(Part("entity", "固有表現抽出",
                ("人名", "法人名", "政治的組織名", "その他の組織名", "地名", "施設名", "製品名",
                 "イベント名")),),
    published="labels, entity types, Instruction Word and joint format", paper_train=1000)
TASKS: tuple[Task, ...] = (TASK,)


def load(task: Task, source: str) -> Dataset:
    """SCNM from the mini corpus ("embedded") or the Stockmark corpus under our classes ("open").

    Embedded: 320 records. Open: 5,343 records (900 train, 100 dev, 4,343 test).
    """
    if source == "embedded":
        return mini_dataset(task, _mini(task), mini_files(MINI))
    located = fetch("stockmark")
    return make_dataset(
        task, _open(task, located), source=SERVED[located.served_by],
        title="SCNM, Stockmark Wikipedia sentences with our machine-made sentence classes",
        files=[(located.resource.path, located.path), (LAYER, embedded(LAYER))],
        licence=located.resource.licence,
        attribution=f"{located.resource.attribution}; sentence classes: this project",
        note="Entities are Stockmark's. The sentence classes are a language model's reading, not "
             "audited by a human; an independent second pass on 600 agrees on 97.5 % (Cohen's kappa "
             "0.952). The split is ours, of the paper's sizes.",
        redistributable=True)


def files(task: Task, source: str) -> Files:
    """What `load` reads for the same arguments; a raw corpus not yet on this machine has no path."""
    if source == "embedded":
        return mini_files(MINI)
    return [(RESOURCES["stockmark"].path, find("stockmark")), (LAYER, embedded(LAYER))]


def _mini(task: Task) -> Iterator[Record]:
    rows = mini_rows(MINI, 3)
    splits = stratified_split([row[1] for _, row in rows], [row[0] for _, row in rows])
    for i, ((where, (label, text, items)), split) in enumerate(zip(rows, splits, strict=True)):
        words = span_words("entity", split_items(items, 2, where), text, where)
        yield Record(f"scnm-{i:06d}", task.name, text, label, tuple(words), split)


def _open(task: Task, located: Located) -> Iterator[Record]:
    items = stockmark_items(located)
    rows = read_tsv(embedded(LAYER), 7)[1:]
    if len(rows) != len(items):
        raise SourceError(f"{LAYER} has {len(rows)} rows for {len(items)} sentences of {located.path}; "
                          "layer and corpus are of different versions")
    for index, curid, sha1, split, dev, label, _ in rows:
        text = check_layer(LAYER, int(index), sha1, items)
        words = tuple(Word("entity", e["type"], Span(*e["span"])) for e in items[int(index)]["entities"])
        yield Record(f"scnm-{int(index):06d}", task.name, text, label, words,
                     layer_split(split, dev == "1", f"{LAYER}, index {index}"), {"curid": curid})
