"""`giellm bench memory` at toy size: a plan, a training in a process of its own, and the file of both."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
import torch
from typer.testing import CliRunner

from giellm_utils.cli.bench import bench_app
from giellm_utils.core import artifacts
from giellm_utils.core.plan_record import Memory, MemoryCase, MemoryFile, Moment, PARTS
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.benchmarks import memory
from giellm_utils.experiment.benchmarks.training import BenchError
from giellm_utils.formats.registry import make_format
from giellm_utils.models.spec import ModelConfig, statement
from giellm_utils.training.planning.architecture import architecture, find_config
from giellm_utils.training.sequences import build
from support.models import SCRATCH


def rows() -> list[dict[str, str]]:
    data = load_dataset("scnm", "embedded")
    return build({"scnm": make_format("giellm", data.task)}, data.split("train"), "joint")


def test_each_case_is_planned_trained_and_kept(scratch_cache, tmp_path, monkeypatch):
    done = CliRunner().invoke(bench_app, [
        "memory", "--source", "embedded", "--models", "scratch", "--methods", "lora", "--batches", "4",
        "--steps", "2", "--out", str(tmp_path)])
    assert done.exit_code == 0, (done.output, done.exception)
    file = artifacts.read(tmp_path / "scnm-embedded.json", MemoryFile)
    [case] = file.cases
    assert (case.method, case.batch, case.steps) == ("lora", 4, 2) and file.threads >= 1 and file.git
    row = "| tiny model from scratch (tests only) | 0 × 10⁶ | LoRA | 4 |"
    assert case.predicted.total > 0 and row in done.output
    # A Python with torch in it, and a toy model.
    assert 2e8 < case.measured < 2e9
    # Planned anew, also where another precision is computed in, an old plan goes and what was measured stays.
    monkeypatch.setattr("giellm_utils.training.plan.dtype_for", lambda model, **more: getattr(
        torch, "bfloat16" if model.dtype == "auto" else model.dtype))
    old = case.model_copy(update={"predicted": case.predicted.model_copy(update={"overhead": 1})})
    artifacts.write(tmp_path / "scnm-embedded.json", file.model_copy(update={"cases": [old]}))
    done = CliRunner().invoke(bench_app, ["memory", "--source", "embedded", "--replan", "--out",
                                          str(tmp_path)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert artifacts.read(tmp_path / "scnm-embedded.json", MemoryFile) == file


def test_the_longest_sequences_are_taken_with_their_lengths(scratch_cache):
    found = memory.longest(rows(), SCRATCH, 8)
    lengths = [len(r["prompt"]) + len(r["target"]) for r in found.rows]
    everyone = sorted((len(r["prompt"]) + len(r["target"]) for r in rows()), reverse=True)
    assert found.work.sequences == len(found.rows) == 8 and found.work.longest_targets <= found.work.longest
    # One token a character; the end of the sequence is predicted, not read.
    assert sorted(lengths, reverse=True) == everyone[:8] and found.work.longest == everyone[0]


def test_the_llama_made_for_it_has_the_size_it_says(scratch_cache, tmp_path):
    folder = memory.build_llama(tmp_path / memory.LLAMA)
    found = architecture(find_config(ModelConfig(id=str(folder))))
    assert 50e6 < found.parameters < 100e6 and found.tied
    assert found.vocabulary > 1000 and (folder / "tokenizer.json").exists()


def test_faults_are_one_sentence(scratch_cache, tmp_path, monkeypatch):
    def fault(*arguments: str) -> str:
        done = CliRunner().invoke(bench_app, ["memory", "--source", "embedded", "--out", str(tmp_path),
                                              *arguments])
        assert isinstance(done.exception, (ConfigError, BenchError)), done.output
        return str(done.exception)

    assert "--models nosuch: not known" in fault("--models", "nosuch")
    assert "--batches 2,x: write numbers" in fault("--batches", "2,x")
    assert "give fewer steps" in fault("--models", "scratch", "--steps", "10000")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, -9, "", ""))
    assert "exit code -9: it said nothing; memory ran out?" in fault("--models", "scratch", "--steps", "2")


def test_only_a_whole_run_takes_the_place_of_results(scratch_cache, tmp_path, monkeypatch):
    path = tmp_path / "scnm-embedded.json"
    many = {"total": 0}
    planned = Memory(moment=get_args(Moment)[0], **dict.fromkeys(PARTS, 1))

    def case(model, method, rows, batch, *_):
        many["total"] += 1
        if many["total"] > 3:
            raise BenchError("cut short")
        return MemoryCase(model=statement(model), parameters=1, method=method, batch=batch, longest=1,
                          longest_targets=1, steps=2, predicted=planned, measured=many["total"]), 1

    def bench(batches: str):
        return CliRunner().invoke(bench_app, [
            "memory", "--source", "embedded", "--models", "scratch", "--methods", "lora", "--steps", "2",
            "--batches", batches, "--out", str(tmp_path)])

    monkeypatch.setattr(memory, "_case", case)
    assert bench("2,4").exit_code == 0 and [p.name for p in tmp_path.iterdir()] == [path.name]
    before = path.read_bytes()
    assert isinstance(bench("2,4").exception, BenchError) and path.read_bytes() == before
    assert len(artifacts.read(tmp_path / "scnm-embedded.json.part", MemoryFile).cases) == 1
    many["total"] = 0
    fewer = bench("2").exception
    assert isinstance(fewer, ConfigError) and "lora, batch 4, which would not be measured anew" in str(fewer)
    assert path.read_bytes() == before and many["total"] == 0
    assert bench("2,4,8").exit_code == 0 and path.read_bytes() != before


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_the_peak_is_the_processes_own():
    """What its parent had in memory does not count, and what was given back does."""
    mb = 1_000_000
    parent = bytearray(b"x") * (400 * mb)
    code = ("from giellm_utils.experiment.benchmarks.memory_case import peak; a = peak(); "
            f"b = bytearray(b'x') * {200 * mb}; del b; print(a, peak())")
    before, after = map(int, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                                            check=True).stdout.split())
    assert after - before == pytest.approx(200 * mb, rel=0.2) and len(parent) == 400 * mb
    bare = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    del parent
    assert int(bare.stdout.split()[0]) == pytest.approx(before, rel=0.2)
