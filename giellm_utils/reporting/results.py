"""The result files of one run as typed records, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import FILES
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_json, read_jsonl, StorageError
from giellm_utils.core.paths import shown
from giellm_utils.core.sources import source_line
from giellm_utils.core.system_result import SystemResult


class ReportError(GiellmError, RuntimeError):
    """Something that cannot be shown, drawn or published; the message says what is missing."""


class RunResults:
    """The result files of one run: runs/<name>/ (a folder a stage) or results/<name>/ (side by side).

    Every property reads its file anew and is None where the run has not come that far. Raises ReportError
    for a folder without results and StorageError for a file that is not what its name promises.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flat = (folder / "provenance.json").exists()
        if not self.flat and not (folder / artifacts.INSPECT).exists():
            raise ReportError(f"{shown(folder)} holds no results: give a folder below results/ or runs/")

    def path(self, name: str) -> Path:
        """Where a file of core.artifacts.FILES lies or would lie."""
        return self.folder / name if self.flat else self.folder / FILES[name][0] / name

    def has(self, *names: str) -> bool:
        return all(self.path(name).exists() for name in names)

    def _read(self, name: str) -> Any:
        path, kind = self.path(name), FILES[name][1]
        if not path.exists():
            return None
        if name.endswith(".jsonl"):
            return read_lines(path, kind)
        return read_json(path) if kind is None else artifacts.read(path, kind)

    @property
    def provenance(self) -> artifacts.ProvenanceFile | None:
        return self._read("provenance.json")

    @property
    def tasks(self) -> artifacts.TasksFile | None:
        return self._read("tasks.json")

    @property
    def composition(self) -> artifacts.CompositionFile | None:
        return self._read("composition.json")

    @property
    def leakage(self) -> dict[str, Any] | None:
        """The report of data.leakage: counts and ids, no texts."""
        return self._read("leakage.json")

    @property
    def tokens(self) -> artifacts.TokensFile | None:
        return self._read("tokens.json")

    @property
    def history(self) -> list[artifacts.HistoryRow] | None:
        return self._read("history.jsonl")

    @property
    def trainings(self) -> list[artifacts.Training] | None:
        found = self._read("trainings.json")
        return None if found is None else found.root

    @property
    def scores(self) -> artifacts.ScoresFile | None:
        return self._read("scores.json")

    @property
    def decodings(self) -> artifacts.DecodingsFile | None:
        return self._read("decodings.json")

    @property
    def example(self) -> artifacts.Example | None:
        return self._read("example.json")

    @property
    def mre(self) -> artifacts.MreFile | None:
        return self._read("mre.json")

    def manifest(self, stage: str) -> dict[str, Any]:
        """What a published run says of one of its stages; empty where it says nothing."""
        path = self.folder / "manifests.json"
        return read_json(path).get(stage, {}) if path.exists() else {}

    @property
    def format(self) -> str:
        """What its model reads and writes; older runs name no format, and were of format giellm."""
        return self.manifest(artifacts.CONVERT).get("parameters", {}).get("format.name") or "giellm"

    def source(self, task: str | None = None) -> str:
        """The line at the foot of a figure: which data (of one task or all), which model, how trained.

        Raises ReportError for a run without provenance.json.
        """
        provenance = self.provenance
        if provenance is None:
            raise ReportError(f"{shown(self.folder)} has no provenance.json: run {artifacts.INSPECT} first")
        return source_line(provenance, self.trainings or (), task)


def read_lines(path: Path, kind: type[BaseModel]) -> list[Any]:
    """The records of a JSON Lines file; raises StorageError naming the file, the line and the key."""
    rows = []
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            rows.append(kind.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            raise StorageError(f"{path}, record {number}: {'.'.join(map(str, first['loc']))} is not what a "
                               f"{kind.__name__} holds ({first['msg']}); make it again") from None
    return rows


def system_rows(results: Path) -> list[SystemResult]:
    """Every row of results/systems/, by its path."""
    return [artifacts.read(p, SystemResult) for p in sorted(results.glob("systems/*/*/*.json"))]


def run_folders(results: Path) -> list[Path]:
    """The folders of runs directly below `results`; raises ReportError where there is none."""
    if not (folders := sorted(p.parent for p in results.glob("*/provenance.json"))):
        raise ReportError(f"{shown(results)} holds no run with a provenance.json; run: giellm publish RUN")
    return folders
