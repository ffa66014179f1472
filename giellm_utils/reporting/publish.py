"""From runs/ to what is committed: a run's small result files, and its executed notebooks as a reader should
see them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from PIL import Image

from giellm_utils.core.artifacts import FILES, STAGES
from giellm_utils.core.files import read_json, write_json, write_text
from giellm_utils.core.paths import shown
from giellm_utils.reporting.results import ReportError, RunResults


def publish(run: Path, results: Path, *, force: bool = False) -> list[Path]:
    """Copy a run's result files to `results`/<run>/ with its manifests; returns the files written.

    The example sentence stays behind where its dataset may not be redistributed. Raises ReportError for a
    folder that is there already, unless forced.
    """
    source, target = RunResults(run), results / run.name
    if target.exists() and not force:
        raise ReportError(f"{shown(target)} exists; add --force to replace it")
    left_out = () if may_show_example(source) else ("example.json",)
    written = [write_text(target / name, source.path(name).read_text("utf-8"))
               for name in FILES if source.has(name) and name not in left_out]
    for name in FILES:
        # What this run has not got must not stand beside what it has.
        if target / name not in written:
            (target / name).unlink(missing_ok=True)
    manifests = {stage: read_json(path) for stage in STAGES
                 if (path := run / stage / "manifest.json").exists()}
    return [*written, write_json(target / "manifests.json", manifests)]


def may_show_example(results: RunResults) -> bool:
    """Whether the run's example sentence, if it has one, may be redistributed."""
    example, provenance = results.example, results.provenance
    return example is None or bool(provenance and provenance[example.task].redistributable)


def slim_png(encoded: str) -> str:
    """A base64 PNG with a palette of its 32 most frequent colours: a notebook must stay below 1 MB.

    The most frequent, for figures are flat: Image.quantize gave two series the same colour.
    """
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
    colours, which, counts = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    palette = colours[np.argsort(-counts)[:32]]
    nearest = ((colours[:, None].astype(int) - palette[None]) ** 2).sum(-1).argmin(1).astype(np.uint8)
    slim = Image.fromarray(nearest[which.reshape(image.shape[:2])], "P")
    slim.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    slim.save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def publish_notebooks(run: Path, notebooks: Path) -> list[Path]:
    """Take a run's executed notebooks over into the folder `notebooks`; returns the files written."""
    executed = [path for stage in STAGES if (path := run / "notebooks" / f"{stage}.ipynb").exists()]
    return [write_text(notebooks / path.name,
                       nbformat.writes(cleaned(nbformat.read(path, as_version=4))) + "\n")
            for path in executed]


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """`notebook` as a reader should see it.

    Dropped: the injected parameters (the notebook's own are the default run's), papermill's metadata
    (machine paths, times) and all but the last state of a progress bar. Pictures are slimmed.
    """
    notebook.metadata.pop("papermill", None)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = slim_png(output.data["image/png"])
    return notebook
