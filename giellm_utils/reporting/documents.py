"""Marked tables of documents, made anew from results/, so that no number is typed by hand.

Whatever stands between `<!-- KIND:NAME -->` and `<!-- /KIND -->` is replaced. KIND results, summary,
effects or decodings: a table of run NAME (run_tables). KIND paper: every system of the paper beside ours,
NAME is a task or `all` (beside_paper). KIND table: NAME is aims, claims, one of corpus_tables.TABLES, or
FOLDER/FILE for a measurement (measurements.TABLES), such as bench/open-scnm, mre/NAME
(mre_tables.TABLES) or systems/NAME (system_tables.TABLES).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from giellm_utils.core.files import read_json, write_text
from giellm_utils.core.paths import ROOT
from giellm_utils.data.registry import TASKS
from giellm_utils.reporting import (
    aims,
    beside_paper,
    claims,
    corpus_tables,
    measurements,
    mre_tables,
    run_tables,
    system_tables,
)
from giellm_utils.reporting.results import ReportError, RunResults
from giellm_utils.reporting.tables import markdown

_KINDS = "|".join(("table", "paper", *run_tables.KINDS))
_MARKED = re.compile(rf"(<!-- ({_KINDS}):(\S+) -->\n)(.*?)(<!-- /\2 -->)", re.S)
#: Tables that are read from more than one folder of results.
_WHOLE = {aims.NAME: aims.table, claims.NAME: claims.table}


class Tables:
    """Every table that a document can ask for, made from one folder of results."""

    def __init__(self, results: Path) -> None:
        self.results = results

    @cached_property
    def _corpus(self) -> tuple[Any, Any]:
        return tuple(read_json(self.results / "corpus" / name) for name in ("rules.json", "statistics.json"))

    def make(self, kind: str, name: str) -> str:
        """The Markdown of one mark; raises ReportError for a name that nobody knows."""
        if kind == "paper":
            return self._paper(name)
        if kind != "table":
            return run_tables.KINDS[kind](RunResults(self.results / name))
        folder, _, file = name.partition("/")
        if folder == mre_tables.FOLDER and file in mre_tables.TABLES:
            return mre_tables.table(self.results, file)
        if folder == system_tables.FOLDER and file in system_tables.TABLES:
            return system_tables.TABLES[file](self.results)
        if folder in measurements.TABLES:
            path = self.results / folder / f"{file}.json"
            return measurements.TABLES[folder](read_json(path)) if path.exists() else "Not measured yet.\n"
        if name in _WHOLE:
            return _WHOLE[name](self.results)
        if name in corpus_tables.TABLES:
            return markdown(corpus_tables.TABLES[name](*self._corpus))
        raise ReportError(f"no table {name!r}; known tables: {', '.join(_WHOLE)}, "
                          f"{', '.join(corpus_tables.TABLES)}, "
                          f"{', '.join(f'{folder}/FILE' for folder in measurements.TABLES)}, "
                          f"{', '.join(f'{mre_tables.FOLDER}/{name}' for name in mre_tables.TABLES)}, "
                          f"{', '.join(f'{system_tables.FOLDER}/{name}' for name in system_tables.TABLES)}")

    def _paper(self, name: str) -> str:
        if name not in ("all", *TASKS):
            raise ReportError(f"no table paper:{name}; known: all, {', '.join(TASKS)}")
        return beside_paper.markdown(self.results, TASKS if name == "all" else (name,))


def render(document: str, results: Path, where: str = "document") -> str:
    """`document` with every marked table made anew from `results`.

    Raises ReportError naming `where` and the table for an unknown name, a run without that result, and a
    mark without its end.
    """
    tables = Tables(results)

    def table(match: re.Match[str]) -> str:
        start, kind, name, _, end = match.groups()
        try:
            return start + tables.make(kind, name) + end
        except ReportError as error:
            raise ReportError(f"{where}: {error}") from None

    marks = (len(re.findall(rf"<!-- (?:{_KINDS}):", document)),
             len(re.findall(rf"<!-- /(?:{_KINDS}) -->", document)), len(_MARKED.findall(document)))
    if len(set(marks)) != 1:
        raise ReportError(f"{where}: {marks[0]} table marks but {marks[1]} ends, of which {marks[2]} fit; "
                          "close each <!-- KIND:NAME --> line with <!-- /KIND -->")
    return _MARKED.sub(table, document)


def prose(document: str) -> str:
    """`document` without its marked tables: what was written by hand."""
    return _MARKED.sub("", document)


def documents(root: Path = ROOT) -> Iterator[Path]:
    """The documents whose tables are made: README.md, REPRODUCTION.md and docs/*.md."""
    first = (root / "README.md", root / "REPRODUCTION.md")
    yield from (p for p in (*first, *sorted((root / "docs").glob("*.md"))) if p.exists())


def refresh(root: Path = ROOT) -> list[Path]:
    """Make the tables of every document anew from results/; returns the files that changed.

    Raises ReportError as `render` does, before any file is written.
    """
    made = {path: render(path.read_text("utf-8"), root / "results", path.name) for path in documents(root)}
    return [write_text(path, text) for path, text in made.items() if path.read_text("utf-8") != text]
