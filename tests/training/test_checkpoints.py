"""Checkpoints: the last whole one, none of a finished training, one sentence where the disk is full."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from giellm_utils.core.files import read_jsonl
from giellm_utils.core.paths import shown
from giellm_utils.training import checkpoints
from giellm_utils.training.checkpoints import check_room, disk_full, latest_checkpoint, tidy
from giellm_utils.training.launch import TrainingFailed, write_job
from giellm_utils.training.run import train
from support.trainings import job_file, job_of, scnm_rows

ROWS = scnm_rows()


def trained(folder: Path, **training):
    write_job(folder, job_of(**training), ROWS)
    return train(job_of(**training), folder)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").glob("*"))


def test_an_incomplete_checkpoint_is_passed_over(scratch_cache, tmp_path, capsys):
    trained(tmp_path, max_steps=10, keep_checkpoints=True)
    kept = tmp_path / "checkpoints"
    assert latest_checkpoint(kept).name == "checkpoint-10"
    state = kept / "checkpoint-10" / "optimizer.pt"
    state.write_bytes(state.read_bytes()[:1000])
    assert latest_checkpoint(kept).name == "checkpoint-5"
    assert "checkpoint-10 is incomplete" in capsys.readouterr().out
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_finished_training_leaves_no_checkpoint_and_one_stopped_by_the_clock_its_last(scratch_cache,
                                                                                       tmp_path):
    trained(tmp_path / "done", max_steps=12)
    assert not (tmp_path / "done" / "checkpoints").exists()
    stopped = trained(tmp_path / "stopped", max_steps=12, save_steps=1, minutes=1e-9)
    assert stopped.stopped_by_minutes and names(tmp_path / "stopped") == ["checkpoint-1"]
    assert trained(tmp_path / "stopped", max_steps=12, save_steps=1).resumed_from_step == 1
    assert not (tmp_path / "stopped" / "checkpoints").exists()


def test_more_minutes_find_a_whole_checkpoint_when_the_last_is_not(tmp_path, monkeypatch):
    for step, best in ((5, 0), (10, 0), (15, 5)):
        path = tmp_path / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"best_global_step": best}), encoding="utf-8")
    monkeypatch.setattr(checkpoints, "latest_checkpoint", lambda folder: folder / "checkpoint-10")
    tidy(tmp_path, stopped=True, keep=True)
    assert len(names(tmp_path)) == 3
    with monkeypatch.context() as patch:
        # Under early stopping the checkpoint with the lowest dev loss stays beside the last.
        patch.setattr(checkpoints, "latest_checkpoint", lambda folder: folder / "checkpoint-15")
        shutil.copytree(tmp_path, tmp_path.with_name("early"))
        tidy(tmp_path.with_name("early"), stopped=True, keep=False)
        assert names(tmp_path.with_name("early")) == ["checkpoint-15", "checkpoint-5"]
    tidy(tmp_path, stopped=True, keep=False)
    assert names(tmp_path) == ["checkpoint-10"]


def test_a_disk_too_small_is_said_before_the_start(tmp_path, monkeypatch):
    def free(count: int) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=count))

    # 3 checkpoints of 4 MB + 8 bytes x 1 M parameters, and the model of 4 MB.
    needs = {"trained": 1_000_000, "saved": 4_000_000, "saves": 9}
    free(40_000_000)
    check_room(tmp_path, **needs)
    free(39_999_999)
    with pytest.raises(TrainingFailed, match=r"up to 40.0 MB \(3 checkpoints of 12.0 MB, and the model\)"):
        check_room(tmp_path, **needs)
    # What a killed training left there counts, for it is replaced.
    there = tmp_path / "checkpoints" / "checkpoint-5" / "model.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(bytes(1000))
    check_room(tmp_path, **needs)
    check_room(tmp_path, **needs | {"saves": 1})


def test_the_estimate_is_what_a_training_writes(scratch_cache, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(checkpoints, "check_room", lambda folder, **needs: asked.append(needs))
    for name, method in (("full", "full"), ("lora", "lora")):
        trained(tmp_path / name, max_steps=5, method=method, keep_checkpoints=True)
        needs = asked.pop()
        written = sum(p.stat().st_size for p in (tmp_path / name / "checkpoints").rglob("*") if p.is_file())
        checkpoint = needs["saved"] + 8 * needs["trained"]
        # Tokenizer-free: what is above the estimate is the heads of files, the RNG's state and the log.
        assert checkpoint <= written <= checkpoint + 120_000, name
        assert needs["saves"] == 1


def test_what_counts_as_a_full_disk(tmp_path):
    assert disk_full(OSError(errno.ENOSPC, "No space left on device"))
    assert disk_full(OSError(errno.EDQUOT, "quota")) and not disk_full(OSError(errno.EACCES, "no"))
    wrapped = RuntimeError("while saving")
    wrapped.__cause__ = OSError(errno.ENOSPC, "x")
    assert disk_full(wrapped) and not disk_full(ValueError("shapes differ"))


LIMITED = """
import os, resource, sys
from giellm_utils.training import run, trainer
step, most = trainer.TargetTrainer.training_step, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
def limited(self, *args, **kwargs):
    if self.state.global_step == 6:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), most))
    return step(self, *args, **kwargs)
