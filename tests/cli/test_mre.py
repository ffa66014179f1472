"""`giellm mre` from cells on disk to reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.files import read_json
from giellm_utils.core.mre_report import CoverageReport, MreReport, PowerReport, TailReport
from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError
from giellm_utils.evaluation.trials import analyse
from giellm_utils.experiment.cells import write_cell
from giellm_utils.experiment.grid import load_grid, queue, QueueError, settings
from giellm_utils.experiment.trial_data import trial_dataset
from support.cells import synthetic


def cells_in(folder: Path, **left_out: int):
    """Cells of three conditions and seeds on disk as `planned` asks for them, without condition=seed of
    `left_out`."""
    loaded = load_grid(str(planned(folder)))
    asked = {(a.condition, a.seed): settings(loaded, a) for a in queue(loaded)}
    cells = [c.model_copy(update={"settings": asked[c.condition, c.seed]})
             for c in synthetic(n=50) if left_out.get(c.condition) != c.seed]
    for c in cells:
        write_cell(folder, c)
    return cells


def planned(folder: Path, **more) -> Path:
    """An experiment of SCNM alone in a file beside `folder`, with one look."""
    path = folder.with_name(f"{folder.name}.yaml")
    path.write_text(yaml.safe_dump({
        "name": "small", "looks": {"first": ["i"]}, "margin": 1.5,
        "stages": [{"name": "i", "datasets": ["scnm"], "conditions": ["joint", "text", "words"],
                    "seeds": [1, 2, 3], "decodings": ["constrained"]}], **more}), "utf-8")
    return path


def called(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["mre", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_analyse_writes_what_analyse_finds(tmp_path) -> None:
    """Beside the cells, where nothing else is named."""
    cells, out = cells_in(tmp_path / "mre"), tmp_path / "mre" / "analysis.json"
    # What is of no stage of the look is not looked at.
    for more in synthetic(conditions=("two-task",), n=50):
        write_cell(tmp_path / "mre", more)
    planned(tmp_path / "mre", margin=2)
    command = ("analyse", "-e", tmp_path / "mre.yaml", "--cells", tmp_path / "mre", "--resamples", 50)
    said = called(*command)
    found = artifacts.read(out, MreReport)
    assert (found.look, found.stages, found.partial) == ("first", ["i"], False)
    assert found.model_copy(update={"look": None, "stages": []}) == analyse(cells, resamples=50, margin=0.02)
    first = out.read_bytes()
    assert "look first, at 9 cells; 2 of 8 planned tests made, Holm over 8" in said
    assert "scnm         tl  joint - text:" in said and "Holm p" in said
    called(*command)
    assert out.read_bytes() == first


def test_a_look_that_is_not_due_is_refused_unless_it_is_wanted(tmp_path) -> None:
    folder, out = tmp_path / "mre", tmp_path / "a.json"
    cells_in(folder, text=2)
    command = ("analyse", "-e", tmp_path / "mre.yaml", "--cells", folder, "--resamples", 20, "--out", out)
    with pytest.raises(QueueError, match="look first is not due: of its stages i 1 cells are left, the next "
                                         "is scnm/text/seed-2; .* --partial, which counts as a look"):
        called(*command)
    with pytest.raises(QueueError, match="plans no look 'second'; it has first"):
        called(*command, "--look", "second")
    assert not out.exists()
    for place in ((), ("--out", folder / "analysis.json"), ("--out", out, "--look", "first")):
        with pytest.raises(ConfigError, match="never the place of a planned look: leave out --look, and na"):
            called(*command[:-2], "--partial", *place)
    (tmp_path / "probes.json").write_text("of a planned look", "utf-8")
    with pytest.raises(ConfigError, match="planned a margin of 1.5 points; leave --margin out"):
        called(*command, "--margin", 2)
    said = called(*command, "--partial", "--margin", 2)
    assert said.startswith("a look that is not planned, at 8 cells; 2 of 8 planned tests made")
    found = artifacts.read(out, MreReport)
    assert found.margin == 0.02 and (tmp_path / "probes.json").read_text("utf-8") == "of a planned look"
    assert found.partial and found.look is None and "left out: scnm, arm main" in said
    assert found.left_out == ["scnm, arm main, constrained: tl of joint minus text: seeds are missing "
                              "(scnm/text lacks 2)"]
    planned(folder, looks={})
    with pytest.raises(QueueError, match="experiment small plans no look: name the stages"):
        called(*command)


def test_a_look_is_at_cells_of_the_experiment_alone(tmp_path) -> None:
    folder, out = tmp_path / "mre", tmp_path / "a.json"
    cells = cells_in(folder)
    command = ("analyse", "-e", tmp_path / "mre.yaml", "--cells", folder, "--out", out)
    write_cell(folder, cells[0].model_copy(update={"split": "dev"}))
    with pytest.raises(QueueError, match="cell scnm/joint/seed-1 was scored on dev, the experiment on test"):
        called(*command)
    write_cell(folder, cells[0].model_copy(update={"settings": {"limit": 3}}))
    with pytest.raises(QueueError, match="seed-1.json.gz was made with another"):
        called(*command)
    assert not out.exists()


def test_looks_are_at_stages_that_are_there(tmp_path) -> None:
    for looks, said in (({"x": ["ii"]}, "look x is at ii; there are i"),
                        ({"x": []}, "look x is at no stage")):
        with pytest.raises(ConfigError, match=said):
            load_grid(str(planned(tmp_path / "mre", looks=looks)))
    looks = load_grid("mre").looks
    assert list(looks) == ["after-ii", "after-iii", "after-curve", "after-v", "after-vii"]
    assert looks["after-ii"] == ["i", "ii"]


def test_power_and_coverage_write_their_reports(tmp_path) -> None:
    cells_in(tmp_path / "pilot")
    said = called("power", "--pilot", tmp_path / "pilot", "--documents", 400, "--seeds", 3, "--seeds", 5,
                  "--out", tmp_path / "power.json")
    report = artifacts.read(tmp_path / "power.json", PowerReport)
    assert [(d.documents, d.seeds) for d in report.outcomes[0].as_measured] == [(400, 3), (400, 5)]
    assert "400 documents, 3 seeds:" in said and report.margin == load_grid("mre").margin / 100
    called("power", "--pilot", tmp_path / "pilot", "--margin", 1.5, "--out", tmp_path / "power.json")
    assert artifacts.read(tmp_path / "power.json", PowerReport).margin == 0.015
    said = called("coverage", "--repetitions", 10, "--resamples", 10, "--out", tmp_path / "coverage.json")
    report = artifacts.read(tmp_path / "coverage.json", CoverageReport)
    assert len(report.cases) == 24 == said.count("crossed")
    said = called("tails", "--repetitions", 10, "--out", tmp_path / "tails.json")
    report = artifacts.read(tmp_path / "tails.json", TailReport)
    assert len(report.cases) == 24 == said.count("seeds, sd") and report.repetitions == 10


def test_an_unknown_dataset_is_said() -> None:
    with pytest.raises(ConfigError, match="no dataset 'nothing' in the experiment; it has scnm, .*tcree-bl"):
        trial_dataset("nothing")


def test_what_is_committed_of_the_look_follows_from_the_committed_cells(tmp_path) -> None:
    """Figures, tables and sentences start from these files; the cells are what was measured."""
    folder = ROOT / "results" / "mre"
    committed = {name: read_json(folder / name)
                 for name in ("analysis.json", "probes.json", "observed.json")}
    called("analyse", "--look", committed["analysis.json"]["look"], "--cells", folder, "--out",
           tmp_path / "a.json")
    for name, again in (("analysis.json", "a.json"), ("probes.json", "a-probes.json"),
                        ("observed.json", "a-observed.json")):
        assert numbers(read_json(tmp_path / again)) == pytest.approx(numbers(committed[name]), rel=1e-5,
                                                                     abs=1e-9)
        assert words(read_json(tmp_path / again)) == words(committed[name])


def leaves(value: object, at: str = "") -> Iterator[tuple[str, object]]:
    """Path and value of what is no list and no mapping."""
    parts = (value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list)
             else None)
    if parts is None:
        yield at, value
        return
    for key, part in parts:
        yield from leaves(part, f"{at}/{key}")


def numbers(report: object) -> dict[str, float]:
    return {at: value for at, value in leaves(report) if isinstance(value, float)}


def words(report: object) -> dict[str, object]:
    return {at: value for at, value in leaves(report) if not isinstance(value, float)}


def test_a_dataset_of_one_seed_leaves_a_look_whole(tmp_path) -> None:
    for cell in cells_in(tmp_path / "mre"):
        if cell.seed > 1:
            (tmp_path / "mre" / "scnm" / cell.condition / f"seed-{cell.seed}.json.gz").unlink()
    path = planned(tmp_path / "mre")
    path.write_text(path.read_text("utf-8").replace("- 2\n", "").replace("- 3\n", ""), "utf-8")
    said = called("analyse", "-e", path, "--cells", tmp_path / "mre", "--resamples", 50)
    assert "observed.json" in said
    assert not artifacts.read(tmp_path / "mre" / "observed.json", PowerReport).outcomes
