"""ModelConfig -> model + tokenizer: Hub id, local folder, packaged GGUF file, or tiny from scratch.

Packaged models arrive by pip (requirements-models.txt) and are dequantised once to safetensors in
the user's cache, which load many times faster than a GGUF file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from giellm_utils.core.files import read_json, sha256, write_json
from giellm_utils.core.paths import cache_dir
from giellm_utils.models.download import fetch_weights, is_reachable
from giellm_utils.models.gguf import convert
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.products import widen_linears
from giellm_utils.models.quiet import peft_wrapping, progress_bars
from giellm_utils.models.scratch import build_scratch, build_scratch_t5
from giellm_utils.models.spec import ModelConfig, ModelError, SCRATCH
from giellm_utils.models.tokens import grow
from giellm_utils.models.weights import dtype_for


def model_path(spec: ModelConfig) -> str:
    """A folder or Hub id that `from_pretrained` reads; converts or builds into the cache on first use."""
    if spec.id == "scratch":
        return str(_cached("scratch-1", build_scratch))
    if spec.id == "scratch-t5":
        return str(_cached("scratch-t5-1", build_scratch_t5))
    if spec.id in PACKAGED:
        return str(_cached(spec.id, lambda folder: convert(spec.id, folder)))
    return spec.id


def load_tokenizer(spec: ModelConfig, trained: Path | None = None) -> PreTrainedTokenizerFast:
    """The fast tokenizer, with a pad token; that of the `trained` folder where it holds one, for
    training may have added tokens. Raises ModelError."""
    own = trained is not None and (trained / "tokenizer.json").exists()
    source = spec.model_copy(update={"id": str(trained), "revision": None}) if own else spec
    tokenizer = _load(AutoTokenizer, source)
    if not tokenizer.is_fast:
        raise ModelError(f"{spec.id} has no fast tokenizer; constrained decoding needs one")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(spec: ModelConfig, adapter: Path | None = None) -> PreTrainedModel:
    """The language model, a decoder or (is_encoder_decoder) an encoder and decoder; `adapter` is a LoRA
    folder (merged, decoders only) or a fully fine-tuned folder.

    Raises ModelError where weights cannot be had.
    """
    if adapter is None or not (adapter / "adapter_config.json").exists():
        # What was trained is in a folder, which has no revision.
        source = spec if adapter is None else spec.model_copy(update={"id": str(adapter), "revision": None})
        auto = AutoModelForSeq2SeqLM if is_encoder_decoder(source) else AutoModelForCausalLM
        return _load(auto, source, dtype=dtype_for(spec))
    from peft import PeftModel

    # Merge in fp32: adding a small update to bf16 weights would round most of it away.
    base = _load(AutoModelForCausalLM, spec, dtype=torch.float32)
    if added := read_json(adapter / "adapter_config.json").get("trainable_token_indices"):
        # A list for the input embedding, or lists by layer.
        ids = added if isinstance(added, list) else [i for layer in added.values() for i in layer]
        grow(base, max(ids) + 1)
    with peft_wrapping():
        wrapped = PeftModel.from_pretrained(base, str(adapter))
    merged = wrapped.merge_and_unload()
    # Not merged.to(...): it would round the rotation's frequencies too, which training keeps in fp32.
    for parameter in merged.parameters():
        parameter.data = parameter.data.to(dtype_for(spec))
    widen_linears(merged)
    return merged


def is_encoder_decoder(spec: ModelConfig) -> bool:
    """Whether the model reads a prompt with an encoder of its own (T5), by its configuration. Raises
    ModelError where that cannot be had."""
    if spec.id in PACKAGED or spec.id in SCRATCH:
        return spec.id == "scratch-t5"
    return bool(_load(AutoConfig, spec).is_encoder_decoder)


def load_four_bit(spec: ModelConfig, device: int) -> PreTrainedModel:
    """The causal language model with its linear layers in 4 bit (NF4, doubly quantised), on CUDA `device`.

    Needs bitsandbytes; raises ModelError where weights cannot be had.
    """
    from transformers import BitsAndBytesConfig

    dtype = dtype_for(spec)
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                  bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    return _load(AutoModelForCausalLM, spec, dtype=dtype, quantization_config=four_bit,
                 device_map={"": device})


def _load(auto: Any, spec: ModelConfig, **kwargs: Any) -> Any:
    source, reason = model_path(spec), ""
    weights = auto in (AutoModelForCausalLM, AutoModelForSeq2SeqLM)
    if weights:
        kwargs["use_safetensors"] = True
    if not Path(source).is_dir():
        kwargs["local_files_only"] = not is_reachable()
        if kwargs["local_files_only"]:
            reason = "the Hub cannot be reached, and its cache here lacks it"
        elif weights:
            fetch_weights(source, spec.revision)
    try:
        # Weights load in a second from safetensors: a bar for that is noise in a notebook.
        with progress_bars(shown=False):
            loaded = auto.from_pretrained(source, revision=spec.revision or "main", **kwargs)
    except (OSError, ValueError) as error:
        reason = reason or " ".join(str(error).split())[:200]
        raise ModelError(f"model {spec.id!r} cannot be loaded ({reason}); give a local folder, a Hub id that "
                         f"you can reach, or one of {', '.join(PACKAGED)}") from error
    if weights:
        widen_linears(loaded)
    return loaded


def _cached(name: str, build: Callable[[Path], dict[str, Any]]) -> Path:
    """A finished folder of the cache, built under a lock into a temporary folder, then renamed."""
    folder = cache_dir() / "models" / name
    done = folder / "COMPLETE.json"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder) + ".lock"):
        if done.exists():
            weights = folder / "model.safetensors"
            if weights.exists() and weights.stat().st_size == read_json(done)["bytes"]:
                return folder
            print(f"cached model {name} is damaged: making it again")
        partial = folder.with_name(folder.name + ".partial")
        for old in (partial, folder):
            shutil.rmtree(old, ignore_errors=True)
        partial.mkdir()
        facts = build(partial)
        weights = partial / "model.safetensors"
        write_json(partial / "COMPLETE.json",
                   {**facts, "bytes": weights.stat().st_size, "sha256": sha256(weights)})
        os.replace(partial, folder)
    return folder
