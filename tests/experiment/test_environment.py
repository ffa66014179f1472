"""The revision in a manifest says when the code that made a result was not committed, notebooks' too."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from giellm_utils.core.artifacts import STAGES
from giellm_utils.experiment.environment import environment, git_revision, notebook_hash


def notebook(*code: str, prose: str = "text", outputs: list | None = None) -> str:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [prose]}]
    cells += [{"cell_type": "code", "metadata": {}, "source": [line], "outputs": outputs or []}
              for line in code]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def checkout(tmp_path) -> Path:
    for folder in ("giellm_utils", "configs", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "giellm_utils" / "a.py").write_text("a = 1\n")
    (tmp_path / "notebooks" / "01.ipynb").write_text(notebook("x = 1"))
    for arguments in (["init", "-q"], ["add", "."],
                      ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_code_of_package_and_notebooks_counts(checkout):
    clean = git_revision(checkout)
    assert len(clean) == 12
    path = checkout / "notebooks" / "01.ipynb"
    path.write_text(notebook("x = 1", prose="other prose", outputs=[{"output_type": "stream"}]))
    assert git_revision(checkout) == clean, "outputs and prose are not code"
    path.write_text(notebook("x = 2"))
    assert git_revision(checkout) == f"{clean}-dirty"
    path.write_text(notebook("x = 1"))
    (checkout / "notebooks" / "02.ipynb").write_text(notebook("y = 1"))
    assert git_revision(checkout) == f"{clean}-dirty", "a notebook that was never committed"
    (checkout / "notebooks" / "02.ipynb").unlink()
    (checkout / "giellm_utils" / "a.py").write_text("a = 2\n")
    assert git_revision(checkout) == f"{clean}-dirty"


def test_outside_a_checkout_there_is_no_revision(tmp_path):
    assert git_revision(tmp_path) == "unknown"


def test_every_stage_has_a_notebook_of_code():
    assert len({notebook_hash(stage) for stage in STAGES}) == len(STAGES)
    assert environment()["packages"]["torch"]
