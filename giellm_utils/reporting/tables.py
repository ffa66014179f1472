"""How numbers and tables look in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils.core.artifacts import Score
from giellm_utils.core.files import write_json

#: A cell without a value.
MISSING = "–"


def rows_to_markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; cells that are None or NaN show a dash."""
    lines = [list(map(str, head)), ["---"] * len(head),
             *([MISSING if pd.isna(v) else str(v) for v in row] for row in rows)]
    return "".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |\n" for row in lines)


def markdown(table: pd.DataFrame) -> str:
    """`table` without its index as a Markdown table; cells that are missing show a dash."""
    return rows_to_markdown(table.columns, table.itertuples(index=False))


def percent(share: float | None) -> str:
    """`83.8 %`"""
    return MISSING if share is None or pd.isna(share) else f"{share:.1%}".replace("%", " %")


def score_cell(score: Score | None) -> str:
    """`83.8 [75.0, 91.2]`, per cent; a dash where the metric does not apply or is undefined."""
    if score is None or score.value is None:
        return MISSING
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def write_measured(path: Path, result: Mapping[str, Any], table: str) -> Path:
    """A measurement as `path` (JSON), its table printed; returns `path`.

    The table itself is kept in the documents, where `giellm tables` makes it from the JSON.
    """
    write_json(path, result)
    print(table)
    return path
