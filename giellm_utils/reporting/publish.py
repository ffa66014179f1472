"""TODO"""

from __future__ import annotations

import base64
import io
import os
import shutil
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor

from giellm_utils.core.files import read_json, write_json, write_text
from giellm_utils.core.paths import shown
from giellm_utils.experiment.notebooks import NOTEBOOKS
from giellm_utils.experiment.stages import STAGES, StageError
from giellm_utils.reporting.results import RESULT_FILES, Results


def publish(run: Path, results: Path, *, force: bool = False) -> list[Path]:
    """Copy a run's result files to `results`/<run>/ with its manifests; refuses to replace unless forced."""
    source, target = Results(run), results / run.name
    if target.exists() and not force:
        raise StageError(f"{shown(target)} exists; add --force to replace it")
    written = []
    for name in RESULT_FILES:
        if source.path(name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.path(name), target / f"{name}.tmp")
            os.replace(target / f"{name}.tmp", target / name)
            written.append(target / name)
    manifests = {s: read_json(run / s / "manifest.json") for s in STAGES if (run / s / "manifest.json").exists()}
    written.append(write_json(target / "manifests.json", manifests))
    return written


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


def publish_notebooks(run: Path) -> list[Path]:
    """Take a run's executed notebooks over into notebooks/, as a reader should see them.

    Dropped: the injected parameters (the notebook's own are the default run's), papermill's
    metadata (machine paths, times) and all but the last state of a progress bar. Pictures are slimmed.
    """
    written = []
    for stage in STAGES:
        path = run / "notebooks" / f"{stage}.ipynb"
        if not path.exists():
            continue
        notebook = nbformat.read(path, as_version=4)
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
        written.append(write_text(NOTEBOOKS / f"{stage}.ipynb", nbformat.writes(notebook) + "\n"))
    return written
