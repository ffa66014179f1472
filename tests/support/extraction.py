"""A stand-in decoder, tokenizer and card, so that extraction can be tested without a model.

As a script: one extraction of a file, slow enough to be killed.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from giellm_utils.core.schema import Item
from giellm_utils.data.registry import TASKS
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.inference.extractor import Extractor
from giellm_utils.inference.results import ExtractedRelation, Mention, TaskExtraction
from giellm_utils.inference.stream import extract_file
from giellm_utils.models.bundle import Card, Lengths, make_card
from giellm_utils.models.spec import ModelConfig


class Characters:
    """A tokenizer of one token a character."""

    def __call__(self, texts, add_special_tokens=True):
        return SimpleNamespace(input_ids=[[ord(c) for c in text] for text in texts])


def choices(fmt: GiellmFormat, output: str, label: float) -> list[SimpleNamespace]:
    """What was chosen in an output at level joint: its label with `label`, its items with 0.9, 0.8, ...
    0.1."""
    places = fmt.places(output)
    sure = [label, *(max(0.1, 0.9 - k / 10) for k in range(len(places.items)))]
    return [SimpleNamespace(start=start + 1, end=start + 2, log_probability=math.log(p))
            for (start, _), p in zip((places.label, *places.items), sure, strict=True)]


class StandIn:
    """Extracts the first `most` 東京 as the first label and, of relations, 東京 of itself; out of order."""

    def __init__(self, formats: dict[str, GiellmFormat], delay: float = 0, most: int = 1000) -> None:
        self.formats, self.delay, self.most = formats, delay, most
        self.requests, self.calls, self.label = [], 0, 0.5

    def items(self, request) -> list[Item]:
        count = min(self.most, request.text.count("東京"))
        return [Item(p.kind, p.labels[0], ("東京",) * (1 if p.shape == "span" else 2))
                for p in self.formats[request.task].task.parts for _ in range(count)]

    def decode(self, requests, on_error=None):
        self.calls += 1
        held = []
        for number, request in enumerate(requests):
            self.requests.append(request)
            if "拒" in request.text:
                on_error(number, "refused")
                continue
            fmt = self.formats[request.task]
            label = fmt.task.text_labels[len(request.text) % 2]
            output = fmt.mark(label) + fmt.words(self.items(request))
            held.append((number, {"output": output, "truncated": "切" in request.text,
                                  "choices": choices(fmt, output, self.label)}))
            if len(held) == 8:
                random.Random(number).shuffle(held)
                yield from self._slowly(held)
                held = []
        yield from self._slowly(held[::-1])

    def _slowly(self, held):
        for pair in held:
            time.sleep(self.delay)
            yield pair


def lengths(p95: int, longest: int = 0) -> Lengths:
    return Lengths(median=max(1, p95 // 2), p95=p95, longest=longest or p95)


def card(*tasks: str, context: int = 200, budget: int = 40, characters: Lengths | None = None) -> Card:
    chosen = [TASKS[t] for t in tasks]
    return make_card(ModelConfig(id="scratch"), "giellm", chosen, ["joint"], context=context,
                     budgets={t: {"joint": budget} for t in tasks}, lengths=dict.fromkeys(tasks, characters),
                     max_items={t.name: {p.kind: 3 for p in t.parts} for t in chosen})


def extractor(*tasks: str, delay: float = 0, most: int = 1000, batch_size: int = 2, **options) -> Extractor:
    made = card(*(tasks or ("scnm",)), **options)
    return Extractor(StandIn(made.formats(), delay, most), Characters(), made, batch_size)


def mentions(result: TaskExtraction) -> Iterator[Mention]:
    """Every place in the text that a result names."""
    for word in result.words:
        yield from (word.head, word.tail) if isinstance(word, ExtractedRelation) else (word,)


if __name__ == "__main__":
    extract_file(extractor(delay=0.02), Path(sys.argv[1]), Path(sys.argv[2]), tasks=["scnm"], quiet=True)
