"""The benchmark measures what it says, on a run made here from the scratch model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from giellm_utils.cli.bench import bench_app
from giellm_utils.core.conditions import folder, MIXTURE
from giellm_utils.core.files import read_json
from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.benchmarks import decoding as bench
from giellm_utils.experiment.manifest import StageError
from giellm_utils.experiment.profile import load_profile
from giellm_utils.models.load import load_model
from support.experiments import run_stages, write_profile
from support.models import babbling, SCRATCH


@pytest.fixture
def profile(in_process, tmp_path, monkeypatch) -> str:
    """A run of two tasks as far as the benchmark looks at it, its weights loud enough to differ by text."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    made = write_profile(tmp_path, {"name": "made", "data": {"tasks": ["scnm", "tcree"]},
                                    "training": {"conditions": ["joint"]}, "evaluation": {"resamples": 10}})
    run_stages(made, until="03")
    trained = folder(tmp_path / "runs" / "made", "joint", MIXTURE, 42) / "model"
    babbling(load_model(SCRATCH), 3).save_pretrained(trained)
    return made


@pytest.fixture
def run(profile, tmp_path) -> Path:
    return tmp_path / "runs" / "made"


def test_all_systems_are_measured_on_the_same_texts(profile, tmp_path):
    done = CliRunner().invoke(bench_app, ["decoding", "--profile", profile, "--items", "9", "--growth", "4",
                                          "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    result = read_json(tmp_path / "out" / "made.json")
    assert list(result["systems"]) == list(bench.SYSTEMS)
    assert result["items"] == 9 and result["dtype"] == "float32" and result["argmax_flips"]["flips"] == 0
    free, ours = result["systems"]["one_at_a_time"], result["systems"]["ours"]
    # Random weights: free decoding breaks the format, ours cannot.
    assert free["scores"]["format_accuracy"]["value"] == 0
    assert ours["scores"]["invented"]["value"] == 0
    assert free["steps_per_item"] == free["forward_passes_per_item"]
    assert ours["steps_per_item"] < result["systems"]["no_forced_tokens"]["steps_per_item"]
    assert ours["forward_passes_per_item"] <= result["systems"]["no_refill"]["forward_passes_per_item"]
    for lever in ("full_layer", "gather_rows", "no_refill", "no_sharing"):
        assert result["systems"][lever]["same_output_as_ours"] == 1
    assert [(g["by"], g["system"]) for g in result["growth"]] == [
        (by, system) for by, n in (("batch_size", 2), ("characters", 4)) for _ in range(n)
        for system in bench.GROWING]
    assert all(s["items_per_second"] > 0 for s in [*result["systems"].values(), *result["growth"]])
    assert done.output.count("\n| (") == len(bench.SYSTEMS)
    assert result["source"] in done.output and result["source"] == (
        "SCNM, embedded mini corpus (machine-written, stand-in); TCREE, embedded mini corpus "
        "(machine-written, stand-in) · tiny model from scratch (tests only) · full fine-tuning")


def test_steps_of_free_decoding_are_those_of_the_model(profile, run):
    made = bench.load(load_profile(profile), run, 6)
    bundle, passes = made.decoder.bundle, []
    bundle.model.model.register_forward_pre_hook(lambda *_: passes.append(1))
    measured = bench.free(made)
    assert measured.forwards == len(passes)
    assert set(measured.row_steps) <= set(made.budgets.values())
    bench.free(made, corpus_rows=True)
    assert isinstance(bundle.model.get_output_embeddings(), torch.nn.Linear), "the whole layer is still there"


def test_faults_are_named(profile, run):
    loaded = load_profile(profile)
    with pytest.raises(ConfigError, match="no system 'x'; there are one_at_a_time"):
        bench.run_bench(loaded, run, 2, ["ours", "x"], source="")
    with pytest.raises(StageError, match="records.jsonl is missing: run 01_inspect_data first"):
        bench.load(loaded, run.with_name("nosuch"), 2)
    (folder(run, "joint", MIXTURE, 42) / "summary.json").unlink()
    with pytest.raises(StageError, match="holds no finished training: run 03_train first"):
        bench.load(loaded, run, 2)
    refused = CliRunner().invoke(bench_app, ["decoding", "--items", "0"])
    assert refused.exit_code == 2 and "items" in refused.output
