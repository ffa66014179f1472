"""The loss sees the target only; a killed training ends as an unbroken one; two processes as one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from giellm_utils.core.settings import ConfigError
from giellm_utils.models.spec import ModelConfig
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.formats.giellm import Converter
from giellm_utils.training.launch import command, launch, TrainingFailed
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.training.sequences import build
from giellm_utils.core.files import read_json, read_jsonl, write_jsonl, write_text
from giellm_utils.data.registry import load_dataset
from giellm_utils.training.run import IGNORE
from giellm_utils.training.sampler import SeededLengthGroupedSampler
from giellm_utils.training.rows import Sequences, TargetCollator
from giellm_utils.training.trainer import add_lora, latest_checkpoint, TargetTrainer

SCRATCH = ModelConfig(id="scratch")


@pytest.fixture(scope="module")
def rows():
    data = load_dataset("scnm", "embedded")
    return build({"scnm": Converter(data.task)}, data.split("train")[:48], "joint")


def job_file(folder: Path, rows, **training) -> Path:
    """A job.yaml below `folder` that trains the scratch model on `rows`."""
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "dev.jsonl", rows[:4])
    options = {"method": "full", "learning_rate": 3e-3, "batch_size": 4, "save_steps": 5, "log_steps": 5, **training}
    job = TrainingJob(job="joint", seed=7, model=SCRATCH, training=TrainingConfig(**options),
                      train_file=str(folder / "train.jsonl"), dev_file=str(folder / "dev.jsonl"), out=str(folder))
    return write_text(folder / "job.yaml", yaml.safe_dump(job.model_dump(mode="json"), allow_unicode=True))


def run_job(config: Path, environment) -> dict:
    done = subprocess.run([sys.executable, "-m", "giellm_utils.training.run", "--config", str(config)],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return read_json(config.parent / "summary.json")


def test_labels_are_the_target_and_its_end_shifted_by_one(scratch_cache, rows):
    tokenizer = load_tokenizer(SCRATCH)
    row = Sequences(rows[:1], tokenizer, 1024)[0]
    assert len(row["input_ids"]) == len(row["labels"])
    wanted = [x for x in row["labels"] if x != IGNORE]
    assert tokenizer.decode(wanted[:-1]) == rows[0]["target"] and wanted[-1] == tokenizer.eos_token_id
    first = row["labels"].index(wanted[0])
    # What is read before the first label is the whole prompt and nothing of the target.
    assert tokenizer.decode(row["input_ids"][:first + 1]) == rows[0]["prompt"]


def test_a_sequence_that_is_too_long_is_named(scratch_cache, rows):
    with pytest.raises(ConfigError, match=rf"{rows[0]['id']}.*training.max_tokens=16"):
        Sequences(rows[:1], load_tokenizer(SCRATCH), 16)


def losses_and_gradients(model, rows, folder, chunked: bool):
    """(theirs, ours): the library's loss and gradients over full logits, and TargetTrainer's."""
    from transformers import TrainingArguments

    tokenizer = load_tokenizer(SCRATCH)
    data = Sequences(rows, tokenizer, 1024)
    batch = TargetCollator(tokenizer.pad_token_id)(data.rows)
    trained = [p for p in model.parameters() if p.requires_grad]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORE)
    reference = torch.autograd.grad(theirs, trained)
    trainer = TargetTrainer(model=model, args=TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none"),
                            train_dataset=data)
    assert trainer._head.chunked == chunked
    ours = trainer.compute_loss(model, dict(batch))
    return (theirs.item(), reference), (ours.item(), torch.autograd.grad(ours, trained))


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("count", [1, 6, 12])  # 12 targets are several chunks of 64 tokens
def test_loss_on_picked_positions_equals_the_models_own(scratch_cache, rows, tmp_path, method, count):
    torch.manual_seed(1)
    model = load_model(SCRATCH)
    if method == "lora":
        model = add_lora(model, TrainingConfig(lora_r=4))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # B starts at zero, which would leave A without a gradient to compare
                torch.nn.init.normal_(parameter, std=0.1)
    (theirs, reference), (ours, gradients) = losses_and_gradients(model, rows[:count], tmp_path, method == "lora")
    assert ours == pytest.approx(theirs, abs=1e-5)
    for a, b in zip(gradients, reference, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-4)


def test_batches_depend_on_seed_and_epoch_alone():
    lengths = [i % 17 for i in range(200)]

    def order(seed, epoch):
        sampler = SeededLengthGroupedSampler(4, lengths, seed)
        sampler.set_epoch(epoch)
        torch.rand(3)  # what else draws numbers must not matter
        return list(sampler)

    assert order(1, 0) == order(1, 0) and sorted(order(1, 0)) == list(range(200))
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)
    spans = [[lengths[i] for i in order(1, 0)[k:k + 4]] for k in range(0, 200, 4)]
    assert sum(max(s) - min(s) for s in spans) < 100  # alike within a batch (random batches: over 400; here 56)
    means = [sum(s) for s in spans]
    falls = sum(a > b for a, b in zip(means, means[1:]))
    assert 10 < falls < 40  # and not sorted across batches (the library's order falls 45 times)


def test_a_killed_training_resumes_and_ends_as_an_unbroken_one(tmp_path, rows, child_environment):
    unbroken = run_job(job_file(tmp_path / "unbroken", rows, epochs=6.0), child_environment)
    config = job_file(tmp_path / "killed", rows, epochs=6.0)
    metrics = config.parent / "metrics.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "giellm_utils.training.run", "--config", str(config)],
                               env=child_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        # Past one epoch of 12 steps, so that the sampler's order of a later epoch is tested too.
        if metrics.exists() and any(json.loads(line)["step"] >= 20 for line in metrics.read_text().splitlines()[:-1]):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (config.parent / "summary.json").exists(), "the training ended before it could be killed"
    resumed = run_job(config, child_environment)
    assert resumed["resumed_from_step"] >= 5
    assert resumed["steps"] == unbroken["steps"] == 72
    assert resumed["final_loss"] == pytest.approx(unbroken["final_loss"], abs=1e-4)
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("unbroken", "killed"))
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 1e-4
    steps = [row["step"] for row in read_jsonl(metrics) if "loss" in row]
    assert steps == sorted(set(steps)), "rows of the killed part were not dropped"


def test_an_incomplete_checkpoint_is_passed_over(tmp_path, rows, child_environment, capsys):
    config = job_file(tmp_path, rows, max_steps=10)
    run_job(config, child_environment)
    checkpoints = tmp_path / "checkpoints"
    assert latest_checkpoint(checkpoints).name == "checkpoint-10"
    state = checkpoints / "checkpoint-10" / "optimizer.pt"
    state.write_bytes(state.read_bytes()[:1000])
    assert latest_checkpoint(checkpoints).name == "checkpoint-5"
    assert "checkpoint-10 is incomplete" in capsys.readouterr().out
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_two_processes_end_where_one_with_the_same_global_batch_does(tmp_path, rows, child_environment, monkeypatch):
    for key, value in child_environment.items():
        monkeypatch.setenv(key, value)
    # By epochs: 48 rows, 6 steps of 8 an epoch, whether one process takes 8 rows or two take 4.
    one = launch(job_file(tmp_path / "one", rows, epochs=1.3, batch_size=8), "single", show=lambda line: None)
    two = launch(job_file(tmp_path / "two", rows, epochs=1.3, batch_size=4), "cpu-2", show=lambda line: None)
    assert one["steps"] == two["steps"] == 8
    assert (one["processes"], two["processes"]) == (1, 2) and one["batch_size"] == two["batch_size"] == 8
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 1e-4


def test_a_cap_before_the_first_log_keeps_the_training(tmp_path, rows, child_environment, scratch_cache):
    summary = run_job(job_file(tmp_path, rows, max_steps=40, log_steps=1000, minutes=1e-6), child_environment)
    assert summary["stopped_by_minutes"] and summary["steps"] == 1 and summary["final_loss"] > 0
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_lora_leaves_an_adapter_and_no_pickle(tmp_path, rows, child_environment, scratch_cache):
    summary = run_job(job_file(tmp_path, rows, max_steps=6, method="lora", lora_r=4), child_environment)
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert "adapter_model.safetensors" in names and not any(n.endswith((".bin", ".pt", ".pkl")) for n in names)
    base, tuned = load_model(SCRATCH), load_model(SCRATCH, tmp_path / "model")
    assert 0 < summary["trainable_parameters"] < sum(p.numel() for p in base.parameters())
    changed = [k for k, v in base.state_dict().items() if not torch.equal(v, tuned.state_dict()[k])]
    assert changed and all("proj" in k for k in changed)


def test_the_clock_stops_a_training_and_the_summary_says_so(tmp_path, rows, child_environment):
    summary = run_job(job_file(tmp_path, rows, max_steps=2000, minutes=0.01), child_environment)
    assert summary["stopped_by_minutes"] and summary["steps"] < 2000


def test_a_training_that_fails_says_why(tmp_path, rows, child_environment, monkeypatch):
    monkeypatch.setenv("GIELLM_CACHE_DIR", child_environment["GIELLM_CACHE_DIR"])
    with pytest.raises(TrainingFailed, match="max_tokens=8"):
        launch(job_file(tmp_path, rows, max_tokens=8), "single", show=lambda line: None)
    with pytest.raises(ConfigError, match="single"):
        command(tmp_path / "job.yaml", "nonesuch")
