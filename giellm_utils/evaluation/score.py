"""Text-level, word-level and joint scores of model outputs, one row a document.

Definitions (README, "Metrics"): `wl_exact` compares the words part with the canonical gold string,
order included, as the SLG code does (arXiv 2306.15978); `wl_set` compares multisets of items;
`wl_words` is our reading of the paper's SCPOS column; word F1 is strict micro-F1 over multisets of
(kind, label, surfaces). A metric that does not apply to a level is NaN in a frame and None in JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from giellm_utils.core.schema import LEVELS, Level, Record, Word
from giellm_utils.evaluation.bootstrap import (
    Interval, RESAMPLES, ratio, ratio_intervals, sums_intervals)
from giellm_utils.formats.giellm import Converter, Parsed

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


# -- one document ------------------------------------------------------------------------------------


def score_document(converter: Converter, record: Record, level: Level, output: str,
                   truncated: bool = False) -> dict[str, Any]:
    """One row of a frame (COLUMNS) for one raw output.

    Shares and right-or-wrong scores are 0.0 to 1.0, counts are floats, `well_formed`, `truncated` and
    `empty_gold` are bool, `predicted_label` is None where the output has no label of the task. Raises
    SchemaError when the record breaks its task's rules and ValueError for an unknown level.
    """
    record, parsed = _read(converter, record, level, output)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, float("nan"))
    row |= {"id": record.id, "gold_label": record.label, "predicted_label": parsed.label,
            "well_formed": parsed.well_formed, "truncated": bool(truncated), "empty_gold": not record.words}
    if level != "words":
        row["tl"] = float(parsed.label == record.label)
    if level != "text":
        row |= _word_scores(converter, record, parsed)
    if level == "joint":
        row |= {"all": row["tl"] * row["wl_exact"], "all_set": row["tl"] * row["wl_set"]}
    return row


def _read(converter: Converter, record: Record, level: Level, output: str) -> tuple[Record, Parsed]:
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}: it must be one of {', '.join(LEVELS)}")
    return record.validate(converter.task), converter.parse(output, level, record.text)


def _word_scores(converter: Converter, record: Record, parsed: Parsed) -> dict[str, float]:
    gold, predicted = Counter(record.items()), Counter(parsed.items)
    tp, fp, fn = _overlap(gold, predicted)
    # A surface that is not in the text has no offset: None matches no gold word and counts as wrong.
    located: Counter[Word | None] = Counter(converter.locate(parsed.items, record.text))
    offset_tp, offset_fp, offset_fn = _overlap(Counter(record.words), located)
    surfaces = [s for item in parsed.items for s in item.surfaces]
    return {
        "wl_exact": float(parsed.words_raw == converter.words(record.items())),
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


def score_documents(converter: Converter, records: Sequence[Record], level: Level,
                    predictions: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of COLUMNS, one row a record, in the records' order.

    A prediction is {"output": str, "truncated": bool}; other keys are ignored, a missing "truncated"
    is False. Raises ValueError when the numbers differ, an output is missing or an id stands twice.
    """
    _check(records, predictions)
    rows = [score_document(converter, r, level, p["output"], p.get("truncated", False))
            for r, p in zip(records, predictions, strict=True)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check(records: Sequence[Record], predictions: Sequence[Mapping[str, Any]]) -> None:
    if len(records) != len(predictions):
        raise ValueError(f"{len(records)} records but {len(predictions)} predictions: "
                         "give one prediction for every record, in the same order")
    for record, prediction in zip(records, predictions, strict=True):
        if not isinstance(prediction.get("output"), str):
            raise ValueError(f"prediction for record {record.id} has no text in its field 'output'")
    repeated = [i for i, count in Counter(r.id for r in records).items() if count > 1]
    if repeated:
        raise ValueError(f"record id {repeated[0]} stands more than once: give every record an id of its own")


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


def summarise(frame: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int) -> dict[str, dict | None]:
    """Every metric of METRICS with its 95 % interval over documents, as Interval.to_json().

    None where the metric does not apply to the level and for a frame without documents; an interval
    whose value is None where it applies but is undefined (precision of a system that predicts
    nothing). `tl_balanced` is the mean recall over the text labels that occur in gold; `invented` is
    the share of predicted surfaces (both of a relation) that are not in the text.
    """
    result: dict[str, dict | None] = dict.fromkeys(METRICS)
    found = {m: c for m in RATIOS if len(frame) and (c := ratio_columns(frame, m)) is not None}
    if not found:
        return result
    intervals = ratio_intervals(np.column_stack([above for above, _ in found.values()]),
                                np.column_stack([below for _, below in found.values()]),
                                resamples=resamples, seed=seed)
    result |= {metric: interval.to_json() for metric, interval in zip(found, intervals, strict=True)}
    if "tl" in found:
        result["tl_balanced"] = _balanced(frame, resamples, seed).to_json()
    return result


def _balanced(frame: pd.DataFrame, resamples: int, seed: int) -> Interval:
    support = pd.get_dummies(frame["gold_label"]).to_numpy(float)
    labels = support.shape[1]

    def mean_recall(sums: np.ndarray) -> np.ndarray:
        # A label that a resample happens to miss has no recall there: the mean is over the others.
        return np.nanmean(ratio(sums[..., :labels], sums[..., labels:]), axis=-1, keepdims=True)

    columns = np.hstack([support * frame[["tl"]].to_numpy(float), support])
    return sums_intervals(columns, mean_recall, resamples=resamples, seed=seed)[0]


#: What two ways of decoding, or two runs, are compared by.
COMPARED = ("tl", "wl_exact", "all", "f1", "format_accuracy", "invented", "truncated")


def summaries(frame: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int) -> dict[str, Any]:
    """summarise() of all documents ("all") and of those with and without gold words ("with_words",
    "empty_gold")."""
    empty = frame["empty_gold"].astype(bool)
    return {name: summarise(part, resamples=resamples, seed=seed) for name, part in
            (("all", frame), ("with_words", frame[~empty]), ("empty_gold", frame[empty]))}


def gold_ceiling(converter: Converter, records: Sequence[Record]) -> dict[str, Any]:
    """The best score a perfect model can reach, for targets carry surfaces and not offsets.

    `round_trip`: share of gold targets that parse back, without a problem, into label and items.
    `offset_f1`: of gold targets, located by Converter.locate (None without gold words).
    `n_repeated`: records in which the surface of a gold span occurs more than once in the text.
    `n_moved`: records in which at least one gold word is located elsewhere.
    """
    targets = [converter.target(r.validate(converter.task), "joint") for r in records]
    frame = score_documents(converter, records, "joint", [{"output": t} for t in targets])
    clean = np.array([not converter.parse(t, "joint", r.text).problems
                      for r, t in zip(records, targets, strict=True)])
    above, below = ratio_columns(frame, "offset_f1") or (np.zeros(0), np.zeros(0))
    return {
        "n": len(frame),
        "round_trip": float((frame["all_set"].eq(1) & clean).mean()) if len(frame) else None,
        "offset_f1": float(above.sum() / below.sum()) if below.sum() else None,
        "n_repeated": sum(any(_repeats(s, r.text) for i in r.items() for s in i.surfaces) for r in records),
        "n_moved": int(frame["offset_fn"].gt(0).sum()),
    }


def _repeats(surface: str, text: str) -> bool:
    """Whether `surface` occurs more than once; occurrences may overlap, unlike in str.count."""
    return text.find(surface, text.find(surface) + 1) >= 0
