"""training.engine: another way to the same training, and one sentence where it cannot drive a model."""

from __future__ import annotations

import pytest
import torch

from giellm_utils.core.files import read_jsonl
from giellm_utils.core.settings import ConfigError
from giellm_utils.models.load import load_model
from giellm_utils.training import fused
from giellm_utils.training.launch import write_job
from giellm_utils.training.run import train
from support.models import SCRATCH
from support.trainings import job_of, scnm_rows

ROWS = scnm_rows(24)


def curve(folder, **training):
    """Train with LoRA in this process; the logged losses on train and dev, and the summary."""
    job = job_of(method="lora", lora_r=4, learning_rate=1e-2, max_steps=12, log_steps=2, **training)
    write_job(folder, job, ROWS, ROWS[:4])
    summary = train(job, folder)
    return [row.get("loss", row.get("dev_loss")) for row in read_jsonl(folder / "metrics.jsonl")], summary


def test_it_gives_the_librarys_curve(scratch_cache, tmp_path):
    losses, _ = curve(tmp_path / "library", engine="library")
    again, summary = curve(tmp_path / "stacked", engine="stacked")
    assert summary.steps == 12 and losses[-1] < losses[0] - 0.1, "nothing was learned"
    assert again == pytest.approx(losses, abs=2e-3)
    adapted = load_model(SCRATCH, tmp_path / "stacked" / "model")
    theirs = load_model(SCRATCH, tmp_path / "library" / "model")
    ids = torch.arange(300, 340)[None]
    assert torch.allclose(adapted(input_ids=ids).logits, theirs(input_ids=ids).logits, atol=2e-2)


def test_compiled_passes_give_the_same_curve_and_the_log_says_so(scratch_cache, tmp_path, monkeypatch):
    if reason := fused.why_not():
        pytest.skip(f"nothing can be compiled here: {reason}")
    losses, _ = curve(tmp_path / "eager")
    compiled, _ = curve(tmp_path / "compiled", compile="always")
    assert compiled == pytest.approx(losses, abs=2e-3)
    monkeypatch.setattr(fused, "WORTH", 12)
    assert curve(tmp_path / "auto")[0] == compiled
    assert curve(tmp_path / "never", compile="never")[0] == losses
    said = [(tmp_path / name / "training.log").read_text(encoding="utf-8")
            for name in ("eager", "compiled", "auto", "never")]
    assert ["passes compiled" in text for text in said] == [False, True, True, False]


def test_without_a_compiler_the_log_says_so_and_training_goes_on(scratch_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(fused, "WORTH", 12)
    monkeypatch.setenv("CXX", "no-such-compiler")
    losses, summary = curve(tmp_path / "none")
    assert summary.steps == 12 and losses == curve(tmp_path / "never", compile="never")[0]
    assert "passes not compiled: there is no C++ compiler no-such-compiler" in (
        tmp_path / "none" / "training.log").read_text(encoding="utf-8")


def test_auto_is_stacked_where_that_can_drive_the_model(scratch_cache, tmp_path):
    stacked, _ = curve(tmp_path / "stacked", engine="stacked")
    assert curve(tmp_path / "auto")[0] == stacked
    dropping, _ = curve(tmp_path / "dropping", lora_dropout=0.5)
    assert dropping == curve(tmp_path / "library", engine="library", lora_dropout=0.5)[0] != stacked


def test_few_output_rows_change_the_loss_but_not_what_is_learned(scratch_cache, tmp_path):
    """The scored rows leave out tokens that no text holds, so the loss is lower, and falls as well."""
    (tmp_path / "texts").mkdir()
    job = job_of(method="lora", lora_r=4, learning_rate=1e-2, max_steps=12, log_steps=2, output_rows="texts")
    write_job(tmp_path / "texts", job, ROWS, ROWS[:4], [row["prompt"] for row in ROWS])
    train(job, tmp_path / "texts")
    few = [row["loss"] for row in read_jsonl(tmp_path / "texts" / "metrics.jsonl") if "loss" in row]
    everything, _ = curve(tmp_path / "all")
    assert few[0] < everything[0] and few[-1] < few[0] - 0.1


def test_what_an_engine_cannot_drive_is_one_sentence(scratch_cache, tmp_path):
    job = job_of(method="lora", engine="stacked", lora_dropout=0.1)
    write_job(tmp_path, job, ROWS, ())
    with pytest.raises(ConfigError, match="training.engine stacked: lora_dropout .*; set it to library"):
        train(job, tmp_path)
    with pytest.raises(ValueError, match="output_rows texts is for a frozen output layer"):
        job_of(method="full", output_rows="texts")
    with pytest.raises(ValueError, match="engine stacked is made for method lora"):
        job_of(method="full", engine="stacked")
