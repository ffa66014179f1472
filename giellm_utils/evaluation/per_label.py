"""Scores of each label, the confusion of text labels, and all that the tables of one system show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from giellm_utils.core.answer import Answer
from giellm_utils.core.artifacts import Confusion, LabelScores, SystemScores
from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.evaluation.bootstrap import ratio_intervals, RESAMPLES
from giellm_utils.evaluation.score import check_pairs, checked_record, score_documents, summarise

#: The last column of a confusion: no label of the task.
NO_LABEL = "no label"


def per_word_label(task: Task, records: Sequence[Record], level: Level, answers: Sequence[Answer], *,
                   resamples: int = RESAMPLES, seed: int) -> dict[str, LabelScores]:
    """Strict precision, recall and F1 and support (gold items) of each word label.

    A label that two parts of the task share is named "kind/label". Predicted labels that the task
    does not have count in the overall F1 only. Empty at level text. Raises ValueError as
    score_documents does.
    """
    check_pairs(records, answers)
    if level == "text":
        return {}
    keys = [(part.kind, label) for part in task.parts for label in part.labels]
    shared = Counter(label for _, label in keys)
    names = [label if shared[label] == 1 else f"{kind}/{label}" for kind, label in keys]
    counts = np.zeros((len(records), 3, len(keys)))
    for i, (record, answer) in enumerate(zip(records, answers, strict=True)):
        gold, predicted = Counter(checked_record(task, record, level).items()), Counter(answer.items)
        for row, items in enumerate((gold & predicted, predicted - gold, gold - predicted)):
            by_label: Counter[tuple[str, str]] = Counter()
            for item, count in items.items():
                by_label[item.kind, item.label] += count
            counts[i, row] = [by_label[key] for key in keys]
    return _per_label(names, *counts.swapaxes(0, 1), resamples=resamples, seed=seed)


def per_text_label(frame: pd.DataFrame, labels: Sequence[str], *, resamples: int = RESAMPLES,
                   seed: int) -> dict[str, LabelScores]:
    """Precision, recall and F1 and support (gold documents) of each text label.

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
               resamples: int, seed: int) -> dict[str, LabelScores]:
    """tp, fp and fn are [n_docs, n_labels]."""
    tp, fp, fn = (np.asarray(x, float) for x in (tp, fp, fn))
    intervals = ratio_intervals(np.hstack([tp, tp, 2 * tp]), np.hstack([tp + fp, tp + fn, 2 * tp + fp + fn]),
                                resamples=resamples, seed=seed)
    n = len(names)
    return {name: LabelScores(precision=intervals[j], recall=intervals[n + j], f1=intervals[2 * n + j],
                              support=int((tp + fn)[:, j].sum()))
            for j, name in enumerate(names)}


def confusion(frame: pd.DataFrame, labels: Sequence[str]) -> Confusion:
    """Documents by gold label (rows, as `labels`) and predicted label (columns, as `labels`).

    One more column at the end counts outputs with no label of the task (NO_LABEL). Raises ValueError
    when a gold label is not one of `labels`.
    """
    _check_labels(frame, labels)
    columns = [*labels, NO_LABEL]
    predicted = frame["predicted_label"].where(frame["predicted_label"].isin(list(labels)), NO_LABEL)
    table = pd.crosstab(frame["gold_label"], predicted)
    table = table.reindex(index=list(labels), columns=columns, fill_value=0)
    return Confusion(labels=list(labels), matrix=table.to_numpy(int).tolist())


def _check_labels(frame: pd.DataFrame, labels: Sequence[str]) -> None:
    unknown = set(frame["gold_label"]) - set(labels)
    if unknown:
        raise ValueError(f"gold label {sorted(unknown)[0]!r} is not one of {', '.join(labels)}: "
                         "give the text labels of the task that was scored")


def evaluate(task: Task, records: Sequence[Record], level: Level, answers: Sequence[Answer], *,
             resamples: int = RESAMPLES, seed: int, tables: bool = True) -> SystemScores:
    """All that the tables of one system show: scores over all documents and over those with and without
    gold words, and, with `tables`, those of each label and the confusion, None where they do not apply.

    Raises ValueError as score_documents does.
    """
    frame = score_documents(task, records, level, answers)
    empty = frame["empty_gold"].astype(bool)
    how = {"resamples": resamples, "seed": seed}
    with_text = tables and level != "words" and len(records) > 0
    return SystemScores(
        n=len(frame), n_empty_gold=int(empty.sum()),
        all=summarise(frame, **how), with_words=summarise(frame[~empty], **how),
        empty_gold=summarise(frame[empty], **how),
        per_word_label=(per_word_label(task, records, level, answers, **how) or None) if tables else None,
        per_text_label=per_text_label(frame, task.text_labels, **how) if with_text else None,
        confusion=confusion(frame, task.text_labels) if with_text else None)
