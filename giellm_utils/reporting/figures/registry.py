"""The figures there are, found by themselves, and how all of them are drawn.

A figure is one module of this package. One that draws a run has READS, the result files (core.artifacts)
it needs, and `draw(results: RunResults)`, which yields (name, Figure) pairs. One that draws a measurement
has FOLDER, the folder below results/ whose JSON files it draws, and `draw(result)`, which gives one Figure.
One that draws a single file has FILE, its path below results/, and `draw(result)`, which yields pairs.
One that draws what stands in several places has ALL, its folder below figures/, and `draw(results)` of the
folder results/, which yields pairs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from matplotlib.figure import Figure

from giellm_utils.core.artifacts import FILES
from giellm_utils.core.files import read_json
from giellm_utils.reporting.figures import style
from giellm_utils.reporting.results import run_folders, RunResults


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every figure's module: those of runs first, in the order of the last file they read, then by name.

    Raises ValueError for a module of this package that does not say what it draws.
    """
    order = list(FILES)
    found = [importlib.import_module(f"{__package__}.{m.name}")
             for m in pkgutil.iter_modules([str(Path(__file__).parent)])
             if m.name not in ("registry", "style")]
    says = ("READS", "FOLDER", "FILE", "ALL")
    if silent := [m.__name__ for m in found if not any(hasattr(m, k) for k in says)]:
        raise ValueError(f"{silent[0]} has neither READS nor FOLDER nor FILE nor ALL")
    return tuple(sorted(found, key=lambda m: (
        max(map(order.index, m.READS)) if hasattr(m, "READS") else len(order), m.__name__)))


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    """(name, Figure) for every figure that the result files at hand allow."""
    for module in modules():
        if hasattr(module, "READS") and results.has(*module.READS):
            yield from module.draw(results)


def draw_file(module: ModuleType, results: Path) -> Iterator[tuple[str, Figure]]:
    """(name, Figure) of a module that draws a single file of `results`; none where that is not there yet."""
    if (path := results / module.FILE).exists():
        yield from module.draw(read_json(path))


def draw_folder(results: Path, folder: str) -> Iterator[tuple[str, Figure]]:
    """(name, Figure) of all single files directly below `folder` of `results`, such as mre."""
    for module in modules():
        if hasattr(module, "FILE") and Path(module.FILE).parent == Path(folder):
            yield from draw_file(module, results)


def draw_all(results: Path, out: Path) -> Iterator[Path]:
    """Save every figure of every run in `results` below `out`/<run>/, and those of every measurement and
    single file below `out`/<folder>/; yields the files as they are written. Raises ReportError where there
    is no run."""
    for folder in run_folders(results):
        for name, figure in draw(RunResults(folder)):
            yield from style.save(figure, out / folder.name, name)
    for module in modules():
        if hasattr(module, "FOLDER"):
            for path in sorted((results / module.FOLDER).glob("*.json")):
                yield from style.save(module.draw(read_json(path)), out / module.FOLDER, path.stem)
        if hasattr(module, "FILE"):
            for name, figure in draw_file(module, results):
                yield from style.save(figure, out / Path(module.FILE).parent, name)
        if hasattr(module, "ALL"):
            for name, figure in module.draw(results):
                yield from style.save(figure, out / module.ALL, name)
