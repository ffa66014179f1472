"""Configurations of Hub models that must be planned for without the Hub: what their config.json says.

Only the keys that shape parameters and activations. Llama 2: config.json of the models on the Hub (Touvron
et al. 2023, arXiv 2307.09288). LLM-jp 13B v1.0: a GPT-2; its config.json as those of the models trained from
it repeat it (llm-jp/llm-jp-13b-instruct-full-dolly_en-...-v1.1), sizes as in its model card.
"""

from __future__ import annotations

from typing import Any

CONFIGS: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-2-7b-hf": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu", "vocab_size": 32000,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": False},
    "meta-llama/Llama-2-13b-hf": {
        "model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
        "num_attention_heads": 40, "num_key_value_heads": 40, "hidden_act": "silu", "vocab_size": 32000,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": False},
    "llm-jp/llm-jp-13b-v1.0": {
        "model_type": "gpt2", "n_embd": 5120, "n_inner": 20480, "n_layer": 40, "n_head": 40,
        "n_positions": 2048, "activation_function": "gelu", "vocab_size": 50688, "attn_pdrop": 0.1,
        "embd_pdrop": 0.1, "resid_pdrop": 0.1, "layer_norm_epsilon": 1e-5},
}
