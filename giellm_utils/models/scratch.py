"""TODO"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from giellm_utils.data.fetch import embedded


def _build_scratch(folder: Path) -> dict:
    """A 2-layer Llama (0.5 M parameters) over characters with byte fallback, so that no text is out of
    vocabulary; for tests: it learns the format and the prior, not extraction."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    from giellm_utils.data.registry import TASKS

    text = "".join(p.read_text(encoding="utf-8") for p in (embedded(f"mini/{name}.tsv") for name in ("reviews", "scnm", "tcree")))
    schema = "".join(x for t in TASKS.values() for x in (*t.text_labels, *(
        w for p in t.parts for w in (p.instruction, *p.labels))))
    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    tokens = specials + [f"<0x{b:02X}>" for b in range(256)] + sorted(set(text + schema + "<>‹›:;\\"))
    backend = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>",
                                        eos_token="</s>", unk_token="<unk>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokens), hidden_size=96, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=2048, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"name": "scratch", "statement": "tiny model from scratch (tests only)"}
