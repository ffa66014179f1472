"""Models: built once into the cache, whole or not at all; what is missing is said in one sentence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from giellm_utils.models import gguf as models
from giellm_utils.models.spec import ModelConfig
from giellm_utils.models.spec import statement, ModelError
from giellm_utils.models.load import dtype_for, load_model, load_tokenizer, model_path
from giellm_utils.models.packaged import terms

SCRATCH = ModelConfig(id="scratch")


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
    monkeypatch.setattr(models, "_build_scratch", lambda folder: pytest.fail("built a second time"))
    assert model_path(SCRATCH) == folder
    assert sum(p.numel() for p in load_model(SCRATCH).parameters()) < 1_000_000
    assert dtype_for(SCRATCH) == torch.float32


def test_a_build_that_dies_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))

    def dying(folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_build_scratch", dying)
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
    broken = models.Packaged("no_such_package", "0" * 64, "x", models._assemble)
    monkeypatch.setitem(models.PACKAGED, "gemma-3-270m-q4km", broken)
    with pytest.raises(ModelError, match="requirements-models.txt"):
        model_path(ModelConfig())


def test_a_wrong_gguf_file_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path))

    def fake(module, folder):
        (folder / "model.gguf").write_bytes(b"not the model")
        return folder / "model.gguf"

    monkeypatch.setitem(models.PACKAGED, "gemma-3-270m-q4km", models.Packaged("json", "0" * 64, "x", fake))
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


@pytest.mark.parametrize("name", models.PACKAGED)
def test_packaged_models_come_with_terms_and_a_statement(name):
    assert len(terms(name)) > 100 and "dequantised" in statement(ModelConfig(id=name))
