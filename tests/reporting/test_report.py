"""What is committed is made from results/: README tables, figures, and nothing typed by hand."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from giellm_utils.reporting import readme
from giellm_utils.cli.main import app
from giellm_utils.core.paths import ROOT
from giellm_utils.experiment.manifest import StageError
from giellm_utils.reporting.results import draw, draw_all, Results
from giellm_utils.reporting.publish import slim_png

RUNS = sorted(p.parent.name for p in (ROOT / "results").glob("*/provenance.json"))


def test_readme_tables_are_those_of_the_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.render(text, ROOT / "results") == text, "run: python -m giellm_utils.readme"
    assert text.count("<!-- results:") >= 2


def test_a_changed_result_changes_the_readme(tmp_path):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    scores = tmp_path / "results" / "mini" / "scores.json"
    value = Results(tmp_path / "results" / "mini").read("scores.json")["tasks"]["scnm"]["joint"]["all"]["tl"]["value"]
    scores.write_text(scores.read_text(encoding="utf-8").replace(str(value), "0.12345", 1), encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.render(text, tmp_path / "results") != text


@pytest.mark.parametrize("run", RUNS)
def test_every_committed_figure_can_be_drawn_again(run):
    results = Results(ROOT / "results" / run)
    names = {name for name, _ in draw(results)}
    committed = {p.stem for p in (ROOT / "figures" / run).glob("*.png")}
    assert names == committed == {p.stem for p in (ROOT / "figures" / run).glob("*.svg")}, "run: make figures"
    assert "dequantised" in results.source() or "scratch" in results.source()


@pytest.mark.parametrize("folder", ["bench", "token_costs"])
def test_benchmarks_and_token_costs_have_their_figures_and_tables(folder):
    names = {p.stem for p in (ROOT / "results" / folder).glob("*.json")}
    assert names and names == {p.stem for p in (ROOT / "results" / folder).glob("*.md")}
    assert names == {p.stem for p in (ROOT / "figures" / folder).glob("*.png")}, "run: make figures"


def test_a_slim_picture_keeps_its_series_apart():
    """Two thin lines of different hue on much white, with grey text: no colour of them may be merged."""
    image = Image.new("RGB", (200, 100), "white")
    colours = [(0, 114, 178), (0, 158, 115), (230, 159, 0), *((g, g, g) for g in range(40, 240, 2))]
    for i, colour in enumerate(colours):
        image.paste(colour, (10, i % 90, 10 + (60 if i < 3 else 3), i % 90 + 1))
    buffer = io.BytesIO()
    image.save(buffer, "png")
    slim = Image.open(io.BytesIO(base64.b64decode(slim_png(base64.b64encode(buffer.getvalue()).decode())))).convert("RGB")
    assert slim.getpixel((0, 99)) == (255, 255, 255) and len(slim.getcolors()) == 32
    assert [slim.getpixel((50, i)) for i in range(3)] == colours[:3]


def test_results_hold_the_manifests_of_one_run():
    for run in RUNS:
        manifests = Results(ROOT / "results" / run)
        found = json.loads((manifests.folder / "manifests.json").read_text(encoding="utf-8"))
        assert found["04_evaluate"]["seed"] == found["03_train"]["seed"]
        assert {"dtype", "device", "batch_size"} <= set(found["04_evaluate"])


def test_make_figures_command_writes_where_it_is_told(tmp_path):
    shutil.copytree(ROOT / "results" / "mini", tmp_path / "results" / "mini")
    done = CliRunner().invoke(app, ["figures", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "f")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "f" / "mini" / "accuracy.svg").stat().st_size > 1000


def test_a_folder_without_results_is_named(tmp_path: Path):
    with pytest.raises(StageError, match="holds no"):
        draw_all(tmp_path, tmp_path / "out")
    with pytest.raises(StageError, match="holds no results"):
        Results(tmp_path)
