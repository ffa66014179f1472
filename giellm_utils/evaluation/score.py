"""Text-level, word-level and joint scores of Answers, one row a document.

Definitions (README, "Metrics"): `wl_exact` wants no fault of form in the words and the gold items in
canonical order, which is what comparing whole outputs with the gold string gives, as the SLG code does
(arXiv 2306.15978); `wl_set` compares multisets of items; `wl_words` is our reading of the paper's
SCPOS column; word F1 is strict micro-F1 over multisets of (kind, label, surfaces). A metric that does
not apply to a level is NaN in a frame and None in a summary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from giellm_utils.core.answer import Answer
from giellm_utils.core.artifacts import Score, Scores
from giellm_utils.core.schema import Level, LEVELS, Record, Task, Word
from giellm_utils.data.offsets import locate
from giellm_utils.evaluation.bootstrap import ratio, ratio_intervals, RESAMPLES, sums_intervals

#: Columns of a frame of scores, in order. Scores and counts are floats, so that NaN fits anywhere.
COLUMNS = ("id", "gold_label", "predicted_label", "tl", "wl_exact", "wl_set", "wl_words", "all", "all_set",
           "tp", "fp", "fn", "offset_tp", "offset_fp", "offset_fn", "well_formed", "n_spans", "n_invented",
           "truncated", "empty_gold")
#: Every metric that is one ratio of sums over documents: columns added up above and below the line.
#: "documents" counts 1 a document; "format_ok" is well_formed and not truncated.
RATIOS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **{m: ((m,), ("documents",)) for m in ("tl", "wl_exact", "wl_set", "wl_words", "all", "all_set")},
    "precision": (("tp",), ("tp", "fp")),
    "recall": (("tp",), ("tp", "fn")),
    "f1": (("tp", "tp"), ("tp", "tp", "fp", "fn")),
    "offset_f1": (("offset_tp", "offset_tp"), ("offset_tp", "offset_tp", "offset_fp", "offset_fn")),
    "format_accuracy": (("format_ok",), ("documents",)),
    "invented": (("n_invented",), ("n_spans",)),
    "truncated": (("truncated",), ("documents",)),
}
METRICS = ("tl", "tl_balanced", *(m for m in RATIOS if m != "tl"))
#: What two ways of decoding, or two runs, are compared by.
COMPARED = ("tl", "wl_exact", "all", "f1", "format_accuracy", "invented", "truncated")


# -- one document ------------------------------------------------------------------------------------


def score_document(task: Task, record: Record, level: Level, answer: Answer) -> dict[str, Any]:
    """One row of a frame (COLUMNS): what `answer` got right of `record` at `level`.

    Shares and right-or-wrong scores are 0.0 to 1.0, counts are floats, `well_formed`, `truncated` and
    `empty_gold` are bool, `predicted_label` is None where the answer has no label of the task. Raises
    SchemaError when the record breaks its task's rules and ValueError for an unknown level.
    """
    record = checked_record(task, record, level)
    label = answer.label if level != "words" and answer.label in task.text_labels else None
    row: dict[str, Any] = dict.fromkeys(COLUMNS, float("nan"))
    row |= {"id": record.id, "gold_label": record.label, "predicted_label": label,
            "well_formed": answer.well_formed, "truncated": answer.truncated, "empty_gold": not record.words}
    if level != "words":
        row["tl"] = float(label == record.label)
    if level != "text":
        row |= _word_scores(record, answer)
    if level == "joint":
        row |= {"all": row["tl"] * row["wl_exact"], "all_set": row["tl"] * row["wl_set"]}
    return row


def checked_record(task: Task, record: Record, level: Level) -> Record:
    """`record` in canonical order; raises SchemaError for a broken one, ValueError for an unknown level."""
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}: it must be one of {', '.join(LEVELS)}")
    return record.validate(task)


def _word_scores(record: Record, answer: Answer) -> dict[str, float]:
    items = tuple(record.items())
    gold, predicted = Counter(items), Counter(answer.items)
    tp, fp, fn = _overlap(gold, predicted)
    # A surface that is not in the text has no offset: None matches no gold word and counts as wrong.
    located: Counter[Word | None] = Counter(locate(answer.items, record.text))
    offset_tp, offset_fp, offset_fn = _overlap(Counter(record.words), located)
    surfaces = [s for item in answer.items for s in item.surfaces]
    return {
        "wl_exact": float(answer.words_well_formed and answer.items == items),
        "wl_set": float(gold == predicted),
        "wl_words": tp / gold.total() if gold else float(not predicted),
        "tp": tp, "fp": fp, "fn": fn,
        "offset_tp": offset_tp, "offset_fp": offset_fp, "offset_fn": offset_fn,
        "n_spans": float(len(surfaces)),
        "n_invented": float(sum(s not in record.text for s in surfaces)),
    }


def _overlap(gold: Counter, predicted: Counter) -> tuple[float, float, float]:
    """True positives, false positives and false negatives of two multisets."""
    tp = (gold & predicted).total()
    return float(tp), float(predicted.total() - tp), float(gold.total() - tp)


# -- many documents ----------------------------------------------------------------------------------


def score_documents(task: Task, records: Sequence[Record], level: Level,
                    answers: Sequence[Answer]) -> pd.DataFrame:
    """A frame of COLUMNS, one row a record, in the records' order.

    Raises ValueError when the numbers of records and answers differ or an id stands twice.
    """
    check_pairs(records, answers)
    rows = [score_document(task, r, level, a) for r, a in zip(records, answers, strict=True)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def check_pairs(records: Sequence[Record], answers: Sequence[Answer]) -> None:
    """Raises ValueError unless there is one answer a record and every record has an id of its own."""
    if len(records) != len(answers):
        raise ValueError(f"{len(records)} records but {len(answers)} answers: "
                         "give one answer for every record, in the same order")
    repeated = [i for i, count in Counter(r.id for r in records).items() if count > 1]
    if repeated:
        raise ValueError(f"record id {repeated[0]} stands more than once: "
                         "give every record an id of its own")


def ratio_columns(frame: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Numerator and denominator of a metric of RATIOS, each [n_docs]; None where it does not apply.

    Raises ValueError when the metric applies to some documents only (levels were mixed).
    """
    above, below = RATIOS[metric]
    columns = {name: _column(frame, name) for name in {*above, *below}}
    missing = np.isnan(np.column_stack(list(columns.values())))
    if missing.all(axis=0).any():
        return None
    if missing.any():
        raise ValueError(f"metric {metric} is missing for {int(missing.any(axis=1).sum())} of {len(frame)} "
                         "documents: score one level per frame")
    return (np.sum([columns[name] for name in above], axis=0),
            np.sum([columns[name] for name in below], axis=0))