trainer.TargetTrainer.training_step = limited
for size in sys.argv[2:]:
    if not os.fork():
        folder = os.path.join(sys.argv[1], size, "joint")
        sys.argv = ["run", "--config", os.path.join(folder, "training.yaml")]
        run.main()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 2
"""


def test_a_disk_that_fills_up_is_one_sentence_and_the_older_checkpoint_is_whole(tmp_path, scratch_cache,
                                                                                child_environment):
    """From step 6 on no file may grow past a size: not metrics.jsonl, not the weights (1.6 MB), not the
    optimizer's state (3.3 MB)."""
    sizes = ("0", "200000", "2000000")
    for size in sizes:
        job_file(tmp_path / size / "joint", ROWS, max_steps=20)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path), *sizes], text=True,
                          env=child_environment, capture_output=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]
    said = [line for line in done.stderr.splitlines() if line.startswith("giellm: ")]
    for size, sentence in zip(sizes, said, strict=True):
        folder = tmp_path / size / "joint"
        assert sentence.startswith(f"giellm: {shown(folder)}: no room left to write (")
        assert f"last good checkpoint is {shown(folder / 'checkpoints' / 'checkpoint-5')}; make" in sentence
        assert names(folder) == ["checkpoint-5"] and not (folder / "summary.json").exists()
        resumed = train(job_of(max_steps=20), folder)
        assert resumed.resumed_from_step == 5 and resumed.steps == 20
        steps = [row["step"] for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]
        assert steps == [5, 10, 15, 20]


def test_a_full_disk_at_the_model_leaves_the_last_checkpoint(scratch_cache, tmp_path, monkeypatch):
    from giellm_utils.training import run

    def full(*_):
        (tmp_path / "model.new").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "_save", full)
    with pytest.raises(TrainingFailed, match="no room left.*checkpoint-5"), \
            checkpoints.room_or_one_sentence(tmp_path):
        trained(tmp_path, max_steps=5)
    assert not (tmp_path / "model.new").exists() and names(tmp_path) == ["checkpoint-5"]


def test_other_faults_pass_through(tmp_path):
    with pytest.raises(ZeroDivisionError), checkpoints.room_or_one_sentence(tmp_path):
        1 / 0  # noqa: B018


def test_nan_ends_a_training_before_it_reaches_a_weight(scratch_cache, tmp_path, monkeypatch):
    from giellm_utils.training.loss import TargetHead

    loss, calls = TargetHead.loss, []

    def broken(self, outputs, labels, **options):
        calls.append(1)
        return loss(self, outputs, labels, **options) * (float("nan") if len(calls) == 8 else 1)

    monkeypatch.setattr(TargetHead, "loss", broken)
    with pytest.raises(TrainingFailed, match=r"the loss is nan at step 8; the last good checkpoint is "
                                             r".*checkpoint-5; lower training.learning_rate \(now 0.003\)"):
        trained(tmp_path, max_steps=20, log_steps=50)
    assert names(tmp_path) == ["checkpoint-5"]
    state = torch.load(tmp_path / "checkpoints" / "checkpoint-5" / "optimizer.pt", weights_only=True)
    assert all(torch.isfinite(s["exp_avg"]).all() for s in state["state"].values())
    # The fault gone, it goes on.
    assert trained(tmp_path, max_steps=20).resumed_from_step == 5


def test_infinite_gradients_of_a_finite_loss_end_it_too(scratch_cache, tmp_path, monkeypatch):
    from giellm_utils.training.trainer import TargetTrainer

    step = TargetTrainer.training_step

    def broken(self, model, *args, **kwargs):
        found = step(self, model, *args, **kwargs)
        next(p for p in model.parameters() if p.grad is not None).grad[0] = float("inf")
        return found

    monkeypatch.setattr(TargetTrainer, "training_step", broken)
    with pytest.raises(TrainingFailed, match="the norm of the gradients is .* at step 1; no checkpoint was"):
        trained(tmp_path, max_steps=3)


