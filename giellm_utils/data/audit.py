"""Audit sheets: random items of a machine-made layer for a human to tick, and the score of a sheet.

The sheet is a spreadsheet (.xlsx) with one row an item and two questions a row; `score_audit` gives
the share of yes with its Wilson 95 % interval. A sheet holds the texts: their licence goes with it.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from openpyxl import load_workbook, Workbook
from openpyxl.cell import Cell
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet
from scipy.stats import binomtest

from giellm_utils.core.schema import Record
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.fetch import SourceError

LABEL_QUESTION, WORDS_QUESTION = "label correct? (y/n)", "words correct? (y/n)"
COLUMNS = ("id", "text", "label", "words", LABEL_QUESTION, WORDS_QUESTION, "comment")
WIDTHS = (18, 70, 12, 44, 12, 12, 40)
ANSWERS = {"y": True, "yes": True, "はい": True, "n": False, "no": False, "いいえ": False}
ITEMS, ABOUT = "items", "about"
#: What a spreadsheet cell cannot hold; written as U+FFFD.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CELL_LIMIT = 32_767


class AuditError(SourceError):
    """A sheet that cannot be written or scored; one sentence with rows and columns."""


def audit_sheet(dataset: Dataset, path: str | Path, n: int = 100, seed: int = 42, *,
                overwrite: bool = False) -> int:
    """Write `n` random records of `dataset` (all, where it has fewer) to the new sheet `path`.

    The choice depends on the ids and `seed` alone. Returns the number of rows. Raises AuditError
    when `path` exists (a filled-in sheet is a person's work) unless `overwrite`, or is no .xlsx.
    """
    path = Path(path)
    if path.suffix != ".xlsx":
        raise AuditError(f"{path}: an audit sheet must end in .xlsx; choose such a name")
    if path.exists() and not overwrite:
        raise AuditError(f"{path} exists and may hold somebody's answers; choose another name or add "
                         "--overwrite to replace it")
    if n < 1 or not dataset.records:
        raise AuditError(f"{dataset.task.name}: an audit of {n} of {len(dataset.records)} records is empty; "
                         "ask for at least one")
    pool = sorted(dataset.records, key=lambda r: r.id)
    chosen = random.Random(seed).sample(pool, min(n, len(pool)))
    book = Workbook()
    _items(book.active, chosen)
    _about(book.create_sheet(ABOUT), dataset, len(chosen), seed)
    _save(book, path)
    return len(chosen)


def _items(sheet: Worksheet, records: list[Record]) -> None:
    sheet.title = ITEMS
    for column, (name, width) in enumerate(zip(COLUMNS, WIDTHS, strict=True), 1):
        _write(sheet.cell(1, column), name).font = Font(bold=True)
        sheet.column_dimensions[get_column_letter(column)].width = width
    for row, record in enumerate(records, 2):
        for column, value in enumerate((record.id, record.text, record.label, _words(record)), 1):
            _write(sheet.cell(row, column), value)
    sheet.freeze_panes = "A2"
    choice = DataValidation(type="list", formula1='"y,n"', allow_blank=True, showErrorMessage=True,
                            errorTitle="y or n", error="Answer y or n.")
    choice.add(f"E2:F{len(records) + 1}")
    sheet.add_data_validation(choice)


def _about(sheet: Worksheet, dataset: Dataset, n: int, seed: int) -> None:
    about = {"dataset": dataset.task.name, "items": str(n), "of": str(len(dataset.records)),
             "seed": str(seed),
             **dataset.provenance.model_dump(include={"title", "source", "licence", "attribution", "note"}),
             "how": "Read each text. Answer y where the label (the words: all of them, none missing, none "
                    "too many) is what the guideline of the layer asks for, n where not; comment as you "
                    "like. A question that you do not audit stays empty in every row."}
    for row, (key, value) in enumerate(about.items(), 1):
        _write(sheet.cell(row, 1), key).font = Font(bold=True)
        _write(sheet.cell(row, 2), value)
    sheet.column_dimensions["A"].width, sheet.column_dimensions["B"].width = 14, 110


def _words(record: Record) -> str:
    """The words as an auditor reads them, one a line; a dash where there is none."""
    return "\n".join(f"{item.label}: {' → '.join(item.surfaces)}" for item in record.items()) or "–"


def _write(cell: Cell, value: str) -> Cell:
    """Put `value` into `cell` as text, whatever it begins with: a formula must never be run."""
    cell.value = _UNWRITABLE.sub("\ufffd", value)[:_CELL_LIMIT]
    cell.data_type = "s"
    cell.quotePrefix = True
    cell.alignment = Alignment(wrap_text=True, vertical="top")
    return cell


def _save(book: Workbook, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        book.save(name)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def score_audit(path: str | Path) -> dict[str, Any]:
    """The score of a filled-in sheet, ready for JSON.

    `dataset`, `seed`, `items`; for `label`, `words` and `both`: yes, of, agreement (yes / of) and its
    Wilson 95 % interval `low`, `high` (None for a question empty in every row: not audited);
    `wrong`: the ids answered with n; `comments`: id -> comment.
    Raises AuditError naming the cells when a question is answered in some rows only, an answer is
    neither y nor n, or rows are missing or doubled.
    """
    sheet, about = _open(Path(path))
    rows = [[_text(v) for v in values] for values in
            sheet.iter_rows(min_row=2, max_col=len(COLUMNS), values_only=True)]
    while rows and not any(rows[-1]):
        rows.pop()
    _complete(path, [row[0] for row in rows], about)
    label, words = (_answers(path, [row[c] for row in rows], c) for c in (4, 5))
    if label is None and words is None:
        raise AuditError(f"{path}: no question is answered yet; fill in columns E and F with y or n")
    both = [a and b for a, b in zip(label, words, strict=True)] if label and words else None
    return {"dataset": about["dataset"], "seed": int(about["seed"]), "items": len(rows),
            "label": _interval(label), "words": _interval(words), "both": _interval(both),
            "wrong": [row[0] for i, row in enumerate(rows)
                      if any(answers is not None and not answers[i] for answers in (label, words))],
            "comments": {row[0]: row[6] for row in rows if row[6]}}


def _open(path: Path) -> tuple[Worksheet, dict[str, str]]:
    try:
        book = load_workbook(path)
    except FileNotFoundError:
        raise AuditError(f"{path} does not exist; check the path") from None
    except (BadZipFile, InvalidFileException, KeyError, OSError) as error:
        raise AuditError(f"{path} is no readable .xlsx file ({type(error).__name__}); "
                         "save it as .xlsx") from None
    if ITEMS not in book.sheetnames or ABOUT not in book.sheetnames:
        raise AuditError(f"{path} lacks the sheet {ITEMS!r} or {ABOUT!r}; fill in a sheet made by "
                         "`giellm data audit` and keep both")
    header = tuple(_text(c.value) for c in book[ITEMS][1][:len(COLUMNS)])
    if header != COLUMNS:
        raise AuditError(f"{path}: the first row reads {', '.join(header)}, not {', '.join(COLUMNS)}; "
                         "put the columns back")
    about = {_text(row[0]): _text(row[1]) for row in book[ABOUT].iter_rows(max_col=2, values_only=True)}
    for key in ("dataset", "items", "seed"):
        if not about.get(key) or (key != "dataset" and not re.fullmatch(r"-?\d+", about[key])):
            raise AuditError(f"{path}: sheet {ABOUT!r} lacks a sound {key!r}; put it back")
    return book[ITEMS], about


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _complete(path: str | Path, ids: list[str], about: dict[str, str]) -> None:
    counts = Counter(ids)
    twice = [i for i, count in counts.items() if count > 1 and i]
    if "" in counts:
        raise AuditError(f"{path}: row {ids.index('') + 2} has no id; put the id back or remove the row")
    if twice:
        raise AuditError(f"{path}: the id {twice[0]} stands in {counts[twice[0]]} rows; keep one")
    if len(ids) != int(about["items"]):
        raise AuditError(f"{path}: {len(ids)} rows where {about['items']} items were drawn; a sample with "
                         "rows taken out is no random sample, put them back")


def _answers(path: str | Path, values: list[str], column: int) -> list[bool] | None:
    """One answer a row; None where the whole column is empty."""
    if not any(values):
        return None
    read = [ANSWERS.get(unicodedata.normalize("NFKC", v).lower()) for v in values]
    letter = get_column_letter(column + 1)
    empty = [f"{letter}{i}" for i, v in enumerate(values, 2) if not v]
    odd = [f"{letter}{i} ({v!r})" for i, (v, r) in enumerate(zip(values, read, strict=True), 2)
           if v and r is None]
    kinds = (("cells are empty", empty), ("answers are neither y nor n", odd))
    problems = [f"{len(cells)} {what}: {', '.join(cells[:8])}{' …' if len(cells) > 8 else ''}"
                for what, cells in kinds if cells]
    if problems:
        raise AuditError(f"{path}: column {COLUMNS[column]!r}: {'; '.join(problems)}; complete the column "
                         "or leave all of it empty")
    return [bool(r) for r in read]


def _interval(answers: list[bool] | None) -> dict[str, Any] | None:
    if answers is None:
        return None
    interval = binomtest(sum(answers), len(answers)).proportion_ci(confidence_level=0.95, method="wilson")
    return {"yes": sum(answers), "of": len(answers), "agreement": sum(answers) / len(answers),
            "low": float(interval.low), "high": float(interval.high)}
