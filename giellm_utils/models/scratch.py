"""A tiny model from scratch, for tests: it learns the format and the prior, not extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import decoders, models, pre_tokenizers, Regex, Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from giellm_utils.data.fetch import embedded
from giellm_utils.data.registry import TASKS
from giellm_utils.models.quiet import progress_bars

_SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]


def build_scratch(folder: Path) -> dict[str, Any]:
    """A 2-layer Llama (0.5 M parameters) over characters with byte fallback, so that no text is out of
    vocabulary, saved into `folder`. Returns what its COMPLETE.json says of it."""
    tokens = _SPECIALS + [f"<0x{b:02X}>" for b in range(256)] + _characters()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokens), hidden_size=96, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=2048, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2))
    with progress_bars(shown=False):
        model.save_pretrained(folder)
    _tokenizer(tokens).save_pretrained(folder)
    return {"name": "scratch", "statement": "tiny model from scratch (tests only)"}


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
