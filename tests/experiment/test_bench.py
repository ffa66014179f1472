"""The benchmark measures what it says, on a run made here from the scratch model."""

from __future__ import annotations

import itertools

import pytest
import torch
from support.figures import shown_boxes

from giellm_utils.experiment.benchmarks import decoding as bench
from giellm_utils.experiment import stages
from giellm_utils.core import paths
from giellm_utils.core.settings import ConfigError
from giellm_utils.models.spec import ModelConfig
from giellm_utils.experiment.profile import load_profile
from giellm_utils.formats.giellm import Converter
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.training.sequences import costs_and_budgets
from giellm_utils.reporting.figures.decoding_speed import speed
from giellm_utils.reporting.measurements import factors
from giellm_utils.core.files import read_json, write_json, write_jsonl
from giellm_utils.data.registry import load_dataset


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
    write_json(folder / "01_inspect_data" / "provenance.json", {d.task.name: d.provenance for d in datasets.values()})
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
    assert result["source"] == ("2 datasets, embedded mini corpus (machine-written, stand-in) · "
                                "tiny model from scratch (tests only)")
    assert result["source"] in table and f" {factors(result, 'ours')['(a)']} |" in table and "| × (a) |" in table
    assert {label for _, label in ticks(speed(result))} == {s["title"] for s in result["systems"].values()}


def ticks(fig) -> list[tuple[float, str]]:
    """(place, label) of the bars, each label in one line."""
    axis = fig.axes[0].yaxis
    return [(y, " ".join(label.get_text().split())) for y, label in zip(axis.get_ticklocs(), axis.get_ticklabels(),
                                                                      strict=True)]


def made_result(scale: float = 1.0) -> dict:
    """What of run_bench's result is drawn, at speeds `scale` times those of two cores."""
    speeds = dict(zip(bench.SYSTEMS, (0.4, 2, 3.9, 12, 6.2, 10.9, 5.1, 10.2, 9.4), strict=True))
    parts = [("batch_size", b, 64) for b in bench.BATCH_SIZES] + [("characters", c, 16) for c in (21.5, 33, 48, 91)]
    return {
        "run": "mini", "source": "SCNM, embedded mini corpus (machine-written, stand-in) · Gemma-3-270M · LoRA",
        "model": "Gemma-3-270M", "dtype": "bfloat16", "device": "cpu", "threads": 2, "batch_size": 16, "items": 200,
        "split": "test",
        "systems": {name: {"title": bench.SYSTEMS[name][0], "items_per_second": scale * s}
                    for name, s in speeds.items()},
        "growth": [{"by": by, "value": value, "system": name, "items": n, "items_per_second": scale * (1 + i * value)}
                   for by, value, n in parts for i, name in enumerate(bench.GROWING)]}


@pytest.mark.parametrize("scale", [0.03, 1, 400])
def test_the_figure_holds_every_system_and_overlaps_nothing(scale):
    result = made_result(scale)
    for drawn in (result, {**result, "growth": []}):
        fig = speed(drawn)
        assert [label for _, label in ticks(fig)] == [title for title, _ in bench.SYSTEMS.values()]
        assert [bar.get_width() for bar in fig.axes[0].patches] == [
            s["items_per_second"] for s in result["systems"].values()]
        boxes = shown_boxes(fig)
        assert (f"Source: {result['source']} · 200 texts of test, joint, batch 16 · bfloat16 on cpu, 2 threads · "
                "run mini") in [" ".join(text.split()) for text, _ in boxes]
        assert all(box.x0 >= -1 and box.x1 <= fig.bbox.x1 + 1 for _, box in boxes)
        for (a, x), (b, y) in itertools.combinations(boxes, 2):
            assert min(x.x1, y.x1) - max(x.x0, y.x0) <= 1.5 or min(x.y1, y.y1) - max(x.y0, y.y0) <= 3, (a, b)


def test_the_figure_writes_factors_against_both_bases_and_growth_where_measured():
    result = made_result()
    found = {name: text.get_text().split("    ") for name, text in zip(result["systems"], speed(result).axes[0].texts,
                                                                       strict=True)}
    assert found["ours"] == ["12.0", "6.0 × (b)", "30.0 × (a)"] and found["sorted_batches"] == ["2.00", "5.0 × (a)"]
    assert found["one_at_a_time"] == ["0.40", "0.20 × (b)"]
    _, by_batch, by_length = speed(result).axes
    assert [list(line.get_xdata()) for line in by_batch.lines] == [list(bench.BATCH_SIZES)] * 2
    assert [list(line.get_ydata()) for line in by_length.lines] == [[1, 1, 1, 1], [22.5, 34, 49, 92]]
    alone = {**result, "systems": {"ours": result["systems"]["ours"]}, "growth": []}
    assert factors(alone, "ours") == {} and [t.get_text() for t in speed(alone).axes[0].texts] == ["12.0"]
    assert len(speed(alone).axes) == 1


def test_steps_of_free_decoding_are_those_of_the_model(run, monkeypatch):
    profile = load_profile(str(run))
    made = bench.load(profile, paths.runs_dir() / "made", 6, None)
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
    with pytest.raises(stages.StageError, match="records.jsonl is missing: run 01_inspect_data first"):
        bench.main(["--profile", str(run), "--run", "nosuch", "--out", str(tmp_path)])
