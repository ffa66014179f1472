"""Levers of training by the dev loss over seeds: paired, in a table and a figure."""

from __future__ import annotations

import pytest

from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.benchmarks import dev_loss
from giellm_utils.experiment.benchmarks.training import BenchError
from giellm_utils.reporting.figures import dev_loss as figure
from giellm_utils.reporting.measurements import dev_loss_table
from giellm_utils.training import fused
from support.figures import assert_nothing_overlaps
from support.models import SCRATCH


def test_every_lever_learns_from_the_same_texts(scratch_cache):
    said = []
    result = dev_loss.run("embedded", SCRATCH, 16, 1, [1, 2], list(dev_loss.LEVERS), said.append)
    assert len(said) == 12
    losses = {name: lever["losses"] for name, lever in result["levers"].items()}
    for found in losses.values():
        assert set(found) == set(dev_loss.OVER) == set(figure.OVER)
        # Fewer rows to choose from: each is likelier.
        assert all(0 < found["rows"][seed] < found["whole"][seed] for seed in ("1", "2"))
    # Each lever is another training than the recipe.
    assert all(losses[name] != losses["recipe"] for name in ("random", "dropout", "all_rows"))
    assert losses["random"]["whole"]["1"] == pytest.approx(losses["recipe"]["whole"]["1"], abs=0.5)
    # Another way to the same numbers, but for roundings.
    if not fused.why_not():
        assert losses["compiled"]["rows"] == pytest.approx(losses["recipe"]["rows"], abs=2e-3)
    # What is trained over all rows is better over all of them.
    assert losses["all_rows"]["whole"]["1"] < losses["recipe"]["whole"]["1"]
    table = dev_loss_table(result)
    assert table.count("| LoRA dropout 0.05 |") == 1 and "at seeds 1, 2" in table
    assert_nothing_overlaps(figure.draw(result))


def test_the_same_seed_gives_the_same_loss(scratch_cache):
    first, again = (dev_loss.run("embedded", SCRATCH, 16, 1, [1], ["recipe"], lambda line: None)
                    for _ in range(2))
    assert first["levers"]["recipe"]["losses"] == again["levers"]["recipe"]["losses"]


def test_a_killed_one_goes_on_with_the_training_that_was_cut(scratch_cache, tmp_path, monkeypatch):
    part, levers, trained = tmp_path / "x.json.part", ["recipe", "dropout"], []
    train = dev_loss.training.train

    def dies(job, folder):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append((job.seed, folder.name))
        return train(job, folder)

    def ask(texts=16, at=part):
        return dev_loss.run("embedded", SCRATCH, texts, 1, [1, 2], levers, lambda line: None, at)

    monkeypatch.setattr(dev_loss, "git_revision", lambda: "one")
    unbroken = ask(at=None)
    monkeypatch.setattr(dev_loss.training, "train", dies)
    with pytest.raises(KeyboardInterrupt):
        ask()
    monkeypatch.setattr(dev_loss.training, "train", lambda job, folder: trained.append((
        job.seed, folder.name)) or train(job, folder))
    assert ask() == unbroken
    assert trained == [(1, "recipe-1"), (1, "dropout-1"), (2, "recipe-2"), (2, "dropout-2")]
    # Another question is answered anew, and so is the same one at another commit.
    ask(texts=8)
    monkeypatch.setattr(dev_loss, "git_revision", lambda: "another-dirty")
    ask(texts=8)
    assert len(trained) == 12
    ask(texts=8)  # other code may have been that dirty
    assert len(trained) == 16


def test_differences_are_paired_by_seed():
    levers = {name: {"title": name, "losses": {"whole": {"1": one, "2": two}}}
              for name, one, two in (("recipe", 0.5, 0.7), ("dropout", 0.6, 0.8))}
    table = dev_loss_table({"source": "s", "model": "m", "dtype": "float32", "texts": 10, "epochs": 2,
                            "dev": 5, "processors": 2, "seeds": [1, 2], "levers": levers})
    assert "| dropout | 0.6000, 0.8000 | +0.1000 [+0.1000, +0.1000] |" in table
    assert "| recipe | 0.5000, 0.7000 | – |" in table


def test_a_training_that_the_clock_stopped_is_no_result(scratch_cache, monkeypatch):
    job = dev_loss._job
    monkeypatch.setattr(dev_loss, "_job", lambda *a: (found := job(*a)).model_copy(
        update={"training": found.training.model_copy(update={"minutes": 1e-6})}))
    with pytest.raises(BenchError, match="the recipe: .*, seed 1, was stopped by the clock after 1 of 2"):
        dev_loss.run("embedded", SCRATCH, 16, 1, [1], ["recipe"], lambda line: None)


def test_bad_input_is_one_sentence():
    with pytest.raises(ConfigError, match="--levers speed: no such lever; known: recipe, random, dropout"):
        dev_loss.run("embedded", SCRATCH, 16, 1, [1], ["speed"])
    with pytest.raises(ConfigError, match="--texts 9999: embedded SCNM has"):
        dev_loss.run("embedded", SCRATCH, 9999, 1, [1], ["recipe"])
