"""From result files to figures, and from runs/ to what is committed: results/ and notebooks/.

A run's result files are small JSON without texts, but for one attributed example sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from giellm_utils.core.files import read_json, read_jsonl
from giellm_utils.core.paths import shown
from giellm_utils.experiment.manifest import StageError
from giellm_utils.reporting.figures import (
    accuracy, confusion, effects, loss_curves, per_label_f1, style as plotting,
    token_cost)
from giellm_utils.reporting.figures.composition import composition as draw_composition
from giellm_utils.reporting.figures.decoding_speed import speed
from giellm_utils.reporting.figures.format_costs import peer_costs
from giellm_utils.reporting.figures.headline import headline

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
        yield f"composition-{task}", draw_composition(task, stats, results.read("provenance.json")[task]["title"])
    if tokens := results.read("tokens.json"):
        yield "token-cost", token_cost.token_cost(tokens, results.source())
    if history := results.read("history.jsonl"):
        frame = pd.DataFrame(history)
        for column in ("loss", "dev_loss"):
            frame[column] = frame[column] if column in frame else float("nan")
        yield "loss-curves", loss_curves.loss_curves(frame, results.source())
    if scores := results.read("scores.json"):
        yield "accuracy", accuracy.accuracy(scores, results.source())
        for task, systems in scores["tasks"].items():
            if best := systems.get("joint") or systems.get("text"):
                if best["confusion"]:
                    yield f"confusion-{task}", confusion.confusion(best["confusion"], task, results.source(task))
            if (words := systems.get("joint") or systems.get("words")) and words["per_word_label"]:
                yield f"per-label-f1-{task}", per_label_f1.per_label_f1(words["per_word_label"], results.source(task))
        if example := results.read("example.json"):
            yield "headline", headline(scores, example, results.source(example["task"]))
    if (mre := results.read("mre.json")) and mre["effects"]:
        yield "effects", effects.effects(mre["effects"], results.source())


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
