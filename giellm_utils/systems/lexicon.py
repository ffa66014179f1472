"""The lexicon look-up of the SCPOS sets: words by the rule, text label by their majority.

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
from typing import TYPE_CHECKING

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.schema import Record, Task, Word
from giellm_utils.data.lexicon import NEGATIVE, POSITIVE
from giellm_utils.systems.base import answer, Entry, System
from giellm_utils.systems.floors import Majority

if TYPE_CHECKING:
    from giellm_utils.data.sets.scpos import Rule


class LexiconLookUp(System):
    """Words: what `rule` finds in the text (the word classes of the task's own rule, canonical order).

    Text label: the polarity that more words have; the majority class where there is none or a tie (中立
    has no vote). `rule` and `lexicon` are those of data.sets.scpos.load. Raises ValueError for a task
    outside SCPOS and a rule the task does not have, SourceError when a lexicon cannot be had.
    """

    name, level = "lexicon", "joint"

    def __init__(self, task: Task, rule: Rule = "morph", lexicon: Path | None = None) -> None:
        # The sets load a morphological analyser, and every table imports this module.
        from giellm_utils.data.sets import scpos

        if task not in scpos.TASKS:
            raise ValueError(f"the lexicon look-up has no rule for task {task.name}; it has one for "
                             f"{', '.join(t.name for t in scpos.TASKS)}")
        self._task, self._kind = task, scpos.KIND
        self._find = scpos.finder(task, rule, lexicon)[0]
        self._fallback = Majority(task)

    def fit(self, records: Sequence[Record]) -> None:
        """Count text labels for texts whose words do not decide; raises ValueError without records."""
        self._fallback.fit(records)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Raises NotFittedError before `fit`."""
        fallbacks = self._fallback.predict(records)
        return [self._answer(r.text, fallback.label) for r, fallback in zip(records, fallbacks, strict=True)]

    def _answer(self, text: str, fallback: str | None) -> Answer:
        words = tuple(Word(self._kind, polar.label, polar.span) for polar in self._find(text))
        return answer(self._task, text, majority_polarity(words) or fallback, words)


def majority_polarity(words: Iterable[Word]) -> str | None:
    """The text label of the polarity that more of the words have; None for a tie."""
    from giellm_utils.data.sets.scpos import LABELS

    votes = Counter(word.label for word in words)
    if votes[POSITIVE] == votes[NEGATIVE]:
        return None
    return LABELS["1" if votes[POSITIVE] > votes[NEGATIVE] else "-1"]


def _has_rule(task: Task) -> bool:
    from giellm_utils.data.sets import scpos

    return task in scpos.TASKS


ENTRIES = (
    Entry("lexicon", "lexicon look-up", Look(colour="#CC79A7", marker="^"), "joint", order=12, floor=True,
          make=LexiconLookUp, applies=_has_rule),
)
