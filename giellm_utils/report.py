"""From result files to figures, and from runs/ to what is committed: results/ and notebooks/.

A run's result files are small JSON without texts, but for one attributed example sentence.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from PIL import Image

from giellm_utils import figures, plotting
from giellm_utils.cost_figures import peer_costs
from giellm_utils.pipeline import NOTEBOOKS, STAGES, StageError, shown
from giellm_utils.speed_figures import speed
from giellm_utils.storage import read_json, read_jsonl, write_json, write_text

#: Result file -> the stage that writes it. In results/<run>/ they lie side by side.
RESULT_FILES = {
    "provenance.json": "01_inspect_data", "composition.json": "01_inspect_data", "leakage.json": "01_inspect_data",
    "tokens.json": "02_convert_format", "history.jsonl": "03_train", "trainings.json": "03_train",
    "scores.json": "04_evaluate", "decodings.json": "04_evaluate", "example.json": "04_evaluate",
    "mre.json": "05_mutual_reinforcement",
}


class Results:
    """The result files of one run, in runs/<name>/ (a folder a stage) or in results/<name>/ (flat)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flat = (folder / "provenance.json").exists()
        if not self.flat and not (folder / "01_inspect_data").exists():
            raise StageError(f"{shown(folder)} holds no results: give a folder below results/ or runs/")

    def path(self, name: str) -> Path:
        return self.folder / name if self.flat else self.folder / RESULT_FILES[name] / name

    def read(self, name: str) -> Any:
        """The content of a result file, None where the run has not come that far."""
        path = self.path(name)
        if not path.exists():
            return None
        return read_jsonl(path) if name.endswith(".jsonl") else read_json(path)

    def source(self, task: str | None = None) -> str:
        """The line at the foot of a figure: which data, which model, how trained."""
        provenance = self.read("provenance.json")
        if task or len(provenance) == 1:
            data = provenance[task or next(iter(provenance))]["title"]
        else:
            served = sorted({p["source"] for p in provenance.values()})
            stand_in = " (machine-written, stand-in)" if "embedded mini corpus" in served else ""
            data = f"{len(provenance)} datasets, {' and '.join(served)}{stand_in}"
        trainings = self.read("trainings.json") or []
        model = sorted({f"{t['model']} · {t['method'].replace('lora', 'LoRA').replace('full', 'full fine-tuning')}"
                        for t in trainings})
        return " · ".join([data, *model])


def draw(results: Results) -> Iterator[tuple[str, Any]]:
    """(name, Figure) for every figure the result files at hand allow."""
    composition = results.read("composition.json")
    for task, stats in (composition or {}).items():
        yield f"composition-{task}", figures.composition(task, stats, results.read("provenance.json")[task]["title"])
    if tokens := results.read("tokens.json"):
        yield "token-cost", figures.token_cost(tokens, results.source())
    if history := results.read("history.jsonl"):
        frame = pd.DataFrame(history)
        for column in ("loss", "dev_loss"):
            frame[column] = frame[column] if column in frame else float("nan")
        yield "loss-curves", figures.loss_curves(frame, results.source())
    if scores := results.read("scores.json"):
        yield "accuracy", figures.accuracy(scores, results.source())
        for task, systems in scores["tasks"].items():
            if best := systems.get("joint") or systems.get("text"):
                if best["confusion"]:
                    yield f"confusion-{task}", figures.confusion(best["confusion"], task, results.source(task))
            if (words := systems.get("joint") or systems.get("words")) and words["per_word_label"]:
                yield f"per-label-f1-{task}", figures.per_label_f1(words["per_word_label"], results.source(task))
        if example := results.read("example.json"):
            yield "headline", figures.headline(scores, example, results.source(example["task"]))
    if (mre := results.read("mre.json")) and mre["effects"]:
        yield "effects", figures.effects(mre["effects"], results.source())


def draw_all(results: Path, out: Path) -> list[Path]:
    """Save every figure of every run in `results` below `out`/<run>/, and those of benchmarks and token
    costs; returns the files written."""
    folders = sorted(p.parent for p in results.glob("*/provenance.json"))
    if not folders:
        raise StageError(f"{shown(results)} holds no run with a provenance.json; run: giellm publish RUN")
    written = []
    for folder in folders:
        for name, figure in draw(Results(folder)):
            written += plotting.save(figure, out / folder.name, name)
    for folder, figure_of in (("bench", speed), ("token_costs", peer_costs)):
        for path in sorted((results / folder).glob("*.json")):
            written += plotting.save(figure_of(read_json(path)), out / folder, path.stem)
    return written


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
