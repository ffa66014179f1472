"""Probes on a toy queue: what is told is told, what is kept, and probabilities against the plain sum."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core.files import read_json_gz
from giellm_utils.core.probe import Probe
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment import grid, probes
from giellm_utils.experiment.cells import read_cell, read_cells
from giellm_utils.inference import likelihood
from giellm_utils.inference.likelihood import Given, log_probabilities
from giellm_utils.models import products
from giellm_utils.models.bundle import open_bundle

GRID = {"name": "toy", "model": {"id": "scratch"}, "generation": {"batch_size": 4}, "limit": {"scnm": 4},
        "training": {"method": "lora", "max_steps": 2, "batch_size": 4, "log_steps": 1},
        "stages": [{"name": "i", "datasets": ["scnm"], "conditions": ["joint", "text", "words-first"],
                    "seeds": [1], "decodings": ["constrained"]}]}


@pytest.fixture
def few(monkeypatch, in_process):
    """A dozen embedded texts in the place of each open dataset."""
    whole = load_dataset("scnm", "embedded")
    few = dataclasses.replace(whole, records=[r for split, n in (("train", 8), ("dev", 2), ("test", 6))
                                              for r in whole.split(split)[:n]])
    for module in (grid, probes):
        monkeypatch.setattr(module, "trial_dataset", lambda name: few)


@pytest.fixture
def worked_off(few, tmp_path):
    """A finished queue of three cells."""
    toy = grid.Grid.model_validate(GRID)
    grid.run(toy, tmp_path / "runs", tmp_path / "mre", show=lambda line: None)
    return toy, tmp_path / "runs", tmp_path / "mre"


def test_every_joint_model_is_told_the_level_that_it_writes_first(worked_off, monkeypatch):
    toy, runs, cells = worked_off
    asked = []

    def spied(decoder, fmt, records, level, *rest, prompt):
        asked.append((level, [prompt(r) for r in records]))
        return write(decoder, fmt, records, level, *rest, prompt=prompt)

    write = probes.write_constrained
    monkeypatch.setattr(probes, "write_constrained", spied)
    said = []
    assert probes.run(toy, runs, cells, 3, said.append) == 2
    first, second = (Probe.model_validate(read_json_gz(cells / f"scnm/{name}/probe-1.json.gz"))
                     for name in ("joint", "words-first"))
    assert (first.told, first.asked, second.told, second.asked) == ("text", "words", "words", "text")
    assert len(first.ids) == 3 == len(first.label_alone) and second.label_alone is None
    assert set(first.answers) == {"gold", "predicted", "wrong"}
    assert [level for level, _ in asked] == ["words", "words", "text", "text"]
    gold, wrong = asked[0][1], asked[1][1]
    assert all(a.rpartition("<")[0] == b.rpartition("<")[0] and a != b
               for a, b in zip(gold, wrong, strict=True))
    cell = read_cell(cells / "scnm/joint/seed-1.json.gz")
    places = [cell.ids.index(i) for i in first.ids]
    assert first.answers["predicted"].matched == [cell.decoded["constrained"].matched[i] for i in places]
    assert not any("F1" in line or "%" in line for line in said)
    assert probes.run(toy, runs, cells, 3, said.append) == 0 and len(read_cells(cells)) == 3


def test_the_queue_probes_a_joint_model_while_it_is_at_hand(few, tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(GRID), encoding="utf-8")
    asked = ["mre", "run", "-e", str(tmp_path / "toy.yaml"), "--at-most", "1", "--cells",
             str(tmp_path / "mre")]
    CliRunner().invoke(app, [*asked, "--probe-texts", "0"], catch_exceptions=False)
    assert not list((tmp_path / "mre").rglob("probe-*"))
    done = CliRunner().invoke(app, [*asked, "--probe-texts", "2"], catch_exceptions=False)
    assert "1 cells finished" in done.output
    [path] = (tmp_path / "mre").rglob("probe-*")  # of the cell before, whose training is still there
    assert len(Probe.model_validate(read_json_gz(path)).ids) == 2


def test_a_probe_that_fails_does_not_stop_the_queue(few, tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise grid.QueueError("no answers")

    monkeypatch.setattr(probes, "probe", fails)
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(GRID), encoding="utf-8")
    done = CliRunner().invoke(app, ["mre", "run", "-e", str(tmp_path / "toy.yaml"), "--cells",
                                    str(tmp_path / "mre"), "--at-most", "2"], catch_exceptions=False)
    assert "not probed: no answers" in done.output and "2 cells finished" in done.output


def test_answers_that_are_not_there_are_one_sentence(worked_off):
    toy, runs, cells = worked_off
    next((runs / "toy/scnm/joint/scnm").glob("*.jsonl")).unlink()
    with pytest.raises(grid.QueueError, match="scnm/joint/seed-1 has no answers of its own"):
        probes.run(toy, runs, cells, 3, lambda line: None)


def test_a_probe_whose_cell_was_moved_away_does_not_stand_beside_the_next_one(worked_off):
    toy, runs, cells = worked_off
    assert probes.run(toy, runs, cells, 3, lambda line: None) == 2
    (cells / "scnm/joint/seed-1.json.gz").unlink()
    with pytest.raises(grid.QueueError, match="probe-1.json.gz is of a training whose cell is gone: move it"):
        probes.run(toy, runs, cells, 3, lambda line: None)
    (cells / "scnm/joint/probe-1.json.gz").unlink()
    assert not list(probes.probeable(toy, runs, cells))  # no probe of the old model before the new cell


def test_answers_of_other_weights_are_not_mixed_in(worked_off):
    toy, runs, cells = worked_off
    weights = next((runs / "toy/scnm/joint/scnm/seed-1/model").glob("*.safetensors"))
    other = next((runs / "toy/scnm/text/scnm/seed-1/model").glob("*.safetensors"))
    weights.unlink()
    weights.write_bytes(other.read_bytes())
    with pytest.raises(grid.QueueError, match="scnm/joint/seed-1 has no answers of its own training"):
        probes.run(toy, runs, cells, 3, lambda line: None)


def test_tokens_that_merge_over_the_border_are_refused():
    class Merging:
        def __call__(self, texts, add_special_tokens=True):
            return types.SimpleNamespace(input_ids=[text.split("x") for text in texts])

    bundle = types.SimpleNamespace(tokenizer=Merging())
    with pytest.raises(grid.QueueError, match="merge with its prompt's end"):
        probes._told(bundle, "a", "b")


def test_probabilities_are_those_of_one_output_at_a_time(worked_off):
    _, runs, _ = worked_off
    bundle = open_bundle(runs / "toy/scnm/joint/scnm/seed-1")
    rows = [Given("京都の寺。<社会><自然>", "<社会>", "固有表現抽出:地名;京都"),
            Given("雨。", "<自然>", "固有表現抽出:無い;")]
    found = log_probabilities(bundle.model, bundle.tokenizer, rows, batch_size=2)
    for row, (first, second) in zip(rows, found, strict=True):
        prompt = bundle.tokenizer(row.prompt).input_ids
        parts = [bundle.tokenizer(part, add_special_tokens=False).input_ids for part in row[1:]]
        whole = bundle.tokenizer(row.first + row.second, add_special_tokens=False).input_ids
        assert whole == parts[0] + parts[1]  # else the border is not where this test puts it
        ids = [*prompt, *whole, bundle.tokenizer.eos_token_id]
        with torch.inference_mode():
            sure = bundle.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        each = [float(sure[t - 1, ids[t]]) for t in range(len(prompt), len(ids))]
        assert np.allclose([first, second], [sum(each[:len(parts[0])]), sum(each[len(parts[0]):])], atol=1e-3)


def test_an_output_layer_whose_products_are_widened_is_so_once(monkeypatch):
    monkeypatch.setattr(products, "fast_in_bf16", lambda: False)
    layers, seen = torch.nn.Sequential(torch.nn.Linear(16, 40, bias=False)).bfloat16(), []
    products.widen_linears(layers)
    monkeypatch.setattr(likelihood, "widened", lambda weight: seen.append(weight) or products.widened(weight))
    made = likelihood._head(types.SimpleNamespace(get_output_embeddings=lambda: layers[0]))
    for seed in (1, 2):
        hidden = torch.randn(3, 16, generator=torch.Generator().manual_seed(seed)).bfloat16()
        assert torch.equal(made(hidden), layers[0](hidden))
    assert len(seen) == 1
    plain = torch.nn.Linear(16, 40)
    assert likelihood._head(types.SimpleNamespace(get_output_embeddings=lambda: plain)) is plain
