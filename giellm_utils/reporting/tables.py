"""TODO"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils.core.files import write_json, write_text

_MISSING = "–"


# -- formats ---------------------------------------------------------------------------------------------


def markdown(table: pd.DataFrame) -> str:
    """`table` without its index as a Markdown table; cells that are missing show a dash."""
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns),
            *([_MISSING if pd.isna(v) else str(v) for v in row] for row in table.itertuples(index=False))]
    return "".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |\n" for row in rows)


def write_measured(path: Path, result: Mapping[str, Any], table: str) -> Path:
    """A measurement as `path` (JSON) and its table beside it (.md), printed too; returns `path`."""
    write_json(path, result)
    write_text(path.with_suffix(".md"), table)
    print(table)
    return path


def percent(share: float | None) -> str:
    return _MISSING if share is None or pd.isna(share) else f"{share:.1%}".replace("%", " %")


def interval(score: Mapping[str, Any]) -> str:
    """A score of statistics.json with its 95 % interval, percent."""
    if score["value"] is None:
        return _MISSING
    return f"{percent(score['value'])} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
