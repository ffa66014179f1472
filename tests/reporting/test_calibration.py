"""The reliability diagram and its table, from made-up reports."""

from __future__ import annotations

import numpy as np
import pytest

from giellm_utils.core import artifacts
from giellm_utils.core.calibration_report import CalibrationReport, FOLDER, Reliability, TaskCalibration
from giellm_utils.evaluation.calibration import reliability, Said
from giellm_utils.reporting.documents import render
from giellm_utils.reporting.figures import calibration, registry
from giellm_utils.reporting.measurements import calibration_table
from support.figures import assert_nothing_overlaps, texts
from support.results import write_run

SOURCE = "SCNM, embedded mini corpus (machine-written, stand-in) · Gemma-3-270M · LoRA"


def level(n: int, documents: int, fit: bool = True) -> Reliability:
    """Confidences from 0.45 up, a tenth too high."""
    sure = np.linspace(0.45, 1, n)
    right = np.random.default_rng(0).random(n) < sure - 0.1
    said = [Said(i % documents, float(c), bool(r)) for i, (c, r) in enumerate(zip(sure, right, strict=True))]
    return reliability(said, [f"文{i}" for i in range(documents)], resamples=50, seed=1, fit=fit)


def report(*tasks: str, words: bool = True, split: str = "dev") -> CalibrationReport:
    fit = split == "dev"
    return CalibrationReport(run="made", condition="joint", source=SOURCE, split=split, seed=1, resamples=50,
                             tasks={t: TaskCalibration(documents=100, label=level(100, 100, fit), words=level(
                                 1_300, 100, fit) if words else None) for t in tasks})


@pytest.mark.parametrize("made", [report("scnm"), report("scnm", "tcree", "scpos-n"), report(
    "tcree", words=False), report("scnm", split="test")], ids=["one", "three", "no words", "test"])
def test_the_diagram_shows_every_level_and_overlaps_nothing(made):
    fig = calibration.draw(made.model_dump(mode="json"))
    assert_nothing_overlaps(fig)
    panels = [found for both in made.tasks.values() for found in (both.label, both.words) if found]
    assert len(fig.axes) == 2 * len(panels)
    for ax, counts, found in zip(fig.axes[::2], fig.axes[1::2], panels, strict=True):
        held = [b for b in found.bins if b.n]
        marks = [line for line in ax.lines if line.get_marker() in ("o", "s")]
        assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [
            (100 * b.confidence, 100 * b.right) for b in held]
        assert [bar.get_height() for bar in counts.patches] == [b.n for b in found.bins]
    said = " ".join(" ".join(texts(fig)).split())
    assert f"run made, joint, {made.split}" in said and ("temperature" in said) == (made.split == "dev")


def test_the_table_has_a_row_a_level():
    lines = calibration_table(report("scnm", "tcree", words=False).model_dump(mode="json")).splitlines()
    found = level(100, 100)
    assert lines[0].startswith(f"{SOURCE}. Run `made`, joint, documents of dev: 100 of scnm, 100 of tcree.")
    assert len(lines) == 6 and lines[4].startswith("| scnm | text label | 100 | ")
    assert f"| {found.temperature.value:.2f} |" in lines[4] and f"{100 * found.gap.value:+.1f} [" in lines[4]
    off = calibration_table(report("scnm", split="test").model_dump(mode="json")).splitlines()
    assert off[2].endswith("| ECE |") and off[-1].count("|") == off[2].count("|") and "–" not in off[-1]


def test_a_committed_report_is_drawn_and_shown_and_none_is_needed(tmp_path):
    results = tmp_path / "results"
    write_run(results / "run", "scnm", leave_out=("composition.json", "history.jsonl", "mre.json"))
    list(registry.draw_all(results, tmp_path / "a"))
    mark = f"<!-- table:{FOLDER}/made -->\n<!-- /table -->"
    assert "Not measured yet." in render(mark, results) and not (tmp_path / "a" / FOLDER).exists()
    artifacts.write(results / FOLDER / "made.json", report("scnm"))
    drawn = {p.name for p in registry.draw_all(results, tmp_path / "b") if p.parent.name == FOLDER}
    assert drawn == {"made.png", "made.svg"} and "| scnm | words | 1,300 |" in render(mark, results)
