"""The methods of training beside each other, early stopping, and what sharding refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerControl, TrainerState

from giellm_utils.core.files import read_jsonl
from giellm_utils.core.settings import ConfigError
from giellm_utils.training import sharded
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.early import KeepBest
from giellm_utils.training.launch import write_job
from giellm_utils.training.run import train
from support.trainings import job_of, scnm_rows

ROWS = scnm_rows(24)
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
         "FSDP_ACTIVATION_CHECKPOINTING": "false"}


def trained(folder: Path, watching=(), **training):
    """Train in this process; returns the summary and the logged losses, on dev under early stopping."""
    job = job_of(**training)
    write_job(folder, job, ROWS, ROWS[:6])
    summary = train(job, folder, watching)
    key = "dev_loss" if job.training.early_stopping else "loss"
    return summary, [row[key] for row in read_jsonl(folder / "metrics.jsonl") if key in row]


class Watch(TrainerCallback):
    """Remembers whether the model that is trained recomputes its activations."""

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        self.recomputes = any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_recomputed_activations_give_the_same_curve(scratch_cache, tmp_path, method):
    options = {"method": method, "engine": "library", "max_steps": 4, "log_steps": 1}
    plain, again = Watch(), Watch()
    _, losses = trained(tmp_path / "plain", [plain], **options)
    _, recomputed = trained(tmp_path / "again", [again], gradient_checkpointing=True, **options)
    assert (plain.recomputes, again.recomputes) == (False, True)
    assert recomputed == pytest.approx(losses, abs=1e-5)


def test_early_stopping_keeps_the_weights_with_the_lowest_dev_loss(scratch_cache, tmp_path):
    options = {"epochs": 30.0, "splits": ["train"], "early_stopping": 2, "save_steps": 1000,
               # Too fast to go on getting better for 30 epochs.
               "learning_rate": 0.1, "keep_checkpoints": True}
    summary, losses = trained(tmp_path / "whole", **options)
    assert summary.steps < summary.planned_steps and len(losses) == losses.index(min(losses)) + 3
    assert summary.best_step == (losses.index(min(losses)) + 1) * 6
    kept, best = (load_file(tmp_path / "whole" / folder / "model.safetensors")
                  for folder in ("model", f"checkpoints/checkpoint-{summary.best_step}"))
    assert all(torch.equal(kept[key], best[key]) for key in best)


def test_a_training_killed_after_its_last_evaluation_keeps_the_same_weights(scratch_cache, tmp_path):
    options = {"epochs": 30.0, "splits": ["train"], "early_stopping": 1, "save_steps": 1000,
               "learning_rate": 0.1, "keep_checkpoints": True}
    folder = tmp_path / "killed"
    summary, losses = trained(folder, **options)
    kept = load_file(folder / "model" / "model.safetensors")
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "model")
    again, measured = trained(folder, **options)
    assert (again.best_step, measured) == (summary.best_step, losses)
    weights = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(kept[key], weights[key]) for key in kept)


def test_a_resumed_training_stops_where_an_unbroken_one_does(tmp_path):
    """Also where its folder was moved: a checkpoint names the best one by its path."""
    (tmp_path / "checkpoint-12").mkdir()
    stop, control = KeepBest(2), TrainerControl()
    state = TrainerState(global_step=18, best_global_step=12,
                         best_model_checkpoint="/elsewhere/checkpoint-12",
                         log_history=[{"eval_loss": x} for x in (3.0, 2.0, 2.5)])
    stop.on_train_begin(type("Arguments", (), {"output_dir": str(tmp_path)}), state, control)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-12")
    assert not control.should_training_stop
    stop.on_evaluate(None, state, control)
    assert control.should_save and not control.should_training_stop
    state.log_history.append({"eval_loss": 2.1})
    stop.on_evaluate(None, state, control)
    assert control.should_training_stop


def test_early_stopping_without_a_dev_loss_is_refused(scratch_cache, tmp_path):
    with pytest.raises(ValueError, match="early_stopping needs a dev loss, and splits trains on dev"):
        TrainingConfig(early_stopping=2)
    job = job_of(early_stopping=2, splits=["train"])
    write_job(tmp_path, job, ROWS)
    with pytest.raises(ConfigError, match="there are no dev rows"):
        train(job, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU is told")
def test_qlora_without_a_gpu_is_one_sentence(scratch_cache, tmp_path):
    job = job_of(method="qlora")
    write_job(tmp_path, job, ROWS)
    with pytest.raises(ConfigError, match="qlora needs an NVIDIA GPU, and none is visible here; set"):
        train(job, tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="QLoRA was not run: it needs an NVIDIA GPU and "
                    "bitsandbytes; there: pytest tests/training/test_methods.py -k qlora")
def test_qlora_learns_where_it_runs(scratch_cache, tmp_path):
    pytest.importorskip("bitsandbytes")
    _, losses = trained(tmp_path, method="qlora", max_steps=12, log_steps=1, learning_rate=1e-2)
    assert losses[-1] < losses[0] and (tmp_path / "model" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(("training", "environment", "sentence"), [
    ({"method": "lora"}, {}, "lora under fsdp2 mixes tensors and DTensors"),
    ({"method": "lora", "single_tokens": True}, {}, "single_tokens cannot be trained under fsdp2"),
    ({"method": "lora", "single_tokens": True}, {"ACCELERATE_USE_DEEPSPEED": "true"}, "trained under zero3"),
    ({"method": "qlora"}, {}, "qlora holds 4-bit weights that fsdp2 would not share out"),
    ({}, {"FSDP_VERSION": "1"}, "trains FSDP1; set fsdp_version: 2"),
    ({}, {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, "SHARDED_STATE_DICT saves loads only into FSDP"),
    ({"gradient_checkpointing": True}, {"FSDP_ACTIVATION_CHECKPOINTING": "true"},
     "setting both is an error")])
def test_what_sharding_cannot_do_is_refused(training, environment, sentence):
    told = {**FSDP2, **environment}
    with pytest.raises(ConfigError, match=sentence):
        sharded.refuse(TrainingConfig(**{"method": "full", **training}), told, sharded.strategy(told))


@pytest.mark.parametrize("wanted, called", [("fsdp2", "FSDP2"), ("zero3", "ZeRO-3")])
def test_plain_ddp_in_the_place_of_a_shared_model_is_refused(wanted, called):
    trainer = type("Made", (), {"accelerator": type("A", (), {
        "distributed_type": type("T", (), {"value": "MULTI_CPU"})})})
    with pytest.raises(ConfigError, match=f"accelerate would train MULTI_CPU here and not {called}"):
        sharded.check(trainer, wanted)
    sharded.check(trainer, "")
