"""One training on one process, two, two "machines" and two processes that share the model: the same curve;
and what is left when one process of two is killed. All on the CPU (gloo), at toy size."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml
from safetensors.torch import load_file

from giellm_utils.core import artifacts
from giellm_utils.core.files import read_json, read_jsonl
from giellm_utils.core.paths import ROOT
from giellm_utils.models.load import load_model
from giellm_utils.training import machines
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.launch import launch, TrainingFailed, write_job
from giellm_utils.training.run import train
from support.models import SCRATCH
from support.trainings import job_file, job_of, run_job, scnm_rows

ROWS = scnm_rows()
UNSEEN = scnm_rows(55)[len(ROWS):]
#: 48 rows, 6 steps of 8 an epoch, on one process (two passes of 4) as on two. Losses and weights agree to
#: TOLERANCE: a sum over two processes adds in another order.
JOB = {"global_batch": 8, "batch_size": 4, "epochs": 2.0, "save_steps": 4, "log_steps": 1}
TOLERANCE = 1e-4


@pytest.fixture(scope="module", autouse=True)
def children(child_environment):
    """Processes that are launched here find the session's cache."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in child_environment.items():
            patch.setenv(key, value)
        yield


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """Trained by one process, by the printed command in a terminal."""
    config = job_file(tmp_path_factory.mktemp("one"), ROWS, **JOB, machine="cpu")
    printed = machines.devices(TrainingConfig(**JOB, machine="cpu"), config).command
    here = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", printed], cwd=ROOT, check=True, env=here, capture_output=True)
    return config.parent


def curve(folder: Path) -> list[tuple[int, float]]:
    return [(r["step"], r.get("loss", r.get("dev_loss"))) for r in read_jsonl(folder / "metrics.jsonl")]


def assert_same(folder: Path, one: Path, show, what: str) -> artifacts.Training:
    """The same curve and the same weights, which one process loads; returns the summary. How far apart they
    are is shown of `what`."""
    assert curve(folder) == [(step, pytest.approx(loss, abs=TOLERANCE)) for step, loss in curve(one)]
    assert curve(one)[-1][1] < curve(one)[0][1] - 1, "nothing was learned"
    a, b = (load_file(f / "model" / "model.safetensors") for f in (folder, one))
    # A shared model is written whole, its output layer beside the embedding that it is tied to.
    tied = {k: a.pop(k) for k in set(a) - set(b)}
    assert set(tied) <= {"lm_head.weight"}
    assert all((value == a["model.embed_tokens.weight"]).all() for value in tied.values())
    assert set(a) == set(b)
    apart = max((a[k] - b[k]).abs().max().item() for k in a)
    assert apart < TOLERANCE
    losses = max(abs(x - y) for (_, x), (_, y) in zip(curve(folder), curve(one), strict=True))
    show(f"{what}: {len(curve(one))} losses at most {losses:.1e} away from those of one process, weights at "
         f"most {apart:.1e}")
    loaded = load_model(SCRATCH, folder / "model").state_dict()
    assert all((loaded[key] == value).all() for key, value in a.items())
    return artifacts.read(folder / "summary.json", artifacts.Training)


class KillOne:
    """Shows a training's lines, and at one of them kills its second process."""

    def __init__(self, at: str) -> None:
        self.at, self.killed = at, 0.0

    def __call__(self, line: str) -> None:
        if line.startswith(self.at) and not self.killed:
            second = [p for p in psutil.Process().children(recursive=True) if _rank(p) == "1"]
            assert len(second) == 1
            second[0].kill()
            self.killed = time.monotonic()


def _rank(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("RANK")
    except psutil.Error:
        return None


def test_a_killed_process_is_one_sentence_and_one_or_two_go_on_from_its_checkpoint(one, tmp_path, show):
    config, kill = job_file(tmp_path / "two", ROWS, **JOB), KillOne("step  6/12")
    with pytest.raises(TrainingFailed) as failed:
        launch(config, "cpu-2", kill)
    took = time.monotonic() - kill.killed
    assert took < 60
    show(f"one of two processes killed: the run ended with its sentence {took:.1f} s later")
    sentence = str(failed.value)
    assert "process 1 of the training was killed (SIGKILL, as the system does when memory" in sentence
    assert "checkpoint-4; run the same command again: it goes on from there" in sentence
    shutil.copytree(tmp_path / "two", tmp_path / "alone")
    train(job_of(**JOB), tmp_path / "alone")
    alone = assert_same(tmp_path / "alone", one, show, "one process after the kill of two")
    launch(config, "cpu-2", lambda line: None)
    two = assert_same(tmp_path / "two", one, show, "two processes (DDP) after the kill")
    assert alone.resumed_from_step == two.resumed_from_step == 4 and alone.batch_size == two.batch_size == 8
    assert (alone.processes, two.processes) == (1, 2)


@pytest.mark.parametrize("engine", ["stacked", "library"])
def test_two_processes_train_adapters_as_one_does(tmp_path, engine, show):
    lora = {**JOB, "method": "lora", "lora_r": 4, "learning_rate": 1e-2, "engine": engine}
    alone, two = tmp_path / "alone", tmp_path / "two"
    run_job(job_file(alone, ROWS, **lora, machine="cpu"), dict(os.environ))
    launch(job_file(two, ROWS, **lora), "cpu-2", lambda line: None)
    assert artifacts.read(two / "summary.json", artifacts.Training).processes == 2
    assert curve(two) == [(step, pytest.approx(loss, abs=TOLERANCE)) for step, loss in curve(alone)]
    assert curve(alone)[-1][1] < curve(alone)[0][1] - 0.1, "nothing was learned"
    a, b = (load_file(f / "model" / "adapter_model.safetensors") for f in (two, alone))
    assert a.keys() == b.keys()
    apart = max((a[k] - b[k]).abs().max().item() for k in a)
    assert apart < 10 * TOLERANCE, "adapters begin at zero, where Adam makes of roundings whole steps"
    show(f"two processes (DDP), LoRA, engine {engine}: weights at most {apart:.1e} away from one process's")


def test_two_processes_stop_early_where_one_does_and_keep_the_same_weights(tmp_path, show):
    """Dev rows that two processes cannot share evenly: 7, of other texts than those trained on."""
    early = {**JOB, "epochs": 20.0, "early_stopping": 1, "splits": ["train"], "learning_rate": 3e-2}
    for name, machine in (("alone", "cpu"), ("two", "cpu-2")):
        launch(write_job(tmp_path / name, job_of(**early, machine=machine), ROWS[:16], UNSEEN), machine,
               lambda line: None)
    alone, two = (artifacts.read(tmp_path / name / "summary.json", artifacts.Training)
                  for name in ("alone", "two"))
    assert alone.steps == two.steps < 40, "nothing stopped early"
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("alone", "two"))
    apart = max((a[k] - b[k]).abs().max().item() for k in a)
    assert apart < TOLERANCE, "they kept the weights of different epochs"
    show(f"two processes, stopped early after {two.steps} steps: weights at most {apart:.1e} away")


