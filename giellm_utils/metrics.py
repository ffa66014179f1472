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

from giellm_utils.converter import Converter, Parsed
from giellm_utils.schema import LEVELS, Item, Level, Record, Word
from giellm_utils.statistics import RESAMPLES, Interval, ratio, ratio_intervals, sums_intervals

NO_LABEL = "no label"

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


#: What two ways of decoding, or two runs, are compared by.
COMPARED = ("tl", "wl_exact", "all", "f1", "format_accuracy", "invented", "truncated")


def summaries(frame: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int) -> dict[str, Any]:
    """summarise() of all documents ("all") and of those with and without gold words ("with_words",
    "empty_gold")."""
    empty = frame["empty_gold"].astype(bool)
    return {name: summarise(part, resamples=resamples, seed=seed) for name, part in
            (("all", frame), ("with_words", frame[~empty]), ("empty_gold", frame[empty]))}


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
