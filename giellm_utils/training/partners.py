"""Placebo partners: the other level of a joint target replaced by one of its form that says less.

Each is a function of record, task and seed, drawn from a SHA-1 of seed and record id, so that the order of
the records does not matter, nor their number but to lengths and foreign words. For training sequences
alone: what is scored keeps its gold.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from giellm_utils.core.conditions import Partner
from giellm_utils.core.schema import Record, Span, Task, Word

T = TypeVar("T")
#: Draws before words that cannot be told from gold are taken: a text that its words fill has no others.
DRAWS = 64


def partnered(partner: Partner, tasks: Mapping[str, Task], known: Iterable[Record],
              seed: int) -> Callable[[Record], Record]:
    """What gives a record its partner's labels; `known`: the records trained on, which bound the lengths."""
    if partner == "random-words":
        return lambda record: random_words(record, tasks[record.task], seed)
    if partner == "foreign-words":
        known = sorted(known, key=lambda r: r.id)
        donors = {name: [r for r in known if r.task == name] for name in tasks}
        return lambda record: foreign_words(record, donors[record.task], tasks[record.task], seed)
    if partner == "length-label":
        known = list(known)
        labels = {name: LengthLabels.of([r.text for r in known if r.task == name], task, seed)
                  for name, task in tasks.items()}
        return lambda record: replace(record, label=labels[record.task].label(record.text))
    return lambda record: record


# -- words -------------------------------------------------------------------------------------------


def random_words(record: Record, task: Task, seed: int) -> Record:
    """`record` with its words moved to random places of its text, and their labels dealt anew.

    As many words of each kind and as long, in characters; the labels of a kind are the record's own,
    permuted. Gold spans that overlap, or are one (the head of two relations, a trigger within a head), move
    together, others never overlap: so what share spans in gold share them here, and a relation keeps the
    form head, label, tail. What a model can still learn from such words is what is kept: how many there
    are, how long, and which labels. Another draw is made where no item differs from gold, as long as there
    is one.
    """
    rng, gold, made = _random(seed, record.id), Counter(record.items()), record
    blocks = _blocks({span for word in record.words for span in word.spans})
    for _ in range(DRAWS if record.words else 0):
        moved = _moved(blocks, len(record.text), rng)
        words = [replace(w, span=moved[w.span], tail=w.tail and moved[w.tail]) for w in record.words]
        dealt = _dealt(words, rng)
        # Two words of one span may not be dealt the same label.
        made = replace(record, words=tuple(dealt if len(set(dealt)) == len(dealt) else words)).validate(task)
        if Counter(made.items()) != gold:
            break
    return made


def foreign_words(record: Record, donors: Sequence[Record], task: Task, seed: int) -> Record:
    """`record` with the words of another of `donors` in the place of its own, at random places of its text.

    Number, lengths, labels and what overlaps are that text's, drawn by chance among those whose words this
    text has room for: unlike `random_words` they say nothing of this text, and so nothing of its label.
    """
    rng, others = _random(seed, record.id), [d for d in donors if d.id != record.id]
    while others:
        donor = others.pop(int(rng.random() * len(others)))
        blocks = _blocks({span for word in donor.words for span in word.spans})
        if sum(map(_size, blocks)) <= len(record.text):
            moved = _moved(blocks, len(record.text), rng)
            words = tuple(replace(w, span=moved[w.span], tail=w.tail and moved[w.tail]) for w in donor.words)
            return replace(record, words=words).validate(task)
    return replace(record, words=())


def _random(*of: object) -> Random:
    """A generator of its own for `of`. Only Random.random is used: Python promises that it stays the same."""
    return Random(int.from_bytes(hashlib.sha1("\0".join(map(str, of)).encode()).digest(), "big"))


def _shuffled(values: Iterable[T], rng: Random) -> list[T]:
    return [value for _, _, value in sorted((rng.random(), i, value) for i, value in enumerate(values))]


def _blocks(spans: Iterable[Span]) -> list[list[Span]]:
    """Spans that overlap, directly or through others, together; in order of the text."""
    blocks: list[list[Span]] = []
    end = -1
    for span in sorted(spans):
        if span.start < end:
            blocks[-1].append(span)
        else:
            blocks.append([span])
        end = max(end, span.end)
    return blocks


def _size(block: Sequence[Span]) -> int:
    """Characters from the first start to the last end."""
    return max(s.end for s in block) - block[0].start


def _moved(blocks: Sequence[Sequence[Span]], length: int, rng: Random) -> dict[Span, Span]:
    """Gold span -> its new place in a text of `length` characters: blocks in random order with random gaps,
    every arrangement as likely as any other."""
    sizes = [_size(block) for block in blocks]
    slack = length - sum(sizes)
    gaps = sorted(_shuffled(range(slack + len(blocks)), rng)[:len(blocks)])
    found, used = {}, 0
    for k, i in enumerate(_shuffled(range(len(blocks)), rng)):
        shift = gaps[k] - k + used - blocks[i][0].start
        found |= {s: Span(s.start + shift, s.end + shift) for s in blocks[i]}
        used += sizes[i]
    return found


def _dealt(words: Sequence[Word], rng: Random) -> list[Word]:
    """The words with the labels of each kind permuted."""
    left = {kind: _shuffled([w.label for w in words if w.kind == kind], rng)
            for kind in dict.fromkeys(w.kind for w in words)}
    return [replace(word, label=left[word.kind].pop()) for word in words]


# -- the text label ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LengthLabels:
    """A text label that tells the length of the text alone: as many buckets as the task has labels.

    `edges`: lengths in characters from which the next bucket begins, quantiles of the texts trained on;
    `labels`: each bucket's, the task's own in an order drawn from the seed, so that prompt and format stay.
    """

    edges: tuple[int, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str], task: Task, seed: int) -> LengthLabels:
        """Buckets that hold as many of `texts` each, as far as texts of one length let them."""
        lengths, buckets = sorted(map(len, texts)), len(task.text_labels)
        edges = tuple(lengths[len(lengths) * k // buckets] for k in range(1, buckets)) if lengths else ()
        return cls(edges, tuple(_shuffled(task.text_labels, _random(seed, task.name))))

    def label(self, text: str) -> str:
        return self.labels[bisect_right(self.edges, len(text))]
