"""One seed, one precision, whichever machine works off the queue."""

from __future__ import annotations

import pytest

from giellm_utils.experiment import precision
from giellm_utils.experiment.cells import write_cell
from giellm_utils.models.spec import ModelConfig
from support.cells import cell


def test_a_seed_is_in_the_precision_of_its_own_cells(tmp_path):
    write_cell(tmp_path, cell("text", 1, [1], dtype="float32"))
    write_cell(tmp_path, cell("text", 2, [1]))  # made before it was kept
    write_cell(tmp_path, cell("text", 1, [1], arm="mixture", dtype="bfloat16"))
    found = [precision.of_seed(tmp_path, ["scnm"], arm, seed)
             for arm, seed in (("main", 1), ("main", 2), ("main", 3), ("mixture", 1), ("tokens", 1))]
    assert found == ["float32", "bfloat16", None, "bfloat16", "float32"]
    assert precision.of_seed(tmp_path, ["tcree"], "main", 1) is None


@pytest.mark.parametrize("here, there, loaded", [
    ("float32", "bfloat16", "bfloat16"), ("float32", "float32", "auto"), ("bfloat16", "float32", "float32"),
    ("bfloat16", "bfloat16", "auto"), ("float32", None, "auto")])
def test_a_model_is_computed_as_its_seed_was_begun(here, there, loaded, monkeypatch):
    monkeypatch.setattr(precision, "dtype_name", lambda model: here)
    assert precision.model_in(ModelConfig(), there).dtype == loaded
    named = ModelConfig(dtype="float32")
    assert precision.model_in(named, there) == named
