"""The stacked body computes what the library computes: hidden states, and every adapter's gradient."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

from giellm_utils.models import products
from giellm_utils.models.products import widen_linears
from giellm_utils.training import stacked
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.stacked import _Group, _groups, read_only, stack, why_not
from giellm_utils.training.trainer import add_lora

SIZES = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0}


def llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def gemma():
    """With a window shorter than the test's sequences, so that both kinds of layers differ."""
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(
        **SIZES, sliding_window=6, query_pre_attn_scalar=16, layer_types=kinds))


def adapted(build, **options):
    torch.manual_seed(0)
    model = add_lora(build(), TrainingConfig(lora_r=4, lora_alpha=12, **options))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
        if "lora_B" in name:  # at its initial zero A would get no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def batch():
    ids = torch.randint(1, 60, (3, 11), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([11, 7, 4])
    mask = (torch.arange(11)[None] < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def outcome(model):
    """Logits at real tokens, and the gradient of each adapter under a loss on them."""
    inputs = batch()
    logits = model(**inputs).logits[inputs["attention_mask"].bool()]
    logits.logsumexp(-1).sum().backward()
    return logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("build", [llama, gemma])
def test_it_computes_what_the_library_computes(build):
    logits, gradients = outcome(adapted(build))
    model = adapted(build)
    stack(model)
    again, theirs = outcome(model)
    assert torch.allclose(logits, again, atol=1e-4)
    assert len(gradients) == 3 * 7 * 2 and gradients.keys() == theirs.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0
        assert torch.allclose(gradient, theirs[name], rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("build", [llama, gemma])
@pytest.mark.parametrize("engine", ["stacked", "library"])
def test_bf16_is_as_near_to_fp32_where_it_is_fast_and_where_it_is_slow(build, engine, monkeypatch):
    """Rounded once a product, whichever processor: widened, the library's products and ours stay as near to
    the same weights in fp32 as those of a processor that is fast in bf16."""
    def of(spread):
        model = adapted(lambda: spread(build().bfloat16()))
        widen_linears(model)
        if engine == "stacked":
            stack(model)
        return outcome(model)

    exact, apart = of(lambda model: model.float()), []
    for native in (True, False):
        monkeypatch.setattr(products, "fast_in_bf16", lambda native=native: native)
        logits, gradients = of(lambda model: model)
        assert gradients.keys() == exact[1].keys()
        apart.append([(logits.float() - exact[0]).norm() / exact[0].norm(),
                      *((g - exact[1][n]).norm() / exact[1][n].norm() for n, g in gradients.items())])
    native, widened = torch.tensor(apart)
    assert 0 < widened.mean() < 1.2 * native.mean() + 1e-3 and widened.max() < 0.25


@pytest.mark.parametrize("fast", [True, False])
def test_the_frozen_weights_are_kept_in_what_they_are_multiplied_in(fast, monkeypatch):
    monkeypatch.setattr(products, "fast_in_bf16", lambda: fast)
    group = _Group(_groups(adapted(lambda: gemma().bfloat16()).get_decoder().layers[0])[0])
    assert group.wide.dtype == (torch.bfloat16 if fast else torch.float32)
    wide, low, *_ = group.tensors()
    assert low.dtype == torch.bfloat16
    assert torch.equal(wide, wide.bfloat16().to(wide.dtype)), "each number is one of bf16"


def test_it_follows_the_adapters_as_they_are_trained():
    models = [adapted(gemma), adapted(gemma)]
    stack(models[1])
    seen = []
    for model in models:
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(4):
            optimiser.zero_grad()
            outcome(model)
            optimiser.step()
        seen.append(outcome(model)[0])
    assert torch.allclose(*seen, atol=5e-3)
    assert not torch.allclose(seen[0], outcome(adapted(gemma))[0], atol=0.1), "nothing was learned"


@pytest.mark.parametrize("build", [llama, gemma])
def test_what_nobody_reads_is_left_out_and_changes_nothing(build, monkeypatch):
    monkeypatch.setattr(stacked, "ROWS", 8)
    models, inputs = [adapted(build), adapted(build)], batch()
    wanted = torch.zeros(3, 11, dtype=torch.bool)
    wanted[0, 8:], wanted[1, 3], wanted[2, :2] = True, True, True
    found = []
    for model in models:
        stack(model)
        if model is models[1]:
            read_only(model, lambda: wanted)
        hidden = model.get_decoder()(**inputs).last_hidden_state
        hidden[wanted].square().sum().backward()
        found.append((hidden.detach(), [p.grad for p in model.parameters() if p.requires_grad]))
    (whole, gradients), (read, again) = found
    assert torch.allclose(whole[wanted], read[wanted], atol=1e-5) and whole.all()
    assert len(read.any(-1).nonzero()) == 8, "filled up to a multiple of ROWS"
    for a, b in zip(gradients, again, strict=True):
        assert a.abs().max() > 0 and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_model_that_is_not_stacked_is_left_as_it_is():
    model = adapted(llama, lora_dropout=0.1)
    read_only(model, lambda: torch.zeros(3, 11, dtype=torch.bool))
    assert model.get_decoder()(**batch()).last_hidden_state.any()


def test_parameters_stay_the_librarys():
    model = adapted(llama)
    before = sorted(model.state_dict())
    stack(model)
    assert sorted(model.state_dict()) == before


def test_what_it_was_not_written_for_is_refused():
    model = adapted(llama, lora_dropout=0.1)
    assert "lora_dropout" in why_not(model)
    with pytest.raises(ValueError, match="lora_dropout"):
        stack(model)


def test_models_without_adapters_keep_the_librarys_forward():
    assert why_not(llama()) == "not all of its linear modules have LoRA"
