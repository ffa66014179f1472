"""The paper's own models by their own profiles, at toy size: Llama 2 (7B, 13B) and GPT-2 (LLM-jp's 13B), full
fine-tuning of a mixture of six datasets, one sequence a pass and eight a step, then asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from giellm_utils.core import artifacts
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.experiment.profile import load_profile, Profile
from giellm_utils.formats.registry import make_format
from giellm_utils.models.load import load_tokenizer
from giellm_utils.models.spec import ModelConfig
from giellm_utils.systems.weights import PublishedWeights
from giellm_utils.training.config import TrainingJob
from giellm_utils.training.launch import write_job
from giellm_utils.training.sequences import build
from support.models import SCRATCH
from support.trainings import run_job

IDS = {"vocab_size": 0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def llama(words: int) -> LlamaForCausalLM:
    """As Llama 2: an output layer of its own, as many key heads as heads in 7B and 13B."""
    return LlamaForCausalLM(LlamaConfig(**IDS | {"vocab_size": words}, hidden_size=48, intermediate_size=96,
                                        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
                                        rms_norm_eps=1e-5, tie_word_embeddings=False))


def gpt2(words: int) -> GPT2LMHeadModel:
    """As LLM-jp-13B v1.0: GPT-2's layers."""
    return GPT2LMHeadModel(GPT2Config(**IDS | {"vocab_size": words}, n_embd=48, n_layer=2, n_head=4))


@pytest.fixture(params=[("giellm-7b", llama), ("giellm-13b-jp", gpt2)], ids=["llama", "gpt2"])
def trained(request, tmp_path, scratch_cache, child_environment) -> tuple[Profile, Path, Path]:
    """(profile, base folder, trained folder); the profile's training but for machine, steps and model."""
    name, make = request.param
    profile, base = load_profile(name), tmp_path / "snapshot"
    tokenizer = load_tokenizer(SCRATCH)
    torch.manual_seed(1)
    make(len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    rows = [row for task in profile.data.tasks
            for row in build({task: make_format(profile.format.name, TASKS[task])},
                             load_dataset(task, "embedded").split("train")[:8], "joint")]
    job = TrainingJob(condition="joint", task="mixture", seed=profile.seed, model=ModelConfig(id=str(base)),
                      training=profile.training.model_copy(update={"machine": "cpu", "max_steps": 8}))
    config = write_job(tmp_path / "job", job, rows)
    run_job(config, child_environment)
    return profile, base, config.parent


def test_the_recipe_trains_every_weight_and_the_result_answers(trained) -> None:
    profile, base, folder = trained
    summary = artifacts.read(folder / "summary.json", artifacts.Training)
    assert (summary.method, summary.steps, summary.sequences) == ("full", 8, 48)
    assert summary.batch_size == 8, "eight passes of one sequence make a step, as eight processes do there"
    before = AutoModelForCausalLM.from_pretrained(base)
    assert summary.trainable_parameters == sum(p.numel() for p in before.parameters())
    weights = folder / "model"
    assert not (weights / "adapter_config.json").exists() and list(weights.glob("*.safetensors"))
    after = AutoModelForCausalLM.from_pretrained(weights)
    moved = [(p.float() - dict(before.named_parameters())[name].float()).abs().max().item()
             for name, p in after.named_parameters()]
    # At 1e-5 a weight moves by at most that a step, none stands still, and none was rounded on the way.
    assert all(0 < far < 9e-5 for far in moved)
    records = load_dataset("scnm", "embedded").split("test")[:3]
    system = PublishedWeights(TASKS["scnm"], str(folder), profile.format.name, profile.generation)
    system.fit(records)
    assert len(system.predict(records)) == 3


def test_13b_differs_from_7b_in_its_model_alone() -> None:
    seven, thirteen, japanese = map(load_profile, ("giellm-7b", "giellm-13b", "giellm-13b-jp"))
    for other in (thirteen, japanese):
        assert other.training == seven.training and other.data == seven.data and other.format == seven.format
    recipe = seven.training
    assert (recipe.method, recipe.epochs, recipe.learning_rate) == ("full", 3, 1e-5)
    assert (recipe.batch_size, recipe.global_batch) == (1, 8)
    assert len({p.model.id for p in (seven, thirteen, japanese)}) == 3
