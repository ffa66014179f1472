"""Marked tables of README.md and docs/: made from results, complete, and nothing typed by hand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from giellm_utils.cli import report as commands
from giellm_utils.core import artifacts
from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.paths import ROOT
from giellm_utils.reporting import (
    aims,
    claims,
    corpus_tables,
    documents,
    measurements,
    mre_tables,
    run_tables,
    system_tables,
)
from giellm_utils.reporting.documents import refresh, render
from giellm_utils.reporting.results import ReportError, RunResults
from giellm_utils.reporting.tables import markdown
from support.results import training, write_run

RESULTS = ROOT / "results"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy with a README, a document and the results of one made-up run and of the corpus."""
    shutil.copytree(RESULTS / "corpus", tmp_path / "results" / "corpus")
    write_run(tmp_path / "results" / "made", "scnm", "tcree")
    (tmp_path / "README.md").write_text("x\n<!-- summary:made -->\nold\n<!-- /summary -->\ny\n", "utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("<!-- table:judges -->\n<!-- /table -->\n", "utf-8")
    (tmp_path / "docs" / "b.md").write_text("no table here\n", "utf-8")
    return tmp_path


# -- what is committed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", documents.documents(), ids=lambda p: p.name)
def test_the_documents_are_up_to_date(path: Path) -> None:
    text = path.read_text("utf-8")
    assert render(text, RESULTS, path.name) == text, "run: giellm tables"


def test_every_table_is_shown_somewhere() -> None:
    written = "".join(p.read_text("utf-8") for p in documents.documents())
    shown = set(re.findall(r"<!-- table:(\S+) -->", written))
    measured = {f"{name}/{p.stem}" for name in measurements.TABLES for p in RESULTS.glob(f"{name}/*.json")}
    mre = {f"{mre_tables.FOLDER}/{name}" for name, (file, *_) in mre_tables.TABLES.items()
           if (RESULTS / mre_tables.FOLDER / file).exists()}
    systems = {f"{system_tables.FOLDER}/{name}" for name in system_tables.TABLES}
    assert measured and shown == {aims.NAME, claims.NAME, *corpus_tables.TABLES, *measured, *mre, *systems}
    runs = {p.parent.name for p in RESULTS.glob("*/provenance.json")}
    assert set(re.findall(r"<!-- results:(\S+) -->", written)) == runs


def test_measurements_have_their_figures() -> None:
    folders = [name for name in measurements.TABLES if (RESULTS / name).exists()]
    assert {"bench", "token_costs"} <= set(folders)
    for name in folders:
        measured = {p.stem for p in (RESULTS / name).glob("*.json")}
        assert measured and measured == {p.stem for p in (ROOT / "figures" / name).glob("*.png")}


@pytest.mark.parametrize("name", ["datasheets.md", "scpos-rules.md", "results.md"])
def test_hand_written_prose_holds_no_number(name: str) -> None:
    """Outside tables and code, a decimal or percentage may stand only where another test checks it."""
    prose = documents.prose((ROOT / "docs" / name).read_text("utf-8"))
    lines = [line for line in prose.splitlines() if not any(c in line for c in ("AGREEMENT.md", "κ"))]
    found = re.findall(r"\d+(?:\.\d+)? %|\d\.\d\d+", "\n".join(lines))
    assert set(found) <= {"95 %"}, found


def test_agreement_in_prose_is_that_of_the_layer() -> None:
    """What the sheet says of TCREE's second pass, whose labels do not ship, is in AGREEMENT.md."""
    source = (ROOT / "giellm_utils" / "data" / "assets" / "tcree" / "AGREEMENT.md").read_text("utf-8")
    prose = re.search(r"\*\*Agreement\*\*: (an independent second pass on 200.*?)Blind against",
                      (ROOT / "docs" / "datasheets.md").read_text("utf-8"), re.S).group(1)
    numbers = re.findall(r"\d+(?:\.\d+)?", re.sub(r"F1", "", prose))
    assert numbers == ["200", "93.5", "0.923", "0.864", "0.886"]
    assert all(number in source for number in numbers)


# -- making --------------------------------------------------------------------------------------------------


def test_refresh_makes_all_documents_and_says_which_changed(folder: Path) -> None:
    assert refresh(folder) == [folder / "README.md", folder / "docs" / "a.md"]
    text = (folder / "README.md").read_text("utf-8")
    assert text.startswith("x\n<!-- summary:made -->\n| dataset |")
    assert text.endswith("<!-- /summary -->\ny\n")
    assert "4,224" in (folder / "docs" / "a.md").read_text("utf-8") and refresh(folder) == []
    path = folder / "results" / "made" / "scores.json"
    scores = read_json(path)
    scores["tasks"]["tcree"]["joint"]["all"]["tl"]["value"] = 0.12345
    write_json(path, scores)
    assert refresh(folder) == [folder / "README.md"] and "12.3 [" in (folder / "README.md").read_text("utf-8")


def test_a_fault_in_one_document_leaves_all_as_they_were(folder: Path) -> None:
    (folder / "docs" / "z.md").write_text("<!-- effects:nosuch -->\n<!-- /effects -->\n", "utf-8")
    before = (folder / "README.md").read_bytes()
    with pytest.raises(ReportError, match="z.md: .*nosuch holds no results"):
        refresh(folder)
    assert (folder / "README.md").read_bytes() == before


def test_the_tables_command(folder: Path) -> None:
    app = typer.Typer()
    app.command()(commands.tables)
    done = CliRunner().invoke(app, ["--root", str(folder)])
    assert done.exit_code == 0 and done.output.count("changed:") == 2, done.output
    assert CliRunner().invoke(app, ["--root", str(folder)]).output == "every table is up to date\n"


def test_render_faults(folder: Path) -> None:
    def fails(text: str, match: str) -> None:
        with pytest.raises(ReportError, match=match):
            render(text, folder / "results", "a.md")

    fails("<!-- table:nothing -->\n<!-- /table -->",
          "a.md: no table 'nothing'; known tables: aims, claims, sheet:scnm-mini.*bench/FILE")
    fails("<!-- table:judges -->\n<!-- table:judges -->\n<!-- /table -->", "a.md: 2 table marks but 1 ends")
    fails("<!-- table:judges -->\n<!-- /results -->", "a.md: 1 table marks but 1 ends, of which 0 fit")
    (folder / "results" / "made" / "mre.json").unlink()
    fails("<!-- effects:made -->\n<!-- /effects -->", "a.md: made has no mre.json")
    assert render("no table", folder / "results") == "no table"
    unmeasured = "<!-- table:bench/mini -->\n<!-- /table -->"
    assert "Not measured yet." in render(unmeasured, folder / "results")


# -- the tables of a run -------------------------------------------------------------------------------------


def test_summary_has_a_line_a_dataset_with_the_floor_behind(folder: Path) -> None:
    lines = run_tables.summary_table(RunResults(folder / "results" / "made")).splitlines()
    assert lines[0] == "| dataset | TL, text label | WL, exact | ALL, both levels | word micro-F1 | n |"
    row = ("87.0 [79.0, 95.0] (65.0) | 44.0 [36.0, 52.0] (9.0) | 38.0 [30.0, 46.0] (6.0) | "
           "71.0 [63.0, 79.0] (0.0)")
    assert lines[2:4] == [f"| {task} | {row} | 75 |" for task in ("scnm", "tcree")]
    assert lines[5].startswith("Per cent: joint with its 95 %") and "the majority class without" in lines[5]
    assert RunResults(folder / "results" / "made").source() in lines[5]


def test_results_stand_in_the_registrys_order_and_name_the_trainings(folder: Path) -> None:
    results = RunResults(folder / "results" / "made")
    lines = run_tables.results_table(results).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:7]] == [
        "joint", "text only", "words only", "majority class", "always empty"]
    assert "Training on CPU, float32: joint 1,510 sequences, 128 steps, 1.5 minutes, text" in lines[-1]
    artifacts.write(results.path("trainings.json"), artifacts.TrainingsFile(
        [training("joint"), training("joint", seed=7)]))
    assert "joint · scnm · seed 7 1,510 sequences" in run_tables.results_table(results)


def test_effects_and_decodings(folder: Path) -> None:
    results = RunResults(folder / "results" / "made")
    assert "| scnm | WL, exact | words only | 50.0 | 59.0 | -9.0 [-14.0, -4.0] | lower |" in \
        run_tables.effects_table(results)
    rows = run_tables.decodings_table(results).splitlines()
    assert rows[2].startswith("| scnm | free | 50.0 [42.0, 58.0] |") and rows[2].endswith("| 75 | – |")
    assert rows[3].endswith("| 75 | 9.8 |") and "Items a second on CPU, float32." in rows[-1]


def test_factors_leave_out_what_was_not_measured() -> None:
    result = {"systems": {"ours": {"items_per_second": 9.0}, "sorted_batches": {"items_per_second": 60.0}}}
    assert measurements.factors(result, "ours") == {"(b)": "0.15"}


def test_markdown_escapes_and_marks_missing_cells() -> None:
    assert markdown(pd.DataFrame({"a|b": [None, "x|y"]})) == "| a\\|b |\n| --- |\n| – |\n| x\\|y |\n"
