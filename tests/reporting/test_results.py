"""Results of a run as records: both layouts, source line, faults; publishing; the committed figures."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import nbformat
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from giellm_utils.cli import report as commands
from giellm_utils.core.artifacts import Example, FILES, ScoresFile
from giellm_utils.core.files import read_json, StorageError, write_json
from giellm_utils.core.paths import ROOT
from giellm_utils.core.sources import source_line
from giellm_utils.reporting.figures import registry
from giellm_utils.reporting.publish import cleaned, publish, publish_notebooks, slim_png
from giellm_utils.reporting.results import ReportError, run_folders, RunResults
from support.results import LEVELS, provenance, training, write_run

COMMITTED = sorted(p.parent for p in (ROOT / "results").rglob("provenance.json"))
RUNS = [p.name for p in run_folders(ROOT / "results")]


def invoke(command, *arguments: str):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


# -- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [True, False])
def test_a_run_reads_the_same_in_both_layouts(tmp_path: Path, flat: bool) -> None:
    results = RunResults(write_run(tmp_path / "run", "scnm", flat=flat))
    assert results.path("scores.json").parent.name == ("run" if flat else "04_evaluate")
    assert isinstance(results.scores, ScoresFile) and isinstance(results.example, Example)
    assert results.scores.tasks["scnm"]["joint"].all["tl"].value == 0.87
    assert [t.condition for t in results.trainings] == list(LEVELS) and results.history[0].step == 1
    assert results.tasks is None and results.leakage is None and not results.has("scores.json", "tasks.json")


def test_the_source_line_names_data_model_and_training() -> None:
    model = "tiny model from scratch (tests only)"
    two = provenance("scnm", "tcree")
    assert source_line(provenance("scnm"), [training("joint")]) == (
        f"SCNM, embedded mini corpus (machine-written, stand-in) · {model} · LoRA")
    three = provenance("scnm", "tcree", "scpos-rw")
    assert source_line(three, [training("joint"), training("text", method="full")]) == (
        f"3 datasets, embedded mini corpus (machine-written, stand-in) · {model} · LoRA · "
        f"{model} · full fine-tuning")
    assert source_line(two) == "; ".join(f"{name}, embedded mini corpus (machine-written, stand-in)"
                                         for name in ("SCNM", "TCREE"))
    # Where data came from says nothing of what they are.
    mixed = {name: p.model_copy(update={"source": "local folder"}) for name, p in three.items()}
    assert source_line(mixed).count("embedded mini corpus") == 3 and "local" not in source_line(mixed)
    assert source_line(two, task="tcree") == "TCREE, embedded mini corpus (machine-written, stand-in)"
    short = training("text").model_copy(update={"stopped_by_minutes": True, "planned_steps": 126,
                                                "steps": 107})
    assert source_line(two, [training("joint"), short]).endswith(
        "LoRA · training of text stopped by training.minutes after 107 of 126 steps")


def test_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="holds no results: give a folder"):
        RunResults(tmp_path)
    with pytest.raises(ReportError, match="holds no run with a provenance.json; run: giellm publish RUN"):
        run_folders(tmp_path)
    folder = write_run(tmp_path / "run", "scnm")
    rows = (folder / "history.jsonl").read_text("utf-8").splitlines()
    (folder / "history.jsonl").write_text("\n".join([rows[0], '{"job": "joint", "step": 1}']), "utf-8")
    with pytest.raises(StorageError, match="history.jsonl, record 2: condition is not what a HistoryRow"):
        _ = RunResults(folder).history
    write_json(folder / "scores.json", {"split": "test", "seed": 1, "tasks": {"scnm": {"joint": {"tl": 1}}}})
    with pytest.raises(StorageError, match="scores.json: tasks.scnm.joint"):
        _ = RunResults(folder).scores
    (folder / "provenance.json").unlink()
    (folder / "01_inspect_data").mkdir()
    with pytest.raises(ReportError, match="has no provenance.json: run 01_inspect_data first"):
        RunResults(folder).source()


# -- what is committed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda p: str(p.relative_to(ROOT / "results")))
def test_every_committed_result_file_is_what_its_name_promises(folder: Path) -> None:
    results = RunResults(folder)
    for name in FILES:
        found = getattr(results, Path(name).stem)
        assert (found is not None) == (folder / name).exists()
    assert "dequantised" in results.source() or "scratch" in results.source()
    assert set(results.tasks) == set(results.provenance) == set(results.scores.tasks)
    trained = {t.condition for t in results.trainings}
    for systems in results.scores.tasks.values():
        assert trained <= set(systems)
        for system in systems.values():
            # Not only there, but with something in it: a metric has a value and counts every document.
            said = [s for s in system.all.values() if s and s.value is not None]
            assert said and {s.n for s in said} == {system.n}


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda p: str(p.relative_to(ROOT / "results")))
def test_results_hold_the_manifests_of_one_run(folder: Path) -> None:
    found = json.loads((folder / "manifests.json").read_text("utf-8"))
    assert found["04_evaluate"]["seed"] == found["03_train"]["seed"] == RunResults(folder).scores.seed
    assert {"dtype", "device", "batch_size"} <= set(found["04_evaluate"])


def test_the_committed_figures_are_drawn_again_byte_by_byte(tmp_path: Path) -> None:
    drawn = {p.relative_to(tmp_path): p.read_bytes() for p in registry.draw_all(ROOT / "results", tmp_path)}
    committed = {p.relative_to(ROOT / "figures"): p.read_bytes()
                 for p in (ROOT / "figures").rglob("*") if p.suffix in (".png", ".svg")}
    assert set(drawn) == set(committed), "run: make figures"
    assert [str(p) for p in drawn if drawn[p] != committed[p]] == [], "run: make figures"


def test_a_changed_number_changes_the_figure(tmp_path: Path) -> None:
    """The comparison above can fail: another value gives other bytes."""
    shutil.copytree(ROOT / "results" / "open-scnm", tmp_path / "results" / "open-scnm")
    path = tmp_path / "results" / "open-scnm" / "scores.json"
    scores = read_json(path)
    scores["tasks"]["scnm"]["joint"]["all"]["tl"]["value"] -= 0.01
    write_json(path, scores)
    drawn = {p.name: p for p in registry.draw_all(tmp_path / "results", tmp_path / "figures")
             if p.parent.name == "open-scnm"}
    changed = {name for name, p in drawn.items()
               if p.read_bytes() != (ROOT / "figures" / "open-scnm" / name).read_bytes()}
    assert changed == {"accuracy.png", "accuracy.svg", "headline.png", "headline.svg"}


# -- commands ----------------------------------------------------------------------------------------------


def test_the_figures_command_writes_where_it_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "results" / "made", "scnm", leave_out=(
        "composition.json", "history.jsonl", "mre.json"))
    done = invoke(commands.figures, "--results", str(tmp_path / "results"), "--out", str(tmp_path / "f"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "f" / "made" / "accuracy.svg").stat().st_size > 1000
    assert "made/headline.png" in done.output


def test_the_publish_command_copies_a_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    write_run(tmp_path / "runs" / "made", "scnm", flat=False)
    done = invoke(commands.publish, "made", "--results", str(tmp_path / "results"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "results" / "made" / "scores.json").exists() and "made/mre.json" in done.output


# -- publishing --------------------------------------------------------------------------------------------


def test_publish_copies_result_files_and_manifests(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "made", "scnm", flat=False)
    for stage in ("01_inspect_data", "04_evaluate"):
        write_json(run / stage / "manifest.json", {"stage": stage})
    (run / "01_inspect_data" / "records.jsonl").write_text("texts", "utf-8")
    written = publish(run, tmp_path / "results")
    target = tmp_path / "results" / "made"
    assert sorted(written) == sorted(target.iterdir()) and not (target / "records.jsonl").exists()
    assert list(read_json(target / "manifests.json")) == ["01_inspect_data", "04_evaluate"]
    for name in ("scores.json", "history.jsonl", "example.json"):
        assert (target / name).read_bytes() == RunResults(run).path(name).read_bytes()
    with pytest.raises(ReportError, match="exists; add --force"):
        publish(run, tmp_path / "results")
    RunResults(run).path("mre.json").unlink()
    publish(run, tmp_path / "results", force=True)
    assert not (target / "mre.json").exists(), "an older run's file would stand beside the new ones"


def test_a_sentence_that_may_not_be_redistributed_stays_behind(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "made", "scpos-rw", flat=False, redistributable=False)
    text = RunResults(run).example.text
    publish(run, tmp_path / "results")
    published = "".join(p.read_text("utf-8") for p in (tmp_path / "results").rglob("*") if p.is_file())
    assert text not in published and "provenance" not in published and "SCPOS-RW" in published


def test_notebooks_are_published_as_a_reader_should_see_them(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(buffer, "png")
    picture = base64.b64encode(buffer.getvalue()).decode()
    cells = [nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"], "papermill": {"x": 1}}),
             nbformat.v4.new_code_cell("a = 2", metadata={"tags": ["injected-parameters"]}),
             nbformat.v4.new_code_cell("show()", execution_count=7, outputs=[
                 nbformat.v4.new_output("stream", text="1 of 2\r2 of 2\n"),
                 nbformat.v4.new_output("display_data", {"image/png": picture})])]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"path": "/" + "home/somebody"}})
    (tmp_path / "run" / "notebooks").mkdir(parents=True)
    nbformat.write(notebook, tmp_path / "run" / "notebooks" / "04_evaluate.ipynb")
    (tmp_path / "run" / "notebooks" / "notes.ipynb").write_text("not a stage", "utf-8")
    assert publish_notebooks(tmp_path / "run", tmp_path / "to") == [tmp_path / "to" / "04_evaluate.ipynb"]
    found = nbformat.read(tmp_path / "to" / "04_evaluate.ipynb", as_version=4)
    assert [c.source for c in found.cells] == ["a = 1", "show()"] and "papermill" not in str(found.metadata)
    assert found.cells[0].metadata == {"tags": ["parameters"]} and found.cells[1].execution_count == 2
    assert found.cells[1].outputs[0].text == "2 of 2\n"
    assert cleaned(found).cells[1].outputs[1].data["image/png"] == found.cells[1].outputs[1].data["image/png"]


def test_a_slim_picture_keeps_its_series_apart() -> None:
    """Two thin lines of different hue on much white, with grey text: no colour of them may be merged."""
    image = Image.new("RGB", (200, 100), "white")
    colours = [(0, 114, 178), (0, 158, 115), (230, 159, 0), *((g, g, g) for g in range(40, 240, 2))]
    for i, colour in enumerate(colours):
        image.paste(colour, (10, i % 90, 10 + (60 if i < 3 else 3), i % 90 + 1))
    buffer = io.BytesIO()
    image.save(buffer, "png")
    slim = slim_png(base64.b64encode(buffer.getvalue()).decode())
    shown = Image.open(io.BytesIO(base64.b64decode(slim))).convert("RGB")
    assert shown.getpixel((0, 99)) == (255, 255, 255) and len(shown.getcolors()) == 32
    assert [shown.getpixel((50, i)) for i in range(3)] == colours[:3]
