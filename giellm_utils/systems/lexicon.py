"""The lexicon look-up baseline of the SCPOS sets: words by the rule, text label by their majority.

No training beyond one count. Where a set's gold words come from this very rule (SCPOS-open, and all
mini sets but RW) its word scores are 1 *by construction*: they are the ceiling, not an achievement,
and that is why it stands in every SCPOS table. A model's word score there says how much of a
deterministic look-up it has learnt. Its text scores, and its word scores on the mini RW words (marked
by a language model), are those of a real system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from giellm_utils.core.schema import Level, Record, Word
from giellm_utils.data.lexicon import NEGATIVE, POSITIVE
from giellm_utils.data.sets import scpos
from giellm_utils.formats.giellm import Converter
from giellm_utils.systems.floors import baseline_outputs

_TEXT_LABEL = {POSITIVE: scpos.LABELS["1"], NEGATIVE: scpos.LABELS["-1"]}


def lexicon_outputs(converter: Converter, train_records: Sequence[Record], records: Sequence[Record],
                    level: Level = "joint", rule: scpos.Rule = "morph",
                    lexicon: Path | None = None) -> list[dict[str, Any]]:
    """One prediction {"output", "truncated"} a record, in the task's target format at `level`.

    Words: what `rule` finds in the text (the word classes of the task's own rule, canonical order).
    Text label: the polarity that more words have; the most frequent label of `train_records` where
    there is none or a tie (中立 has no vote). `train_records` may be empty at level words only.
    `rule` and `lexicon` are those of scpos.load. Raises ValueError for a task outside SCPOS, a rule
    the task does not have and missing train records, SourceError when a lexicon cannot be had.
    """
    task = converter.task
    if task not in scpos.TASKS:
        raise ValueError(f"the lexicon baseline has no rule for task {task.name}; it has one for "
                         f"{', '.join(t.name for t in scpos.TASKS)}")
    find = scpos.finder(task, rule, lexicon)[0]
    fallbacks = [""] * len(records) if level == "words" else [
        row["output"] for row in baseline_outputs(converter, train_records, records, "text")["majority"]]
    outputs = []
    for record, fallback in zip(records, fallbacks, strict=True):
        words = tuple(Word(scpos.KIND, polar.label, polar.span) for polar in find(record.text))
        read = Record(record.id, task.name, record.text, record.label, words).validate(task)
        label = None if level == "words" else majority_polarity(words)
        head = fallback if label is None else converter.mark(label)
        outputs.append({"output": head + ("" if level == "text" else converter.words(read.items())),
                        "truncated": False})
    return outputs


def majority_polarity(words: Iterable[Word]) -> str | None:
    """The text label of the polarity that more of the words have; None for a tie."""
    votes = Counter(_TEXT_LABEL.get(word.label) for word in words)
    positive, negative = (votes[label] for label in _TEXT_LABEL.values())
    return None if positive == negative else _TEXT_LABEL[POSITIVE if positive > negative else NEGATIVE]
