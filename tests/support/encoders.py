"""The kinds of encoder and decoder that the SLG profiles name, at toy size, in a folder as from the Hub."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    T5Config,
    T5ForConditionalGeneration,
    T5Gemma2Config,
    T5Gemma2ForConditionalGeneration,
)

from giellm_utils.models.load import load_tokenizer
from giellm_utils.models.spec import ModelConfig
from support.models import SCRATCH, t5_tokenizer


def japanese_t5(folder: Path, characters: str) -> ModelConfig:
    """A T5 with a T5's own tokenizer, of the `characters` that it must know."""
    tokenizer = t5_tokenizer(characters)
    model = T5ForConditionalGeneration(T5Config(
        vocab_size=len(tokenizer) + 6, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1))
    return _saved(folder, model, tokenizer)


def t5gemma2(folder: Path, characters: str) -> ModelConfig:
    """A T5Gemma 2, which sees images too, with the scratch model's tokenizer (which knows all characters)."""
    tokenizer = load_tokenizer(SCRATCH)
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8,
            "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"],
            "max_position_embeddings": 2048, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    images = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 16, "patch_size": 8}
    return _saved(folder, T5Gemma2ForConditionalGeneration(T5Gemma2Config(
        encoder={"text_config": text, "vision_config": images, "mm_tokens_per_image": 4}, decoder=text,
        image_token_index=5)), tokenizer)


def _saved(folder: Path, model, tokenizer) -> ModelConfig:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelConfig(id=str(folder), dtype="bfloat16")
