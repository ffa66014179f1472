"""The Mutual Reinforcement Effect: joint against single-level, from frames of scores alone.

GIELLM (arXiv 2311.06838) claims that learning text level and word level together helps both. Here
the joint model is compared with the text-only and the words-only model on the same documents,
resampled together; nothing is trained and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from giellm_utils.core.artifacts import Effect, Independence
from giellm_utils.core.schema import Level
from giellm_utils.evaluation.bootstrap import ratio, RESAMPLES, sums_intervals
from giellm_utils.evaluation.paired import mcnemar_exact, paired_difference, verdict
from giellm_utils.evaluation.score import ratio_columns

#: What is compared, and with which single-level model.
COMPARISONS: tuple[tuple[str, Level], ...] = (
    ("tl", "text"), ("wl_exact", "words"), ("wl_set", "words"), ("wl_words", "words"), ("f1", "words"))
#: The outcome of each level that a whole document has right or wrong, with the single-level model.
RIGHT_OR_WRONG = COMPARISONS[:2]
#: Right or wrong for each document, as McNemar's test needs it.
BINARY = ("tl", "wl_exact", "wl_set")


def effects(frames: Mapping[str, pd.DataFrame], *, task: str, resamples: int = RESAMPLES,
            seed: int) -> list[Effect]:
    """Joint minus single for each of COMPARISONS whose single-level condition is there.

    `frames` holds the scores of one task by condition ("joint" and one or both of "text", "words"), as
    score.score_documents gives them; documents are matched by id, their order does not matter.
    `mcnemar_p` is None where the metric is not right-or-wrong. `verdict` is "higher" when joint is
    better, "lower", or "undecided" when the 95 % paired interval contains zero. Raises ValueError when
    a frame is missing or two frames do not hold the same documents.
    """
    if "joint" not in frames or not {"text", "words"} & set(frames):
        raise ValueError(f"the comparison needs scores of 'joint' and of 'text' or 'words', but got "
                         f"{', '.join(map(repr, frames)) or 'none'}: evaluate the missing level first")
    return [_effect(task, frames["joint"], frames[level], metric, level, resamples, seed)
            for metric, level in COMPARISONS if level in frames]


def disagreements(frames: Mapping[str, pd.DataFrame]) -> list[dict[str, int | str]]:
    """On how many documents the joint and the single-level model are right together, alone, or not at all,
    by each of RIGHT_OR_WRONG. `frames` and errors as for `effects`."""
    joint, found = frames["joint"], []
    for metric, level in RIGHT_OR_WRONG:
        if level not in frames:
            continue
        a = _columns(joint, metric, "joint")[0] > 0
        b = _columns(_aligned(joint, frames[level], level), metric, level)[0] > 0
        found.append({"metric": metric, "single_level": level, "n": len(a), "both": int((a & b).sum()),
                      "only_joint": int((a & ~b).sum()), "only_single": int((b & ~a).sum()),
                      "neither": int((~a & ~b).sum())})
    return found


def _effect(task: str, joint: pd.DataFrame, single: pd.DataFrame, metric: str, level: Level,
            resamples: int, seed: int) -> Effect:
    a = _columns(joint, metric, "joint")
    b = _columns(_aligned(joint, single, level), metric, level)
    difference = paired_difference(*a, *b, resamples=resamples, seed=seed)
    values = [float(ratio(above.sum(), below.sum())) for above, below in (a, b)]
    return Effect(
        task=task, metric=metric, joint=_or_none(values[0]), single=_or_none(values[1]), single_level=level,
        difference=difference.value, low=difference.low, high=difference.high, p_value=difference.p_value,
        mcnemar_p=mcnemar_exact(a[0], b[0]) if metric in BINARY else None,
        n=difference.n, verdict=difference.verdict)


def _columns(frame: pd.DataFrame, metric: str, level: Level) -> tuple[np.ndarray, np.ndarray]:
    columns = ratio_columns(frame, metric)
    if columns is None:
        raise ValueError(f"the frame given for level {level!r} has no values of {metric}: "
                         f"it holds no document, or scores of another level")
    return columns


def _aligned(joint: pd.DataFrame, single: pd.DataFrame, level: Level) -> pd.DataFrame:
    """`single` in the order of `joint`'s documents."""
    for name, frame in (("joint", joint), (level, single)):
        if frame["id"].duplicated().any():
            raise ValueError(f"document {frame['id'][frame['id'].duplicated()].iloc[0]} stands more than "
                             f"once in the scores of level {name!r}: keep one row a document")
    only_joint, only_single = set(joint["id"]) - set(single["id"]), set(single["id"]) - set(joint["id"])
    if only_joint or only_single:
        example = min(map(str, only_joint or only_single))
        raise ValueError(f"levels 'joint' and {level!r} were scored on different documents: "
                         f"{len(only_joint)} only in 'joint', {len(only_single)} only in {level!r} "
                         f"(for example {example}); score both on the same records")
    return single.set_index("id", drop=False).loc[joint["id"]]


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def error_independence(frame_joint: pd.DataFrame, *, resamples: int = RESAMPLES,
                       seed: int) -> Independence:
    """Whether the joint model's text-level and word-level errors fall on the same documents.

    In the paper ALL is close to TL x WL, as for independent errors. `observed` is the share of
    documents with text label and words (wl_exact) right, `expected` is TL x WL, `excess` is observed -
    expected, `phi` their correlation (Yule's phi, -1 to 1; None when a level is always or never
    right). `verdict` is phi's: "higher" than independence,
    "lower", or "undecided" when its interval contains zero. Raises ValueError without joint scores.
    """
    text, ones = _columns(frame_joint, "tl", "joint")
    words, _ = _columns(frame_joint, "wl_exact", "joint")
    both, _ = _columns(frame_joint, "all", "joint")

    def statistic(sums: np.ndarray) -> np.ndarray:
        t, w, observed = (ratio(sums[..., i], sums[..., 3]) for i in range(3))
        excess = observed - t * w
        phi = ratio(excess, np.sqrt(np.clip(t * (1 - t) * w * (1 - w), 0, None)))
        return np.stack([observed, t * w, excess, phi], axis=-1)

    intervals = sums_intervals(np.column_stack([text, words, both, ones]), statistic,
                               resamples=resamples, seed=seed)
    observed, expected, excess, phi = intervals
    return Independence(n=len(frame_joint), observed=observed, expected=expected, excess=excess, phi=phi,
                        verdict=verdict(phi))
