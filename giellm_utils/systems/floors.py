"""TODO"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from giellm_utils.core.schema import Level, Record
from giellm_utils.formats.giellm import Converter


# -- whole evaluations -------------------------------------------------------------------------------


def baseline_outputs(converter: Converter, train_records: Sequence[Record], test_records: Sequence[Record],
                     level: Level) -> dict[str, list[dict[str, Any]]]:
    """Predictions of the systems that read no text, one for every test record.

    "majority" (levels joint and text) writes the most frequent text label of train, the task's order
    breaking ties; at level joint every part is empty, so its word scores are the always-empty ones.
    "always_empty" is level words' baseline. Raises ValueError when train is needed and empty.
    """
    empty = converter.words(())
    if level == "words":
        return {"always_empty": [{"output": empty, "truncated": False} for _ in test_records]}
    if not train_records:
        raise ValueError("the majority baseline needs train records to count labels in, but there are none")
    counts = Counter(r.label for r in train_records)
    majority = converter.mark(max(converter.task.text_labels, key=lambda label: counts[label]))
    output = majority if level == "text" else majority + empty
    return {"majority": [{"output": output, "truncated": False} for _ in test_records]}
