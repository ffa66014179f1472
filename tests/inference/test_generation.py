"""Decoding: the restricted output layer is exact, and a cut decoding goes on as if nothing happened."""

from __future__ import annotations

import json

import pytest
import torch

from giellm_utils.inference.config import GenerationConfig
from giellm_utils.models.spec import ModelConfig
from giellm_utils.formats.giellm import Converter
from giellm_utils.inference.plain import GenerationError
from giellm_utils.inference.vocabulary import corpus_vocabulary, schema_strings, RestrictedHead
from giellm_utils.inference.predictions import predict
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.training.sequences import budget
from giellm_utils.core.files import read_jsonl
from giellm_utils.data.registry import load_dataset

SCRATCH = ModelConfig(id="scratch")


@pytest.fixture
def model(scratch_cache):
    torch.manual_seed(3)
    model = load_model(SCRATCH)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.3)  # an untrained model repeats one token: make it babble
    return model


@pytest.fixture
def data():
    dataset = load_dataset("scnm", "embedded")
    return Converter(dataset.task), dataset.split("test")[:10]


def test_restricted_head_is_exact_on_its_rows_and_shut_elsewhere():
    head = torch.nn.Linear(16, 100, bias=False)
    ids = torch.tensor([3, 5, 99])
    hidden = torch.randn(2, 7, 16)
    logits = RestrictedHead(head, ids)(hidden)
    assert logits.shape == (2, 7, 100)
    assert torch.allclose(logits[..., ids], head(hidden)[..., ids], atol=1e-6)
    assert torch.isinf(logits[..., [i for i in range(100) if i not in (3, 5, 99)]]).all()


def test_corpus_vocabulary_can_write_every_gold_target(scratch_cache, data):
    converter, records = data
    tokenizer = load_tokenizer(SCRATCH)
    ids = set(corpus_vocabulary(tokenizer, [*schema_strings(converter), *(converter.prompt(r.text, "joint") for r in records)]).tolist())
    assert len(ids) < len(tokenizer)
    for record in records:
        assert set(tokenizer(converter.target(record, "joint"), add_special_tokens=False).input_ids) <= ids
    assert tokenizer.eos_token_id in ids


def test_predictions_hold_gold_output_parse_and_problems(model, data, tmp_path):
    converter, records = data
    rows = predict(model, load_tokenizer(SCRATCH), converter, records, "joint", 12, GenerationConfig(batch_size=4),
                   tmp_path / "p.jsonl")
    assert [r["id"] for r in rows] == [r.id for r in records] and rows == read_jsonl(tmp_path / "p.jsonl")
    for row, record in zip(rows, records, strict=True):
        assert row["gold"]["target"] == converter.target(record, "joint")
        assert row["truncated"] == (row["tokens"] == 12)
        assert row["problems"] or row["output"] == row["gold"]["target"]


def test_batch_order_and_padding_do_not_change_fp32_output(model, data, tmp_path):
    converter, records = data
    tokenizer = load_tokenizer(SCRATCH)
    one = predict(model, tokenizer, converter, records, "joint", 8, GenerationConfig(batch_size=1), tmp_path / "1.jsonl")
    many = predict(model, tokenizer, converter, records, "joint", 8, GenerationConfig(batch_size=10), tmp_path / "2.jsonl")
    assert [r["output"] for r in one] == [r["output"] for r in many]


@pytest.mark.parametrize("cut", ["whole batches", "in a line"])
def test_a_cut_decoding_goes_on(model, data, tmp_path, cut, monkeypatch):
    converter, records = data
    tokenizer, config = load_tokenizer(SCRATCH), GenerationConfig(batch_size=3)
    whole = predict(model, tokenizer, converter, records, "joint", 8, config, tmp_path / "whole.jsonl")
    calls = []
    generate = model.generate

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    monkeypatch.setattr(model, "generate", dying)
    with pytest.raises(KeyboardInterrupt):
        predict(model, tokenizer, converter, records, "joint", 8, config, tmp_path / "cut.jsonl")
    partial = tmp_path / "cut.jsonl.partial"
    assert not (tmp_path / "cut.jsonl").exists() and len(partial.read_text(encoding="utf-8").splitlines()) == 2
    if cut == "in a line":
        partial.write_bytes(partial.read_bytes()[:-40])
    assert predict(model, tokenizer, converter, records, "joint", 8, config, tmp_path / "cut.jsonl") == whole
    assert len(calls) == 3 + (2 if cut == "whole batches" else 3) and not partial.exists()
    json.loads((tmp_path / "cut.jsonl").read_text(encoding="utf-8").splitlines()[-1])


def test_running_out_of_minutes_is_an_error_that_says_how_to_go_on(model, data, tmp_path):
    converter, records = data
    with pytest.raises(GenerationError, match="after 0 of 10 texts; run again"):
        predict(model, load_tokenizer(SCRATCH), converter, records, "joint", 8,
                GenerationConfig(minutes=1e-9), tmp_path / "p.jsonl")


def test_budget_covers_the_longest_gold_and_a_quarter_more():
    assert budget([4, 40, 8]) == 51
