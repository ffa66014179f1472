"""The benchmark measures what it says, on a run made here from the scratch model."""

from __future__ import annotations

import pytest
import torch

from giellm_utils import bench, pipeline
from giellm_utils.config import ConfigError, ModelConfig, load_profile
from giellm_utils.converter import Converter
from giellm_utils.models import load_model, load_tokenizer
from giellm_utils.sequences import costs_and_budgets
from giellm_utils.storage import read_json, write_json, write_jsonl
from giellm_utils.tasks import load_dataset


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Toy models gain nothing from a second thread, and lose much to it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(scratch_cache, tmp_path, monkeypatch):
    """A finished run of two tasks, as far as the benchmark looks at it."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    folder, spec = tmp_path / "runs" / "made", ModelConfig(id="scratch")
    tokenizer, model, datasets = load_tokenizer(spec), load_model(spec), {}
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    for name in ("scnm", "tcree"):
        dataset = load_dataset(name, "embedded")
        datasets[dataset.task.name] = dataset
    records = [r for d in datasets.values() for split in ("train", "test") for r in d.split(split)[:12]]
    converters = {name: Converter(d.task) for name, d in datasets.items()}
    write_jsonl(folder / "01_inspect_data" / "records.jsonl", [r.to_json() for r in records])
    write_json(folder / "02_convert_format" / "tokens.json", costs_and_budgets(tokenizer, converters, records))
    write_json(folder / "03_train" / "jobs" / "joint" / "summary.json", {})
    model.save_pretrained(folder / "03_train" / "jobs" / "joint" / "model")
    profile = tmp_path / "made.yaml"
    profile.write_text("name: made\ndescription: x\ndata: {tasks: [scnm, tcree]}\nmodel: {id: scratch}\n"
                       "generation: {batch_size: 4}\nevaluation: {resamples: 10}\n", encoding="utf-8")
    return profile


def test_all_systems_are_measured_on_the_same_texts(run, tmp_path, capsys):
    path = bench.main(["--profile", str(run), "--items", "9", "--growth", "4", "--out", str(tmp_path / "out")])
    result = read_json(path)
    assert path.name == "made.json" and list(result["systems"]) == list(bench.SYSTEMS)
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
    table = path.with_suffix(".md").read_text(encoding="utf-8")
    assert table in capsys.readouterr().out and table.count("\n| (") == len(bench.SYSTEMS)


def test_steps_of_free_decoding_are_those_of_the_model(run, monkeypatch):
    profile = load_profile(str(run))
    made = bench.load(profile, pipeline.runs_dir() / "made", 6, None)
    passes = []
    made.model.model.register_forward_pre_hook(lambda *_: passes.append(1))
    measured = bench.free(made)
    assert measured.forwards == len(passes)
    assert set(measured.row_steps) <= set(made.budgets.values())
    assert made.model.get_output_embeddings() is made.model.lm_head
    bench.free(made, corpus_rows=True)
    assert isinstance(made.model.get_output_embeddings(), torch.nn.Linear), "the whole layer is back"


def test_faults_are_named(run, tmp_path):
    with pytest.raises(ConfigError, match="no system 'x'; there are one_at_a_time"):
        bench.main(["--systems", "ours,x"])
    with pytest.raises(ConfigError, match="--items is 0"):
        bench.main(["--items", "0"])
    with pytest.raises(pipeline.StageError, match="records.jsonl is missing: run 01_inspect_data first"):
        bench.main(["--profile", str(run), "--run", "nosuch", "--out", str(tmp_path)])
