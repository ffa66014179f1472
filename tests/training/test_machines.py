"""What a training runs on: the files, what fits the devices here, the command, what is refused."""

from __future__ import annotations

import subprocess

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file

from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError
from giellm_utils.training import machines
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.machines import choose, command, devices, nodes
from giellm_utils.training.run import train
from support.trainings import job_of

SLURM = {"SLURM_JOB_NUM_NODES": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "20001"}


def see(monkeypatch, count: int) -> None:
    """As if so many GPUs were visible, numbered from 3."""
    monkeypatch.setattr(machines, "gpus", lambda: [str(3 + i) for i in range(count)])


@pytest.mark.parametrize("name", [m.name for m in machines.machines()])
def test_accelerate_reads_every_file_and_each_says_what_it_is_and_where_it_ran(name):
    found = machines.machine(name)
    read = load_config_from_file(str(found.file))  # refuses unknown keys
    assert read.num_processes == found.processes and found.purpose.endswith((".", ")."))
    assert found.cpu or "not run" in found.tried.lower()
    if found.kind == "FSDP":
        assert read.fsdp_config["fsdp_version"] == 2
        assert read.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"
        assert read.fsdp_config["fsdp_activation_checkpointing"] is False
    if found.kind == "DEEPSPEED":
        assert read.deepspeed_config["zero3_save_16bit_model"] is True
        assert {k for k, v in read.deepspeed_config.items() if v == "auto"} == {
            "gradient_accumulation_steps", "gradient_clipping"}


@pytest.mark.parametrize(("visible", "training", "name", "processes"), [
    (0, {"global_batch": 8}, "cpu", 1), (1, {"global_batch": 8}, "single", 1),
    (8, {}, "single", 1),  # without global_batch eight GPUs would take eight times as many sequences a step
    (8, {"global_batch": 8}, "ddp", 8), (8, {"global_batch": 8, "method": "qlora"}, "ddp", 8),
    (8, {"global_batch": 8, "method": "full"}, "fsdp2", 8), (6, {"global_batch": 8}, "ddp", 4),
    (3, {"global_batch": 5}, "single", 1)])
def test_auto_takes_what_fits_and_keeps_the_step(visible, training, name, processes):
    found = choose(TrainingConfig(**training), visible)
    assert found[:2] == (name, processes) and found[2].startswith("auto: ")


def test_a_process_never_sees_more_gpus_than_it_uses(monkeypatch, tmp_path):
    see(monkeypatch, 2)
    for name, hidden in (("single", {"CUDA_VISIBLE_DEVICES": "3"}), ("cpu", {"CUDA_VISIBLE_DEVICES": ""}),
                         ("cpu-2", {"CUDA_VISIBLE_DEVICES": ""}), ("ddp", {}), ("fsdp2", {})):
        made = command(tmp_path / "training.yaml", TrainingConfig(machine=name))
        assert made.environment == hidden
        count = made.argv[made.argv.index("--num_processes") + 1]
        assert count == ("1" if name in ("single", "cpu") else "2")


def test_a_process_that_sees_several_gpus_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ConfigError, match="sees 2 GPUs and would train in nn.DataParallel"):
        train(job_of(), tmp_path)


def test_devices_are_named_with_the_step_and_the_command(monkeypatch):
    see(monkeypatch, 8)
    found = devices(TrainingConfig(global_batch=8, batch_size=8), ROOT / "runs" / "a" / "training.yaml")
    assert found.machine.name == "ddp" and found.processes == 8 and found.batch == (1, 1, 8)
    assert {row["devices"]: row["value"] for row in found.rows()}["sequences a step"] == (
        "8 = 1 a device x 1 passes x 8 processes")
    assert found.command.endswith("--num_processes 8 -m giellm_utils.training.run --config "
                                  "runs/a/training.yaml")
    assert "configs/accelerate/ddp.yaml" in found.command and str(ROOT) not in found.command


@pytest.mark.parametrize(("training", "sentence"), [
    ({"machine": "ddp"}, "ddp is for several GPUs, and none is visible here; set it to auto"),
    ({"machine": "multi-node"}, "multi-node needs a Slurm job .sbatch configs/accelerate/slurm.sh"),
    ({"machine": "cpu-2", "global_batch": 3}, "global_batch 3 cannot be shared out evenly among 2 processes"),
    ({"machine": "moon"}, "no 'moon' in configs/accelerate; it holds auto, cpu, cpu-2, ddp")])
def test_what_cannot_be_had_here_is_said_before_the_start(tmp_path, training, sentence):
    with pytest.raises(ConfigError, match=sentence):
        command(tmp_path / "training.yaml", TrainingConfig(**training))


def test_deepspeed_that_is_not_installed_is_said_before_the_start(monkeypatch, tmp_path):
    see(monkeypatch, 8)
    monkeypatch.setattr(machines, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="zero3 needs DeepSpeed, which is not installed"):
        command(tmp_path / "training.yaml", TrainingConfig(machine="zero3"))


def test_several_machines_are_found_under_slurm_and_by_torchruns_variables():
    assert nodes(SLURM) == (2, "$SLURM_NODEID", "node1", 20001, True)
    assert nodes({"NNODES": "3", "NODE_RANK": "1", "MASTER_ADDR": "a"}) == (3, "1", "a", 29500, False)
    with pytest.raises(ConfigError, match="NNODES, NODE_RANK and MASTER_ADDR"):
        nodes({"MASTER_ADDR": "a"})


def test_under_slurm_one_command_starts_the_part_of_every_machine(monkeypatch, tmp_path):
    see(monkeypatch, 8)
    for key, value in SLURM.items():
        monkeypatch.setenv(key, value)
    made = command(tmp_path / "training.yaml", TrainingConfig(machine="multi-node", global_batch=16))
    assert made.argv[0] == "srun" and {"--nodes=2", "--ntasks=2", "--kill-on-bad-exit=1"} <= set(made.argv)
    assert "--num_machines 2 --num_processes 16 --main_process_ip node1" in made.argv[-1]
    assert " --machine_rank $SLURM_NODEID " in made.argv[-1]
    assert devices(TrainingConfig(machine="multi-node", global_batch=16)).processes == 16


def test_the_slurm_script_is_bash_and_names_what_it_starts():
    script = ROOT / "configs" / "accelerate" / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=True).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert "Not run" in text and 'giellm run "$@" --set training.machine=multi-node' in text


@pytest.mark.parametrize(("training", "processes", "batch"), [
    ({"batch_size": 8}, 1, (8, 1, 8)), ({"batch_size": 4, "accumulate": 2}, 2, (4, 2, 16)),
    ({"batch_size": 8, "global_batch": 8}, 1, (8, 1, 8)),
    ({"batch_size": 8, "global_batch": 8}, 8, (1, 1, 8)),
    ({"batch_size": 1, "global_batch": 8}, 1, (1, 8, 8)),
    ({"batch_size": 4, "global_batch": 12}, 2, (3, 2, 12))])
def test_a_step_is_made_up_of_passes_and_processes(training, processes, batch):
    assert TrainingConfig(**training).batch(processes) == batch


def test_two_ways_of_saying_how_large_a_step_is_are_refused():
    with pytest.raises(ValueError, match="accumulate 2 and global_batch 8 both say"):
        TrainingConfig(accumulate=2, global_batch=8)
