"""The ways of training beside each other: the same sequences, their own processes, one yardstick."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.benchmarks import training, training_ways
from giellm_utils.reporting.figures import training_speed
from giellm_utils.reporting.measurements import training_table
from giellm_utils.training.config import TrainingConfig
from support.models import SCRATCH


def test_the_ways_are_measured_on_the_same_sequences(scratch_cache):
    result = training.run("embedded", SCRATCH, 8, 2, 3, ["trainer", "ours"])
    trainer, ours = result["ways"]["trainer"], result["ways"]["ours"]
    assert trainer["steps"] == ours["steps"] == 16 and result["sequences"] == 64
    assert trainer["timed_steps"] == ours["timed_steps"] == 8
    for way in (trainer, ours):
        assert way["sequences_per_second"] > 0 and way["peak_gib"] > 0.1
        assert way["useful_tokens_per_second"] == pytest.approx(
            way["sequences_per_second"] * result["mean_tokens"], rel=0.01)
    # The same learning rate over the same sequences: no way may have learned much less than another.
    assert ours["held_out_loss"] == pytest.approx(trainer["held_out_loss"], abs=0.5)
    table = training_table(result)
    assert "(a) transformers Trainer" in table and "(c) ours" in table
    assert "2 epochs" in table and "The last epoch is timed." in table
    assert ours["held_out_loss_merged"] == pytest.approx(ours["held_out_loss"], abs=0.1)
    assert training_speed.draw(result).axes


def test_bad_input_is_one_sentence():
    with pytest.raises(ConfigError, match="--ways fastest: no such way of training; known: trainer, trl"):
        training.run("embedded", SCRATCH, 8, 1, 3, ["fastest"])
    with pytest.raises(ConfigError, match="needs 864 train sentences, embedded SCNM has"):
        training.run("embedded", SCRATCH, 100, 1, 3, ["ours"])


def test_a_way_that_fails_says_which(scratch_cache, tmp_path):
    with pytest.raises(training.BenchError, match=r"\(c\) ours.* ended with exit code 1: .*training.yaml"):
        training._measure("ours", tmp_path)


def test_every_way_of_ours_has_its_levers():
    job = TrainingConfig(conditions=["joint"], output_rows="texts")
    made = {way: TrainingConfig.model_validate({**job.model_dump(), **levers})
            for way, levers in training_ways.LEVERS.items()}
    assert {way: (c.lora_dropout > 0, c.engine, c.output_rows, c.compile) for way, c in made.items()} == {
        "ours_dropout": (True, "library", "all", "auto"), "ours_library": (False, "library", "all", "auto"),
        "ours_all_rows": (False, "auto", "all", "auto"), "ours_eager": (False, "auto", "texts", "auto"),
        "ours": (False, "auto", "texts", "always"), "ours_alike": (False, "auto", "all", "always")}
    assert made["ours_alike"].order == "random"
    assert set(training_ways.WAYS) == set(training.WAYS)


def test_body_parameters_by_hand():
    config = SimpleNamespace(hidden_size=4, num_attention_heads=2, num_key_value_heads=1, head_dim=3,
                             intermediate_size=5, num_hidden_layers=2)
    # q 4x6, k and v 4x3 each, o 6x4; gate, up and down 4x5 each
    assert training.body_parameters(config) == 2 * (24 + 12 + 12 + 24 + 60)


def test_what_is_timed_is_the_last_epoch_or_what_follows_the_first_steps():
    clock = training_ways.Clock()
    clock.ends = [10.0, 11, 12, 13, 15, 17, 20, 24]
    assert clock.timed(1) == [2, 2, 3, 4] == clock.timed(2)
    clock.ends = [10.0, 11, 12, 13, 14, 15, 17, 20, 24, 29]
    assert clock.timed(1) == [1, 1, 2, 3, 4, 5]
    assert clock.timed(2) == [1, 2, 3, 4, 5]
