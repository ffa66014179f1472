"""A killed training ends as an unbroken one, two processes as one, one stopped by the clock goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from giellm_utils.core.files import read_jsonl
from giellm_utils.core.settings import ConfigError
from giellm_utils.models.load import load_model
from giellm_utils.training import machines
from giellm_utils.training.launch import launch, TrainingFailed, write_job
from giellm_utils.training.run import train
from support.models import SCRATCH
from support.trainings import job_file, job_of, run_job, scnm_rows

ROWS = scnm_rows()


def trained(folder, **training):
    """Train in this process; returns the summary."""
    write_job(folder, job_of(**training), ROWS, ROWS[:4])
    return train(job_of(**training), folder)


@pytest.mark.parametrize("weights, training", [
    ("model", {}),
    ("adapter_model", {"method": "lora", "lora_r": 4, "engine": "stacked", "learning_rate": 1e-2})])
def test_a_killed_training_resumes_and_ends_as_an_unbroken_one(weights, training, tmp_path,
                                                               child_environment):
    unbroken = run_job(job_file(tmp_path / "unbroken", ROWS, epochs=6.0, **training), child_environment)
    config = job_file(tmp_path / "killed", ROWS, epochs=6.0, **training)
    metrics = config.parent / "metrics.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "giellm_utils.training.run", "--config", str(config)],
                               env=child_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        # Past one epoch of 12 steps, so that the sampler's order of a later epoch is tested too.
        lines = metrics.read_text().splitlines()[:-1] if metrics.exists() else []
        if any(json.loads(line)["step"] >= 20 for line in lines):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (config.parent / "summary.json").exists(), "the training ended before it could be killed"
    resumed = run_job(config, child_environment)
    assert resumed.resumed_from_step >= 5
    assert resumed.steps == unbroken.steps == 72
    assert resumed.final_loss == pytest.approx(unbroken.final_loss, abs=1e-4)
    a, b = (load_file(tmp_path / name / "model" / f"{weights}.safetensors")
            for name in ("unbroken", "killed"))
    assert a.keys() == b.keys() and max((a[k] - b[k]).abs().max().item() for k in a) < 1e-4
    steps = [row["step"] for row in read_jsonl(metrics) if "loss" in row]
    assert steps == sorted(set(steps)), "rows of the killed part were not dropped"


def test_the_first_training_on_a_machine_is_like_any_other(tmp_path, monkeypatch):
    """Building the model into an empty cache must not move the seed that the adapters are drawn by."""
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path / "cache"))
    first, second = (trained(tmp_path / name, method="lora", max_steps=2) for name in ("first", "second"))
    a, b = (load_file(tmp_path / name / "model" / "adapter_model.safetensors")
            for name in ("first", "second"))
    assert first.final_loss == second.final_loss and all(torch.equal(a[key], b[key]) for key in a)


def test_a_training_stopped_by_the_clock_goes_on_and_ends_as_an_unbroken_one(scratch_cache, tmp_path):
    unbroken = trained(tmp_path / "unbroken", max_steps=12)
    stopped = trained(tmp_path / "stopped", max_steps=12, minutes=1e-9)
    assert stopped.stopped_by_minutes and stopped.steps == 1
    shared = tmp_path / "stopped" / "model" / "model.safetensors"
    (tmp_path / "elsewhere").hardlink_to(shared)
    before = (tmp_path / "elsewhere").read_bytes()
    resumed = trained(tmp_path / "stopped", max_steps=12)
    assert (resumed.resumed_from_step, resumed.steps, resumed.stopped_by_minutes) == (1, 12, False)
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("unbroken", "stopped"))
    assert unbroken.steps == 12 and max((a[k] - b[k]).abs().max().item() for k in a) < 1e-4
    assert (tmp_path / "elsewhere").read_bytes() == before, "weights shared with another run were written to"


def test_two_processes_end_where_one_with_the_same_global_batch_does(tmp_path, child_environment,
                                                                     monkeypatch):
    for key, value in child_environment.items():
        monkeypatch.setenv(key, value)
    # By epochs: 48 rows, 6 steps of 8 an epoch, whether one process takes 8 rows or two take 4.
    one, two = (
        launch(job_file(tmp_path / name, ROWS, epochs=1.3, batch_size=batch), machine, show=lambda _: None)
        for name, batch, machine in (("one", 8, "single"), ("two", 4, "cpu-2")))
    assert one.steps == two.steps == 8
    assert (one.processes, two.processes) == (1, 2) and one.batch_size == two.batch_size == 8
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 1e-4


def test_a_cap_before_the_first_log_keeps_the_training(scratch_cache, tmp_path):
    summary = trained(tmp_path, max_steps=40, log_steps=1000, minutes=1e-6)
    assert summary.stopped_by_minutes and summary.steps == 1 and summary.final_loss > 0
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_the_clock_stops_a_training_and_the_summary_says_so(scratch_cache, tmp_path):
    summary = trained(tmp_path, max_steps=2000, minutes=0.01)
    assert summary.stopped_by_minutes and summary.steps < summary.planned_steps == 2000


def test_the_address_and_the_cost_stand_in_the_summary(scratch_cache, tmp_path):
    summary = trained(tmp_path, max_steps=2)
    assert (summary.condition, summary.task, summary.seed, summary.base) == ("joint", "scnm", 7, "scratch")
    assert summary.sequences == 48 and summary.batch_size == 4
    metrics = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in metrics if "dev_loss" in row] == [2]


def test_lora_leaves_an_adapter_and_no_pickle(scratch_cache, tmp_path):
    summary = trained(tmp_path, max_steps=6, method="lora", lora_r=4)
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert "adapter_model.safetensors" in names
    assert not any(n.endswith((".bin", ".pt", ".pkl")) for n in names)
    base, tuned = load_model(SCRATCH), load_model(SCRATCH, tmp_path / "model")
    assert 0 < summary.trainable_parameters < sum(p.numel() for p in base.parameters())
    changed = [k for k, v in base.state_dict().items() if not torch.equal(v, tuned.state_dict()[k])]
    assert changed and all("proj" in k for k in changed)


def test_a_training_that_fails_says_why(tmp_path, child_environment, monkeypatch):
    monkeypatch.setenv("GIELLM_CACHE_DIR", child_environment["GIELLM_CACHE_DIR"])
    with pytest.raises(TrainingFailed, match="max_tokens=8"):
        launch(job_file(tmp_path, ROWS, max_tokens=8), "single", show=lambda line: None)
    with pytest.raises(ConfigError, match="single"):
        machines.machine("nonesuch")
