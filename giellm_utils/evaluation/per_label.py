"""TODO"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from giellm_utils.core.schema import Item, Level, Record
from giellm_utils.evaluation.bootstrap import RESAMPLES, ratio_intervals
from giellm_utils.evaluation.score import _check, _read, score_documents, summaries
from giellm_utils.formats.giellm import Converter

NO_LABEL = "no label"


# -- per label ---------------------------------------------------------------------------------------


def per_word_label(converter: Converter, records: Sequence[Record], level: Level,
                   predictions: Sequence[Mapping[str, Any]], *, resamples: int = RESAMPLES,
                   seed: int) -> dict[str, dict[str, Any]]:
    """Strict precision, recall and F1 (Interval json) and support (gold items) of each word label.

    A label that two parts of the task share is named "kind/label". Predicted labels that the task
    does not have count in the overall F1 only. Empty at level text. Raises ValueError as
    score_documents does.
    """
    _check(records, predictions)
    if level == "text":
        return {}
    keys = [(part.kind, label) for part in converter.task.parts for label in part.labels]
    shared = Counter(label for _, label in keys)
    names = [label if shared[label] == 1 else f"{kind}/{label}" for kind, label in keys]
    counts = np.zeros((len(records), 3, len(keys)))
    for i, (record, prediction) in enumerate(zip(records, predictions, strict=True)):
        record, parsed = _read(converter, record, level, prediction["output"])
        gold, predicted = Counter(record.items()), Counter(parsed.items)
        for row, items in enumerate((gold & predicted, predicted - gold, gold - predicted)):
            by_label: Counter[tuple[str, str]] = Counter()
            for item, count in items.items():
                by_label[_key(item)] += count
            counts[i, row] = [by_label[key] for key in keys]
    return _per_label(names, *counts.swapaxes(0, 1), resamples=resamples, seed=seed)


def _key(item: Item) -> tuple[str, str]:
    return item.kind, item.label


def per_text_label(frame: pd.DataFrame, labels: Sequence[str], *, resamples: int = RESAMPLES,
                   seed: int) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1 (Interval json) and support (gold documents) of each text label.

    Empty at level words. Raises ValueError when a gold label is not one of `labels`.
    """
    if frame["tl"].isna().all():
        return {}
    _check_labels(frame, labels)
    gold = np.column_stack([frame["gold_label"] == label for label in labels])
    predicted = np.column_stack([frame["predicted_label"] == label for label in labels])
    return _per_label(labels, gold & predicted, predicted & ~gold, gold & ~predicted,
                      resamples=resamples, seed=seed)


def _per_label(names: Sequence[str], tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, *,
               resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """tp, fp and fn are [n_docs, n_labels]."""
    tp, fp, fn = (np.asarray(x, float) for x in (tp, fp, fn))
    intervals = ratio_intervals(np.hstack([tp, tp, 2 * tp]), np.hstack([tp + fp, tp + fn, 2 * tp + fp + fn]),
                                resamples=resamples, seed=seed)
    n = len(names)
    return {name: {"precision": intervals[j].to_json(), "recall": intervals[n + j].to_json(),
                   "f1": intervals[2 * n + j].to_json(), "support": int((tp + fn)[:, j].sum())}
            for j, name in enumerate(names)}


def confusion(frame: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """Documents by gold label (rows, as `labels`) and predicted label (columns, as `labels`).

    One more column at the end counts outputs with no label of the task (NO_LABEL). Raises ValueError
    when a gold label is not one of `labels`.
    """
    _check_labels(frame, labels)
    columns = [*labels, NO_LABEL]
    predicted = frame["predicted_label"].where(frame["predicted_label"].isin(list(labels)), NO_LABEL)
    table = pd.crosstab(frame["gold_label"], predicted)
    table = table.reindex(index=list(labels), columns=columns, fill_value=0)
    return {"labels": list(labels), "matrix": table.to_numpy(int).tolist()}


def _check_labels(frame: pd.DataFrame, labels: Sequence[str]) -> None:
    unknown = set(frame["gold_label"]) - set(labels)
    if unknown:
        raise ValueError(f"gold label {sorted(unknown)[0]!r} is not one of {', '.join(labels)}: "
                         "give the text labels of the task that was scored")


def evaluate(converter: Converter, records: Sequence[Record], level: Level,
             predictions: Sequence[Mapping[str, Any]], *, resamples: int = RESAMPLES,
             seed: int) -> dict[str, Any]:
    """All that a table of one task and level shows, ready for JSON (no NaN): `summaries`, and
    "per_word_label", "per_text_label" and "confusion", None where they do not apply.
    """
    frame = score_documents(converter, records, level, predictions)
    labels = converter.task.text_labels
    has_text = level != "words" and len(records) > 0
    return {
        "n": len(frame), "n_empty_gold": int(frame["empty_gold"].sum()),
        **summaries(frame, resamples=resamples, seed=seed),
        "per_word_label": per_word_label(converter, records, level, predictions, resamples=resamples,
                                         seed=seed) or None,
        "per_text_label": per_text_label(frame, labels, resamples=resamples, seed=seed) if has_text else None,
        "confusion": confusion(frame, labels) if has_text else None,
    }
