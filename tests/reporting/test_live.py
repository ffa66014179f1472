"""Curves that grow with a training: one output, updated in place; lines alone in a terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest

from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.reporting import live
from giellm_utils.reporting.live import curves, LiveCurves


def system(folder: Path, name: str = "joint") -> SimpleNamespace:
    folder.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(name=name, task="scnm", seed=1, title=name, condition=CONDITIONS[name],
                           folder=folder, coming=folder.with_name(folder.name + ".new"))


def log(folder: Path, *rows: dict, end: str = "") -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps({"seconds": 1.0, **row}) + "\n" for row in rows) + end)
    return path


class Screen:
    """Stands in for a notebook: what is shown, one list an output."""

    def __init__(self) -> None:
        self.outputs: list[list] = []

    def __call__(self, picture):
        self.outputs.append([picture])
        return SimpleNamespace(update=self.outputs[-1].append)


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The trainings of every picture: [{name: [steps]}]."""
    found: list = []
    monkeypatch.setattr(live, "image", lambda figure: figure)
    monkeypatch.setattr(live, "curves", lambda trainings: found.append(
        {s.name: [row.step for row in rows] for s, rows in trainings}))
    return found


def test_one_output_grows_with_the_file(tmp_path, drawn, capsys):
    screen, joint = Screen(), system(tmp_path / "a")
    with LiveCurves([joint], every=0, display=screen) as show:
        show.due = 0
        show("begin")
        log(joint.folder, {"step": 10, "loss": 2.0})
        show.due = 0
        show("step 10")
        # The last line is still being written.
        log(joint.folder, {"step": 10, "loss": 2.0}, {"step": 20, "dev_loss": 1.0}, end='{"step": 3')
        show.due = 0
        show("step 20")
    assert drawn == [{}, {"joint": [10]}, {"joint": [10, 20]}, {"joint": [10, 20]}]
    assert len(screen.outputs) == 1 and len(screen.outputs[0]) == 4
    assert capsys.readouterr().out == "begin\nstep 10\nstep 20\n"


def test_pictures_are_rare_and_lines_are_not(tmp_path, drawn, capsys):
    with LiveCurves([system(tmp_path / "a")], every=1000, display=Screen()) as show:
        for number in range(50):
            show(str(number))
    assert len(drawn) == 2 and len(capsys.readouterr().out.split()) == 50


def test_a_kept_training_is_drawn_at_the_end_only_and_the_coming_one_instead_of_the_old(tmp_path, drawn):
    kept, replaced = system(tmp_path / "a"), system(tmp_path / "b", "text")
    for s, step in ((kept, 1), (replaced, 2)):
        os.utime(log(s.folder, {"step": step, "loss": 1.0}), (1e9, 1e9))
    with LiveCurves([kept, replaced], every=0, display=Screen()) as show:
        show("")
        replaced.coming.mkdir()
        log(replaced.coming, {"step": 7, "loss": 1.0})
        show.due = 0
        show("")
    assert drawn == [{}, {"text": [7]}, {"joint": [1], "text": [7]}]


def test_a_picture_that_fails_costs_no_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(live, "curves", lambda trainings: 1 / 0)
    with LiveCurves([system(tmp_path / "a")], every=0, display=Screen()) as show:
        show("one")
        show("two")
    assert capsys.readouterr().out.count("no longer drawn (ZeroDivisionError") == 1


def test_a_terminal_shows_lines_alone(tmp_path, drawn, capsys):
    with LiveCurves([system(tmp_path / "a")]) as show:
        show("one")
    assert drawn == [] and capsys.readouterr().out == "one\n"


def test_the_picture_shows_loss_dev_and_learning_rate(tmp_path):
    joint = system(tmp_path / "a")
    path = log(joint.folder, {"step": 1, "loss": 2.0, "learning_rate": 0.1}, {"step": 1, "dev_loss": 0.0},
               {"step": 2, "loss": 1.0, "learning_rate": 0.0})
    loss, rate = curves([(joint, live.read_growing(path, joint))]).axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[2.0, 1.0], [live.LEAST]]
    assert list(rate.lines[0].get_ydata()) == [0.1, 0.0]
    assert 1_000 < len(live.image(curves([])).data) < 60_000


def test_an_executed_notebook_keeps_one_picture_before_its_lines(tmp_path):
    cell = """
import json, os
from pathlib import Path
from types import SimpleNamespace
from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.reporting.live import LiveCurves
folder = Path("training"); folder.mkdir()
system = SimpleNamespace(name="joint", task="scnm", seed=1, title="joint", condition=CONDITIONS["joint"],
                         folder=folder, coming=Path("none"))
with LiveCurves([system], every=0) as show:
    for step in range(1, 6):
        with (folder / "metrics.jsonl").open("a") as file:
            print(json.dumps({"step": step, "loss": 1 / step, "seconds": 1.0}), file=file)
        show.due = 0
        show(f"step {step}")
"""
    source, done = tmp_path / "source.ipynb", tmp_path / "done.ipynb"
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=kernel, cells=[nbformat.v4.new_code_cell(cell)]), source)
    papermill.execute_notebook(str(source), str(done), cwd=str(tmp_path), progress_bar=False)
    first, *others = nbformat.read(done, 4).cells[0].outputs
    assert first.output_type == "display_data" and 1000 < len(first.data["image/png"]) < 60_000
    assert {output.name for output in others} == {"stdout"}
    assert "".join(output.text for output in others) == "".join(f"step {n}\n" for n in range(1, 6))
