"""Tiny models from scratch, for tests: they learn the format and the prior, not extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import decoders, models, pre_tokenizers, Regex, Tokenizer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from giellm_utils.data.fetch import embedded
from giellm_utils.data.registry import TASKS
from giellm_utils.models.quiet import progress_bars
from giellm_utils.models.spec import SCRATCH

_SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]


def build_scratch(folder: Path) -> dict[str, Any]:
    """A 2-layer Llama (0.5 M parameters) over characters with byte fallback, so that no text is out of
    vocabulary, saved into `folder`. Returns what its COMPLETE.json says of it."""
    torch.manual_seed(0)
    return _save("scratch", folder, LlamaForCausalLM(LlamaConfig(
        vocab_size=len(_tokens()), hidden_size=96, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=2048, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2)))


def build_scratch_t5(folder: Path) -> dict[str, Any]:
    """A T5 (0.7 M parameters, two layers on either side) with the same tokenizer, saved into `folder`."""
    torch.manual_seed(0)
    return _save("scratch-t5", folder, T5ForConditionalGeneration(T5Config(
        vocab_size=len(_tokens()), d_model=96, d_kv=24, d_ff=192, num_layers=2, num_heads=4, dropout_rate=0.0,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=0)))


def _save(name: str, folder: Path, model: PreTrainedModel) -> dict[str, Any]:
    with progress_bars(shown=False):
        model.save_pretrained(folder)
    _tokenizer(_tokens()).save_pretrained(folder)
    return {"name": name, "statement": SCRATCH[name]}


def _tokens() -> list[str]:
    return _SPECIALS + [f"<0x{b:02X}>" for b in range(256)] + _characters()


def _characters() -> list[str]:
    """Characters of the embedded corpora and of every label and Instruction Word."""
    text = "".join(embedded(f"mini/{name}.tsv").read_text(encoding="utf-8")
                   for name in ("reviews", "scnm", "tcree"))
    schema = "".join(x for t in TASKS.values() for x in (*t.text_labels, *(
        w for p in t.parts for w in (p.instruction, *p.labels))))
    return sorted(set(text + schema + "<>‹›:;\\"))


def _tokenizer(tokens: list[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [], unk_token="<unk>",
                                   byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(_SPECIALS)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>",
                                   eos_token="</s>", unk_token="<unk>")