def test_two_machines_meet_as_under_slurm(one, tmp_path, monkeypatch, show):
    """srun and the configuration are stand-ins: two tasks on this machine, one CPU process each."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/usr/bin/env bash\nwhile [[ $1 == --* ]]; do shift; done\n'
                    'SLURM_NODEID=0 "$@" & first=$!\nSLURM_NODEID=1 "$@" || exit 1\nwait $first\n')
    srun.chmod(0o755)
    data = yaml.safe_load((machines.MACHINES / "multi-node.yaml").read_text(encoding="utf-8"))
    data |= {"distributed_type": "MULTI_GPU", "use_cpu": True, "num_processes": 2}
    del data["fsdp_config"]
    (tmp_path / "multi-node.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setattr(machines, "MACHINES", tmp_path)
    for key, value in {"PATH": f"{srun.parent}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_NUM_NODES": "2",
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29617"}.items():
        monkeypatch.setenv(key, value)
    launch(job_file(tmp_path / "job", ROWS, **JOB), "multi-node", lambda line: None)
    assert assert_same(tmp_path / "job", one, show, "two machines, stand-ins for Slurm's").processes == 2


def zero3_in_fp32(folder: Path) -> Path:
    """configs/accelerate/zero3.yaml, but for the precision: that of the tiny model."""
    data = yaml.safe_load((machines.MACHINES / "zero3.yaml").read_text(encoding="utf-8"))
    (folder / "zero3.yaml").write_text(yaml.safe_dump(data | {"mixed_precision": "no"}), encoding="utf-8")
    return folder / "zero3.yaml"


needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")


def shared_out(machine: Path, config: Path) -> str:
    """Train in two processes that share the model, until each says that it did; what they printed."""
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(machine), "--num_processes",
         "2", "-m", "support.sharded_worker", "--config", str(config)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests", ROOT))),
             "DS_ACCELERATOR": "cpu"})
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("sharing, kind", [("fsdp2", "DTensor"),
                                           pytest.param("zero3", "ZeRO", marks=needs_deepspeed)])
def test_two_processes_that_share_the_model_stop_and_go_on(one, tmp_path, sharing, kind, show):
    """As configs/accelerate has it, with FSDP2 activations recomputed too: stopped by the clock after a step,
    resumed from a checkpoint of the shared model, saved whole."""
    machine = machines.MACHINES / "fsdp2.yaml" if sharing == "fsdp2" else zero3_in_fp32(tmp_path)
    for minutes in (1e-9, 30.0):
        config = job_file(tmp_path, ROWS, **JOB, minutes=minutes, gradient_checkpointing=sharing == "fsdp2")
        shared_out(machine, config)
    summary = assert_same(tmp_path, one, show, f"two processes sharing the model ({sharing}), stopped once")
    assert (summary.resumed_from_step, summary.steps, summary.processes) == (1, 12, 2)
    for rank in range(2):
        found = read_json(tmp_path / f"kinds-{rank}.json")
        assert found["kinds"] == [kind] and 0 < found["here"] < 0.6 * found["whole"]
        assert (found["engine"] == "DeepSpeedEngine") == (sharing == "zero3")


@needs_deepspeed
def test_adapters_under_zero3_give_the_curve_of_one_process(tmp_path):
    """LoRA, which FSDP2 is refused: the base shared out too, the adapter saved whole."""
    lora = {**JOB, "method": "lora", "learning_rate": 1e-2}
    shared_out(zero3_in_fp32(tmp_path), job_file(tmp_path / "two", ROWS, **lora))
    launch(job_file(tmp_path / "one", ROWS, **lora, engine="library"), "cpu", lambda line: None)
    assert curve(tmp_path / "two") == [(step, pytest.approx(loss, abs=TOLERANCE))
                                       for step, loss in curve(tmp_path / "one")]
    a, b = (load_file(tmp_path / name / "model" / "adapter_model.safetensors") for name in ("two", "one"))
    assert set(a) == set(b) and max((a[k] - b[k]).abs().max().item() for k in a) < TOLERANCE
    found = read_json(tmp_path / "two" / "kinds-1.json")
    assert found["engine"] == "DeepSpeedEngine" and found["kinds"] == ["ZeRO"]
