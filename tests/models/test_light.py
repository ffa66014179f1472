"""The light way from a trained folder to a model gives what the library's way gives, to the bit."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model, LoraConfig

from giellm_utils.inference.guidance import guidance_tokenizer
from giellm_utils.models.bundle import open_bundle, write_card
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.quiet import peft_wrapping
from giellm_utils.models.text_tokenizer import TextTokenizer
from giellm_utils.models.weights import of_model, Weights
from support.extraction import card
from support.models import babbling, SCRATCH, toy_gemma

TEXTS = ["東京の田中太郎<社会>固有表現抽出", " a  b\n\t", "ﾊﾟか\u3099👩‍👩‍👧\0", "<s></s><pad>", ""]


@pytest.fixture
def trained(tmp_path, scratch_cache):
    folder = tmp_path / "model"
    with peft_wrapping():
        wrapped = get_peft_model(load_model(SCRATCH), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6,
                                                                 target_modules=["q_proj", "down_proj"]))
    babbling(wrapped, 1)
    wrapped.save_pretrained(folder)
    load_tokenizer(SCRATCH).save_pretrained(folder)
    write_card(folder, card("scnm"))
    return folder


def tensors(weights: Weights) -> list[torch.Tensor]:
    layers = [t for layer in weights.layers for t in (*layer.linear, *layer.norms) if t is not None]
    return [weights.embedding, weights.norm, weights.head.weight, *layers]


def test_weights_and_tokens_are_those_of_the_library(trained):
    light, full = open_bundle(trained, light=True), open_bundle(trained)
    assert isinstance(light.model, Weights) and isinstance(light.tokenizer, TextTokenizer)
    theirs = of_model(full.model)
    assert theirs.shape == light.model.shape and light.rows == full.rows
    assert all(torch.equal(a, b) for a, b in zip(tensors(theirs), tensors(light.model), strict=True))
    assert light.tokenizer(TEXTS).input_ids == full.tokenizer(TEXTS).input_ids
    assert len(light.tokenizer) == len(full.tokenizer)
    assert light.tokenizer.eos_token_id == full.tokenizer.eos_token_id


def test_what_is_not_plain_is_left_to_the_library(trained):
    settings = trained / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"use_dora": false', '"use_dora": true'))
    assert not isinstance(open_bundle(trained, light=True).tokenizer, TextTokenizer)
    model = toy_gemma(50)
    assert isinstance(of_model(model), Weights)
    model.model.layers[0].self_attn.q_proj.bias = torch.nn.Parameter(torch.zeros(64))
    assert of_model(model) is None


def test_merging_leaves_the_rotation_in_fp32(trained):
    model = load_model(SCRATCH.model_copy(update={"dtype": "bfloat16"}), trained)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.get_decoder().rotary_emb.inv_freq.dtype == torch.float32


def test_the_kept_vocabulary_is_the_librarys(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path / "cache"))
    tokenizer = TextTokenizer(trained)
    made = guidance_tokenizer(tokenizer)
    kept = list((tmp_path / "cache" / "guidance").glob("*.safetensors"))
    assert len(kept) == 1
    again = guidance_tokenizer(tokenizer)
    assert [made.tokenize_str(t) for t in TEXTS] == [again.tokenize_str(t) for t in TEXTS]
    assert all(made.decode_bytes([i]) == again.decode_bytes([i]) for i in range(made.vocab_size))
    kept[0].write_bytes(b"cut off")
    assert guidance_tokenizer(tokenizer).vocab_size == made.vocab_size
