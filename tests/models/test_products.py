"""bf16 products are the same numbers on a processor that is slow in bf16."""

from __future__ import annotations

import pytest
import torch

from giellm_utils.inference.body import _Product
from giellm_utils.models import products, weights
from giellm_utils.models.products import product, WideLinear, widen_linears, widened, widens
from giellm_utils.models.spec import ModelConfig
from giellm_utils.training.loss import _FrozenHeadLoss, Buffers


@pytest.fixture(params=[True, False], ids=["fast in bf16", "slow"])
def processor(request, monkeypatch):
    monkeypatch.setattr(products, "fast_in_bf16", lambda: request.param)
    return request.param


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def rounded_once(a: torch.Tensor, b: torch.Tensor, added: torch.Tensor | float = 0.0) -> torch.Tensor:
    return (a.double() @ b.double() + added).bfloat16()


def test_only_bf16_on_such_a_processor_is_widened(processor):
    assert widens(draw(2, 2)) is not processor and not widens(draw(2, 2).float())
    assert widened(draw(2, 2)).dtype == (torch.bfloat16 if processor else torch.float32)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_product_is_rounded_once(processor, autocast):
    a, b, added = draw(5, 300), draw(300, 7, seed=1), draw(5, 7, seed=2)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = product(a, widened(b)), product(a, b, added)
        out = torch.empty(5, 7, dtype=torch.bfloat16)
        assert product(a, b, out=out) is out
    wanted = rounded_once(a, b), rounded_once(a, b, added.double())
    for have, want in zip((*found, out), (*wanted, wanted[0]), strict=True):
        assert have.dtype == torch.bfloat16
        # Another order of summation may round the other way: by one unit, now and then.
        torch.testing.assert_close(have, want, rtol=2 ** -7, atol=1e-3)
        assert (have != want).float().mean() < 0.06


def test_a_product_of_the_decoder_is_rounded_once(processor):
    x, first, second = draw(3, 64), draw(8, 64, seed=1), draw(4, 64, seed=2)
    made = _Product(first, second)
    # Where bf16 is slow a second copy in fp32; elsewhere oneDNN's layout, where it knows this processor.
    assert (made.packed is None) is not (processor and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    assert processor or made.weights[0].dtype == torch.float32
    wanted = rounded_once(x, torch.cat([first, second]).t())
    torch.testing.assert_close(made(x), wanted, rtol=2 ** -7, atol=1e-3)


def test_the_loss_over_the_output_layer_is_the_same(monkeypatch):
    hidden, head, labels = draw(70, 32), draw(50, 32, seed=1), torch.arange(70) % 50
    trained, at = draw(2, 32, seed=2).float(), torch.tensor([3, 7])
    found, seen, matmul = [], [], torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: seen.append(a) or matmul(a, b))
    for native in (True, False):
        monkeypatch.setattr(products, "fast_in_bf16", lambda native=native: native)
        states, rows = hidden.clone().requires_grad_(), trained.clone().requires_grad_()
        loss = _FrozenHeadLoss.apply(states, head, labels, rows, at, Buffers(), None)
        loss.backward()
        found.append((loss.detach(), states.grad.float(), rows.grad))
    for native, wide in zip(*found, strict=True):
        torch.testing.assert_close(wide, native, rtol=0.02, atol=0.02)
    assert seen and all(x.dtype == torch.float32 for x in seen), "multiplied in fp32"


def test_the_librarys_linear_modules_are_widened_and_stay_linear(processor):
    model = torch.nn.Sequential(torch.nn.Linear(64, 8, bias=False), torch.nn.Linear(8, 4)).bfloat16()
    names, x = list(model.state_dict()), draw(3, 64)
    widen_linears(model)
    assert (type(model[0]) is WideLinear) is not processor and type(model[1]) is torch.nn.Linear
    assert list(model.state_dict()) == names and isinstance(model[0], torch.nn.Linear)
    torch.testing.assert_close(model[0](x), rounded_once(x, model[0].weight.detach().t()), rtol=2 ** -7,
                               atol=1e-3)


def test_autocast_is_left_out_where_it_would_be_emulated(processor, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert products.autocasts() is products.autocasts("lora", cpu=True) is processor
    # A GPU, and a training whose every weight is in fp32: someone asked for bf16 there.
    assert products.autocasts("lora", cpu=False) and products.autocasts("full")


@pytest.mark.parametrize("spec, without", [
    (ModelConfig(), torch.bfloat16), (ModelConfig(id="someone/a-model"), torch.float32),
    (ModelConfig(id="scratch"), torch.float32),
    (ModelConfig(id="someone/a-model", dtype="bfloat16"), torch.bfloat16)])
def test_auto_is_bf16_where_it_is_fast(spec, without, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(weights, "fast_in_bf16", lambda: False)
    assert weights.dtype_for(spec) == without
    full = torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
    assert weights.dtype_for(spec, full=True) == full, "copies of fp32 weights would be emulated"
