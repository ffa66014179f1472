"""What a training needs: published sizes and estimators, traced passes, verdicts, and what is refused."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig

from giellm_utils.core.plan_record import GIB
from giellm_utils.experiment.profile import load_profile, Profile, PROFILES
from giellm_utils.models import products
from giellm_utils.models.spec import ModelConfig
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.plan import _instead, make_plan, Planner, refuse_if_too_large, Way
from giellm_utils.training.planning import hardware, memory
from giellm_utils.training.planning.architecture import architecture, find_config, PlanError
from giellm_utils.training.planning.effort import flops, Work
from giellm_utils.training.planning.estimators import megatron_layer, zero3_states
from giellm_utils.training.planning.hardware import Hardware
from giellm_utils.training.planning.memory import Setting
from giellm_utils.training.planning.trace import trace

LLAMA_7B = ModelConfig(id="meta-llama/Llama-2-7b-hf")
PAPER = TrainingConfig(conditions=["joint"], method="full", batch_size=1, global_batch=8, machine="fsdp2",
                       learning_rate=1e-5)
WORK = Work(sequences=4500, tokens=900_000, targets=280_000, longest=512, longest_targets=160)


@pytest.mark.parametrize("model, parameters, layers, tied", [
    ("meta-llama/Llama-2-7b-hf", 6_738_415_616, 32, False),
    ("meta-llama/Llama-2-13b-hf", 13_015_864_320, 40, False),
    # 40 layers of 12 h² + 13 h, 50,688 + 2,048 rows of h, and the last norm; h = 5,120.
    ("llm-jp/llm-jp-13b-v1.0", 40 * (12 * 5120 ** 2 + 13 * 5120) + 52_736 * 5120 + 2 * 5120, 40, True),
])
def test_the_papers_models_have_their_published_sizes(model, parameters, layers, tied):
    found = architecture(find_config(ModelConfig(id=model)))
    assert (found.parameters, found.layers, found.tied) == (parameters, layers, tied)


def test_deepspeeds_estimator_gives_its_documented_numbers():
    """docs/code-docs/source/memory.rst of DeepSpeed: t5-3b on 8 GPUs 6.09 GB; t5-large on 4 3,291 MB."""
    assert zero3_states(2851_000_000, 32_000_000, 8) / GIB == pytest.approx(6.09, abs=0.01)
    assert zero3_states(737_670_000, 32_900_000, 4) >> 20 == pytest.approx(3291, abs=1)


@pytest.mark.parametrize("model, bytes_a_device", [("7b", 15.69e9), ("13b", 29.94e9)])
def test_our_states_under_zero3_are_deepspeeds(model, bytes_a_device):
    """18 bytes a parameter over 8 devices; the estimator adds its largest layer, we the gathered weights."""
    arch = architecture(find_config(ModelConfig(id=f"meta-llama/Llama-2-{model}-hf")))
    assert zero3_states(arch.parameters, arch.largest, 8) == pytest.approx(bytes_a_device, rel=0.01)
    planner = Planner(ModelConfig(id=f"meta-llama/Llama-2-{model}-hf"), PAPER, WORK, cpu=False)
    found = planner.memory(Way("full", "zero3", False), 8, 1)
    ours = 18 * arch.parameters / 8 if found.gradients else 14 * arch.parameters / 8
    assert found.parameters + found.gradients + found.optimizer == pytest.approx(ours, rel=1e-6)


@pytest.mark.parametrize("hidden, heads", [(4096, 32), (5120, 40)])
def test_a_traced_gpt_layer_keeps_a_third_more_than_megatrons_formula(hidden, heads):
    """s b h (34 + 5 a s / h) at s = 512 is 54 bytes a token and channel for both sizes; the library's plain
    attention keeps 72 (its copies of queries, keys and values, and its softmax in fp32)."""
    assert megatron_layer(512, 1, hidden, heads) == 54 * 512 * hidden
    assert megatron_layer(512, 1, hidden, heads, fused=True) == 34 * 512 * hidden
    config = AutoConfig.for_model("gpt2", n_embd=hidden, n_head=heads, n_layer=2, n_inner=4 * hidden,
                                  activation_function="gelu", vocab_size=100)
    config._attn_implementation = "eager"
    layers = [trace(config, PAPER, method="full", checkpointing=False, length=512, dtype=torch.bfloat16,
                    cpu=True, layers=n).one.activations for n in (1, 2)]
    assert (layers[1] - layers[0]) / (512 * hidden) == pytest.approx(72, rel=0.02)


def test_where_bf16_is_slow_frozen_weights_and_scored_rows_are_counted_in_fp32(monkeypatch):
    config = AutoConfig.for_model("llama", hidden_size=64, intermediate_size=96, num_attention_heads=4,
                                  num_hidden_layers=2, vocab_size=100)
    lora = TrainingConfig(conditions=["joint"], method="lora")
    setting = Setting(**{**dict.fromkeys(Setting._fields), "cpu": True, "bf16": True, "method": "lora",
                         "rows": 50})
    stacked, rows = [], []
    for fast in (True, False):
        monkeypatch.setattr(products, "fast_in_bf16", lambda fast=fast: fast)
        monkeypatch.setattr(memory, "fast_in_bf16", lambda fast=fast: fast)
        stacked.append(trace(config, lora, method="lora", checkpointing=False, length=32,
                             dtype=torch.bfloat16, cpu=True, layers=2).one.stacked)
        rows.append(memory._widened(SimpleNamespace(hidden=64), setting))
    # The gains of the norms are in fp32 in both.
    assert stacked[0] > 0 and stacked[1] == pytest.approx(2 * stacked[0], rel=0.01)
    assert rows == [0, 4 * 64 * 50]


def test_checkpoints_trade_activations_for_work():
    planner = Planner(LLAMA_7B, PAPER, WORK, cpu=False)
    kept, again = (planner._traced("full", c).one.activations for c in (False, True))
    assert again < kept / 8
    plain, more = (flops(planner.arch, "full", WORK, checkpointing=c) for c in (False, True))
    assert 1.2 < more / plain < 1.34
    # 6 FLOPs a weight and token, attention and the output layer beside it.
    assert plain == pytest.approx(6 * planner.arch.linear * WORK.tokens, rel=0.05)


def test_the_paper_on_eight_times_80_gb():
    found = make_plan("giellm-7b", LLAMA_7B, PAPER, WORK, hardware.parse("8xA800-80GB"))
    by = {(o.method, o.strategy, o.checkpointing): o for o in found.options}
    assert len(by) == 24 and found.own == by["full", "fsdp2", False] and found.own.fits
    assert not by["full", "one", False].fits and not by["full", "ddp", True].fits
    assert by["lora", "one", False].fits and by["lora", "fsdp2", False].refused
    assert found.effort.steps == 1689 and found.effort.hours > 0
    own = found.own
    planner = Planner(LLAMA_7B, PAPER, WORK, cpu=False)
    way = Way("full", "fsdp2", False)
    assert planner.memory(way, 8, own.largest_batch).total <= found.capacity
    assert planner.memory(way, 8, own.largest_batch + 1).total > found.capacity
    count, size = (int(x.split()[0]) for x in own.smallest.split(" × "))
    assert planner.memory(way, count, 1).total <= hardware.capacity(size)


def test_steps_and_hours_are_those_of_the_devices_that_would_be_used():
    """machine auto takes one GPU of eight where no global_batch keeps the step, and 2 of 3 to share out 8."""
    alone = TrainingConfig(conditions=["joint"], batch_size=8, epochs=1)
    shared = alone.model_copy(update={"global_batch": 8})

    def effort(training: TrainingConfig, devices: str):
        return make_plan("x", LLAMA_7B, training, WORK, hardware.parse(devices)).effort

    one = effort(alone, "1xA100-80GB")
    assert effort(alone, "8xA100-80GB") == one and one.steps == 563
    assert effort(shared, "3xA100-80GB").hours == pytest.approx(one.hours / 2)
    assert effort(alone.model_copy(update={"machine": "single"}), "8xA100-80GB") == one


@pytest.mark.parametrize("text, count, gib, tflops", [
    ("8xA800-80GB", 8, 78.8, 312), ("1xH100-80GB", 1, 78.8, 989), ("1x24GB", 1, 23.64, None)])
def test_machines_are_read(text, count, gib, tflops):
    found = hardware.parse(text)
    assert (found.count, found.tflops) == (count, tflops)
    assert found.capacity / GIB == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize("text", ["8xA800", "0x80GB", "8xFOO-80GB", "gpu", ""])
def test_an_unknown_machine_is_one_sentence(text):
    with pytest.raises(PlanError, match="8xA800-80GB, COUNTxSIZEGB or cpu"):
        hardware.parse(text)


def test_a_training_that_cannot_fit_is_refused_with_a_way_out(scratch_cache):
    small = Work(60, 6000, 1800, 120, 40)
    training, tiny = TrainingConfig(method="full", batch_size=8), ModelConfig(id="scratch")
    refuse_if_too_large(tiny, training, small, Hardware("cpu", 1, 4 * GIB, None, cpu=True))
    with pytest.raises(PlanError, match="--force") as caught:
        refuse_if_too_large(tiny, training, small, Hardware("cpu", 1, GIB // 8, None, cpu=True))
    said = str(caught.value)
    assert "0.1 GiB are free" in said and "\n" not in said and "none of its settings fits here" in said
    assert "GIELLM_FORCE to 1" in said


@pytest.mark.parametrize("gib, changes, instead", [
    (70, {"batch_size": 64}, "set training.batch_size to "),
    (20, {}, "set training.gradient_checkpointing to true, or"),
    (17, {}, "set training.method to lora, or"),
    (10, {}, "set training.method to lora and training.gradient_checkpointing to true, or"),
    (10, {"method": "lora"}, "set training.gradient_checkpointing to true, or"),
    (1, {}, "none of its settings fits here, 2 × 80 GB is the smallest machine, or")])
def test_the_smallest_change_that_fits_is_named(gib, changes, instead):
    """Llama 2 7B shared out over eight; what it says to set does fit."""
    way = Way(changes.get("method", "full"), "zero3", False)
    training = PAPER.model_copy(update={**changes, "machine": "zero3", "global_batch": None})
    planner = Planner(LLAMA_7B, training, WORK._replace(longest=1024, longest_targets=320), cpu=False)
    machine = Hardware("8 of them", 8, gib * GIB, None)
    said = _instead(planner, way, machine, training.batch_size)
    assert (said + ", or").startswith(instead), said
    if "set " in said:
        other = way._replace(method="lora" if "lora" in said else way.method,
                             checkpointing="checkpointing" in said)
        batch = re.search(r"batch_size to (\d+)", said)
        assert planner.memory(other, 8, int(batch[1]) if batch else training.batch_size).total <= gib * GIB


#: Gemma-3-270M's sizes, as its config.json has them.
GEMMA = {"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 4,
         "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262_144, "sliding_window": 512}


def trained_here() -> list[Profile]:
    """The committed profiles whose base model is on every machine, one of each kind that asks for the same
    memory."""
    found = {}
    for path in sorted(PROFILES.glob("*.yaml")):
        profile = load_profile(path.stem)
        t = profile.training
        if profile.model.id in ("gemma-3-270m-q4km", "scratch"):
            found[profile.model.id, t.method, t.batch(1), t.max_tokens, t.gradient_checkpointing] = profile
    assert len(found) >= 2
    return list(found.values())


@pytest.mark.parametrize("profile", trained_here(), ids=lambda p: p.name)
def test_no_profile_that_trains_here_is_refused(profile, monkeypatch, scratch_cache):
    """Texts as long as its max_tokens lets them, and 19 GiB free, as on an ordinary machine (in
    fp32, which a processor without bf16 computes in)."""
    if profile.model.id != "scratch":
        monkeypatch.setattr("giellm_utils.training.plan.find_config",
                            lambda spec: AutoConfig.for_model("gemma3_text", **GEMMA))
    longest = profile.training.max_tokens
    work = Work(1000, 1000 * longest, 300 * longest, longest, longest // 3)
    refuse_if_too_large(profile.model, profile.training, work, Hardware("cpu", 1, 19 * GIB, None, cpu=True))
    # The question was asked: a hundredth of that is too little.
    with pytest.raises(PlanError, match="are free here"):
        refuse_if_too_large(profile.model, profile.training, work,
                            Hardware("cpu", 1, GIB // 8, None, cpu=True))


def test_a_model_without_a_configuration_is_one_sentence(tmp_path):
    with pytest.raises(PlanError, match="holds no config.json"):
        find_config(ModelConfig(id=str(tmp_path)))