def _column(frame: pd.DataFrame, name: str) -> np.ndarray:
    if name == "documents":
        return np.ones(len(frame))
    if name == "format_ok":
        return (frame["well_formed"].astype(bool) & ~frame["truncated"].astype(bool)).to_numpy(float)
    return frame[name].to_numpy(float)


def summarise(frame: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int) -> Scores:
    """Every metric of METRICS with its 95 % interval over documents.

    None where the metric does not apply to the level and for a frame without documents; a Score
    whose value is None where it applies but is undefined (precision of a system that predicts
    nothing). `tl_balanced` is the mean recall over the text labels that occur in gold; `invented` is
    the share of predicted surfaces (both of a relation) that are not in the text.
    """
    result: Scores = dict.fromkeys(METRICS)
    found = {m: c for m in RATIOS if len(frame) and (c := ratio_columns(frame, m)) is not None}
    if not found:
        return result
    intervals = ratio_intervals(np.column_stack([above for above, _ in found.values()]),
                                np.column_stack([below for _, below in found.values()]),
                                resamples=resamples, seed=seed)
    result |= dict(zip(found, intervals, strict=True))
    if "tl" in found:
        result["tl_balanced"] = _balanced(frame, resamples, seed)
    return result


def _balanced(frame: pd.DataFrame, resamples: int, seed: int) -> Score:
    support = pd.get_dummies(frame["gold_label"]).to_numpy(float)
    labels = support.shape[1]

    def mean_recall(sums: np.ndarray) -> np.ndarray:
        # A label that a resample happens to miss has no recall there: the mean is over the others.
        return np.nanmean(ratio(sums[..., :labels], sums[..., labels:]), axis=-1, keepdims=True)

    columns = np.hstack([support * frame[["tl"]].to_numpy(float), support])
    return sums_intervals(columns, mean_recall, resamples=resamples, seed=seed)[0]
