"""Decoding leaves nothing changed behind: model and tokenizer are what they were, whatever happened."""

from __future__ import annotations

import pytest
import torch

from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.inference.body import body_of
from giellm_utils.inference.borrowed import borrow, BorrowError
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import ConstrainedDecoder, Request, score_union
from giellm_utils.inference.matcher import constraints
from giellm_utils.inference.plain import generate
from giellm_utils.inference.vocabulary import restricted
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.pieces import PieceIndex
from support.models import babbling, SCRATCH, state_of, toy_gemma


class Stop(Exception):
    """Raised midway."""


@pytest.fixture(params=["scratch", "gemma"])
def loaded(request, scratch_cache):
    """A model in training mode, one of its layers frozen in evaluation mode, and its tokenizer."""
    tokenizer = load_tokenizer(SCRATCH)
    model = babbling(load_model(SCRATCH), 3) if request.param == "scratch" else toy_gemma(len(tokenizer))
    model.train()
    model.get_decoder().layers[1].eval()
    return model, tokenizer


@pytest.fixture(scope="module")
def data():
    dataset = load_dataset("scnm", "embedded")
    return GiellmFormat(dataset.task), [r.text for r in dataset.split("test")[:6]]


def free(model, tokenizer, data, on_batch=lambda indices, outputs: None):
    fmt, texts = data
    generate(model, tokenizer, [fmt.prompt(t) for t in texts], 5, GenerationConfig(batch_size=2), on_batch)


def constrained(model, tokenizer, data, score=score_union):
    fmt, texts = data
    grammars = constraints(tokenizer, {"scnm": fmt}, {"scnm": 3}, len(tokenizer))
    decoder = ConstrainedDecoder(model, tokenizer, grammars, batch_size=2, score=score)
    return decoder.decode([Request(fmt.prompt(t), t, "scnm", "joint", 20) for t in texts])


def stop(*_):
    raise Stop


def test_free_decoding_changes_nothing(loaded, data):
    model, tokenizer = loaded
    before = state_of(model, tokenizer)
    free(model, tokenizer, data)
    assert state_of(model, tokenizer) == before
    with pytest.raises(Stop):
        free(model, tokenizer, data, on_batch=stop)
    assert state_of(model, tokenizer) == before


def test_constrained_decoding_changes_nothing_not_even_between_two_outputs(loaded, data):
    model, tokenizer = loaded
    before = state_of(model, tokenizer)
    outputs = constrained(model, tokenizer, data)
    next(outputs)
    assert state_of(model, tokenizer) == before, "while the generator waits"
    assert len(list(outputs)) == len(data[1]) - 1
    assert state_of(model, tokenizer) == before
    with pytest.raises(Stop):
        list(constrained(model, tokenizer, data, score=stop))
    assert state_of(model, tokenizer) == before


def test_the_attention_of_the_model_is_not_switched_during_a_pass(loaded, data):
    model, tokenizer = loaded
    before, seen = model.config._attn_implementation, set()
    hook = model.get_decoder().layers[0].register_forward_pre_hook(
        lambda module, args: seen.add(model.get_decoder().config._attn_implementation))
    list(constrained(model, tokenizer, data))
    hook.remove()
    assert seen == {before} and before != "giellm_rows"


def test_a_restricted_model_leaves_the_output_layer_where_it_is(loaded, data):
    model, tokenizer = loaded
    before, head = state_of(model, tokenizer), model.get_output_embeddings()
    small = restricted(model, PieceIndex(tokenizer).ids_for(data[1]))
    assert small.get_output_embeddings() is not head
    free(small, tokenizer, data)
    with pytest.raises(Stop):
        free(small, tokenizer, data, on_batch=stop)
    assert model.get_output_embeddings() is head and state_of(model, tokenizer) == before


def test_a_borrowed_model_computes_the_same_from_the_same_memory(loaded):
    model, _ = loaded
    twin, ids = borrow(model), torch.tensor([[5, 6, 7, 8]])
    assert not any(m.training for m in twin.modules()) and type(twin) is type(model)
    lent, own = dict(model.named_parameters()), dict(twin.named_parameters())
    assert lent.keys() == own.keys() and all(own[name] is p for name, p in lent.items())
    with torch.inference_mode():
        assert torch.equal(twin(ids).logits, model.eval()(ids).logits)
    twin.get_decoder().config._attn_implementation = "eager"
    twin.register_forward_pre_hook(stop)
    assert model.get_decoder().config._attn_implementation != "eager" and not model._forward_pre_hooks


def test_a_replaced_forward_is_refused(loaded):
    model, _ = loaded
    layer = model.get_decoder().layers[0]
    layer.forward = layer.forward
    with pytest.raises(BorrowError, match=f"the forward of a {type(layer).__name__} was replaced"):
        body_of(model, lean=False)
