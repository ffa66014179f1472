"""The paper's table beside ours: which of ours stands where, what each cell says, which command fills it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import TrainingsFile
from giellm_utils.core.files import write_json
from giellm_utils.core.paths import ROOT
from giellm_utils.data.registry import TASKS
from giellm_utils.experiment.profile import load_profile
from giellm_utils.reporting import beside_paper, published
from giellm_utils.reporting.beside_paper import Line, lines, measured
from giellm_utils.reporting.documents import render
from giellm_utils.reporting.results import ReportError
from support.results import provenance, training, write_run
from support.results import system_row as row


def line(results: Path, task: str, name: str) -> Line:
    return next(x for x in lines(measured(results), [task]) if x.system == name)


def test_every_cell_of_the_paper_has_its_row() -> None:
    found = [x for x in lines([]) if x.system]
    assert [(x.task, x.system) for x in found] == [(t, s) for t in TASKS for s in published.SYSTEMS]
    printed = [c for x in found for c in x.paper.values()]
    assert sorted(map(str, printed)) == sorted(map(str, published.ACCURACIES))
    for x in found:
        empty = all(c.value is None for c in x.paper.values())
        assert (x.status == "not in the paper") == empty and (not empty or not x.commands)
        if not empty and not x.status.startswith("not possible"):
            assert x.status.startswith("needs ") and x.commands


def test_a_run_stands_in_for_giellm_7b(tmp_path: Path) -> None:
    write_run(tmp_path / "made", "scnm", "scpos-n", "scpos-n-adj", "tcree")
    found = line(tmp_path, "scnm", "GIELLM-7B")
    assert found.cell("TL").split("\n") == ["85.70", "87.0\xa0[79.0,\xa095.0]", "Δ\xa0+1.3"]
    assert found.status == "the paper's needs Hub and GPU; here a stand-in model and data"
    assert found.rests_on({}) == f"{found.status} (1), n\xa0=\xa075"
    assert found.ours.title == "tiny model from scratch (tests only), LoRA"
    assert line(tmp_path, "scnm", "GIELLM-13B").ours is None
    # SCPOS: the share of words, 70 %, not the exact match of 44 %.
    assert "70.0" in line(tmp_path, "scpos-n", "GIELLM-7B").cell("WL")
    # A header that is inferred is marked; a column that is lost has ours alone.
    tcree = line(tmp_path, "tcree", "GIELLM-7B")
    assert tcree.cell("TL").startswith("97.19\xa0(?)\n") and tcree.cell("ALL").startswith("–\n38.0")
    assert "Δ" not in tcree.cell("ALL")
    own = [x for x in lines(measured(tmp_path), ["scnm"]) if not x.system and x.ours]
    assert [x.ours.system for x in own] == ["joint", "majority"], "text and words alone answer one level"
    # The run stands by itself, too, with its name and what made it.
    assert own[0].named == "tiny model from scratch (tests only), LoRA (run made)"


def test_one_model_for_many_datasets_goes_first_as_the_papers_is(tmp_path: Path) -> None:
    write_run(tmp_path / "a-single", "scnm")
    write_run(tmp_path / "b-mixture", "scnm", "tcree")
    artifacts.write(tmp_path / "b-mixture" / "trainings.json",
                    TrainingsFile([training("joint", base="the mixture's")]))
    assert line(tmp_path, "scnm", "GIELLM-7B").ours.names == ("the mixture's",)


def test_another_format_stands_in_for_another_system(tmp_path: Path) -> None:
    write_run(tmp_path / "slg-gemma", "scnm")
    write_json(tmp_path / "slg-gemma" / "manifests.json",
               {"02_convert_format": {"parameters": {"format.name": "slg"}}})
    assert line(tmp_path, "scnm", "SLG Framework").ours.title.endswith(", LoRA, format slg")
    assert not line(tmp_path, "scnm", "GIELLM-7B").ours
    # The very base model is that system in its own format alone.
    artifacts.write(tmp_path / "slg-gemma" / "trainings.json",
                    TrainingsFile([training("joint", base="sonoisa/t5-base-japanese")]))
    assert line(tmp_path, "scnm", "SLG Framework").status == "stand-in data"
    write_json(tmp_path / "slg-gemma" / "manifests.json", {})
    assert line(tmp_path, "scnm", "SLG Framework").ours is None
    row(tmp_path, "in-context-gemma", "open")
    gpt = line(tmp_path, "scnm", "GPT-3.5-Turbo")
    assert gpt.ours.system == "in-context-gemma"
    assert gpt.status.startswith("the paper's needs key and Hub; here a stand-in")
    assert not [x for x in lines(measured(tmp_path), ["scnm"]) if not x.system and "context" in x.named]


def test_the_very_system_goes_before_a_stand_in(tmp_path: Path) -> None:
    write_run(tmp_path / "made", "scnm")
    row(tmp_path, "giellm-7b", "open", tl=.8)
    found = line(tmp_path, "scnm", "GIELLM-7B")
    assert (found.ours.system, found.status) == ("giellm-7b", "stand-in data")
    row(tmp_path, "giellm-7b", "mmm-scnm", tl=.86)
    found = line(tmp_path, "scnm", "GIELLM-7B")
    assert found.status == "measured here" and found.cell("TL").endswith("Δ\xa0+0.3")
    # A training from the paper's base model is that system, too.
    artifacts.write(tmp_path / "made" / "trainings.json",
                    TrainingsFile([training("joint", base="meta-llama/Llama-2-13b-hf")]))
    assert line(tmp_path, "scnm", "GIELLM-13B").status == "stand-in data"


def test_the_better_data_then_more_documents(tmp_path: Path) -> None:
    for source, n in (("embedded", 900), ("open", 50)):
        row(tmp_path, "crf", source, n=n)
    own = [x for x in lines(measured(tmp_path), ["scnm"]) if not x.system and x.ours]
    assert [(x.ours.data, x.status, x.commands) for x in own] == [
        ("data open", "measured here, stand-in data", ("giellm …",))]


def test_a_system_that_was_not_run_has_its_command_until_it_is(tmp_path: Path) -> None:
    last = lines(measured(tmp_path), ["scnm"])[-1]
    assert (last.named, last.status) == ("GLiNER2.5-multi, zero-shot", "needs Hub and the package gliner2")
    assert last.commands == ("giellm evaluate --system gliner --profile gliner-multi --task scnm",)
    row(tmp_path, "gliner", "open")
    last = lines(measured(tmp_path), ["scnm"])[-1]
    assert (last.named, last.status) == ("Gliner", "measured here, stand-in data")


def test_rendered(tmp_path: Path) -> None:
    write_run(tmp_path / "made", "scnm")
    text = render("<!-- paper:all -->\n<!-- /paper -->", tmp_path)
    assert len(re.findall(r"^\| (?:SCNM|SCPOS:\S+|TCREE) \|", text, re.M)) == 6 * 6 + 2 + 6
    assert "| 85.70<br>87.0\xa0[79.0,\xa095.0]<br>Δ\xa0+1.3 |" in text
    assert "`giellm run --profile giellm-7b`" in text and beside_paper.LEGEND in text
    assert ("\n(1) tiny model from scratch (tests only), LoRA · SCNM, embedded mini corpus (machine-written, "
            "stand-in).\n") in text
    assert "SCPOS" not in render("<!-- paper:scnm -->\n<!-- /paper -->", tmp_path).partition("\n\n")[0]
    with pytest.raises(ReportError, match="no table paper:news; known: all, scnm"):
        render("<!-- paper:news -->\n<!-- /paper -->", tmp_path)


def test_a_notebook_shows_its_own_run_below(tmp_path: Path) -> None:
    run = write_run(tmp_path / "made", "scnm")
    scores = artifacts.read(run / "scores.json", artifacts.ScoresFile)
    page = beside_paper.view(tmp_path, ["scnm", "news"], scores, "my data").source
    assert page.count("<tr") == 1 + 6 + 2 + 1 + 1 and "this run, joint" in page
    assert "this notebook (3), n\xa0=\xa075" in page and "(3) my data." in page
    assert "<script" not in page and "↵" not in page
    # All six datasets, whatever the run has.
    whole = beside_paper.view(tmp_path, run=scores, data=provenance("scnm").root).source
    assert whole.count("<tr") == 1 + 6 * 6 + 2 + 1 + 6 and whole.count("this notebook") == 1
    assert all(found in whole for found in (*(t.title.replace("&", "&amp;") for t in TASKS.values()),
                                            "SCNM, embedded mini corpus (machine-written, stand-in)."))


COMMANDS = sorted({c for x in lines([]) for c in x.commands})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    words = re.sub(r"^[A-Z_]+=\S+ ", "", command).split()
    done = CliRunner().invoke(app, [words[1], "--help"])
    assert done.exit_code == 0, f"giellm {words[1]} is no command"
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.output)
    assert all(option in said for option in re.findall(r" (--[a-z-]+)", command))
    profile = load_profile(words[words.index("--profile") + 1])
    if "--task" in words and "gliner" not in words:
        yamls = [name for name in profile.data.tasks if (ROOT / name).is_file()]
        assert any(name.endswith(f"mmm-{words[words.index('--task') + 1]}.yaml") for name in yamls)
    for name in re.findall(r"configs/\S+\.yaml", command):
        assert (ROOT / name).is_file()
