"""Which learning rate a condition takes, from cells scored on dev (PROTOCOL.md, "Budgets and choices").

Each condition is held to its own primary metrics alone: TL where its text label is scored, F1 where its
words are, their mean where both are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from giellm_utils.core.cells import Cell, MAIN
from giellm_utils.core.mre_report import Choice, ChoiceReport, Tried
from giellm_utils.evaluation.score import ratio_columns
from giellm_utils.evaluation.trial_table import cell_frame, condition_place, TrialError
from giellm_utils.evaluation.trials import PRIMARY_METRICS, WAYS

KEY = "learning_rate"


def choose(cells: Iterable[Cell]) -> ChoiceReport:
    """The best rate of each condition: the mean over datasets and seeds, ties to the smaller rate.

    Cells of the main arm are no part of the search (they are the pilot). Raises TrialError for cells that
    were not scored on dev, for one that was trained on dev, and for a condition whose rates were not tried on
    the same datasets and seeds.
    """
    tried: dict[str, dict[float, dict[tuple[str, int], float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        training = cell.settings["training"]
        if cell.split != "dev" or "dev" in training["splits"]:
            raise TrialError(f"{cell.address} was trained on {' and '.join(training['splits'])} and scored "
                             f"on {cell.split}: a choice is made on dev, by trainings that have not seen it")
        if cell.arm != MAIN:
            tried[cell.condition][training[KEY]][cell.task, cell.seed] = own_score(cell)
    return ChoiceReport(key=KEY, choices=[_choice(c, tried[c]) for c in sorted(tried, key=condition_place)])


def own_score(cell: Cell) -> float:
    """The mean of the primary metrics (0 to 1) that the cell's level has, constrained decoding."""
    frame = cell_frame(cell, WAYS[0])
    if frame is None:
        raise TrialError(f"{cell.address} was not decoded under its grammar: decode it so, for the choice is "
                         "made by that")
    wanted = [m for m in PRIMARY_METRICS if cell.level in ("joint", {"tl": "text", "f1": "words"}[m])]
    parts = [ratio_columns(frame, metric) for metric in wanted]
    return sum(above.sum() / max(below.sum(), 1) for above, below in parts) / len(parts)


def _choice(condition: str, rates: dict[float, dict[tuple[str, int], float]]) -> Choice:
    if len({frozenset(scores) for scores in rates.values()}) > 1:
        raise TrialError(f"{condition}: its rates were not all tried on the same datasets and seeds; run the "
                         "experiment to its end first")
    means = {rate: sum(scores.values()) / len(scores) for rate, scores in sorted(rates.items())}
    return Choice(condition=condition, value=max(means, key=means.get),
                  tried=[Tried(value=rate, score=round(mean, 6)) for rate, mean in means.items()],
                  cells=len(next(iter(rates.values()))))
