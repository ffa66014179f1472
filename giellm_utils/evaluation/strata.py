"""Where a difference comes from: the same comparison on the documents with no, one, two ... gold words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from giellm_utils.evaluation.crossed import crossed
from giellm_utils.evaluation.pairs import cluster_values, Pairs
from giellm_utils.evaluation.seeds import Interval

#: Documents with as many gold words or more stand together.
MOST = 4
#: A stratum of fewer clusters of documents is left out: it tells nothing.
FEWEST = 30


def by_words(pairs: Pairs, gold: Sequence[int]) -> Iterator[tuple[str, Pairs, Interval]]:
    """Each stratum's name, its part of `pairs`, and the 95 % interval over its documents and seeds.

    `gold`: gold words of each document, in the order of `pairs`. A stratum in which the metric is undefined
    for a seed (word F1 where there is nothing to find) is left out, as is a small one.
    """
    numbers = np.minimum(np.asarray(gold), MOST)
    for number in range(MOST + 1):
        chosen = numbers == number
        columns = {name: getattr(pairs, name)[chosen]
                   for name in ("above_a", "below_a", "above_b", "below_b")}
        part = replace(pairs, clusters=tuple(np.array(pairs.clusters)[chosen].tolist()), **columns)
        if len(set(part.clusters)) < FEWEST or not _is_defined(part, number):
            continue
        name = f"{number} or more" if number == MOST else str(number)
        yield name, part, crossed(cluster_values([part])).interval()


def _is_defined(part: Pairs, number: int) -> bool:
    below = np.hstack([part.below_a, part.below_b])
    # F1 of texts without gold words is zero or nothing, whatever the model does: no score.
    return bool((below.sum(0) > 0).all()) and (number > 0 or bool((below == 1).all()))
