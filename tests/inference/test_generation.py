"""Free decoding: the restricted output layer is exact, and a cut decoding goes on as if nothing happened."""

from __future__ import annotations

import json

import pytest
import torch

from giellm_utils.core.answer import Answer, gold_answer
from giellm_utils.core.files import StorageError, write_jsonl
from giellm_utils.core.schema import Record
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import ConstrainedDecoder
from giellm_utils.inference.matcher import constraints
from giellm_utils.inference.plain import generate, GenerationError, left_padded
from giellm_utils.inference.predictions import read_answers, read_rows, write_constrained, write_free
from giellm_utils.inference.vocabulary import restricted, RestrictedHead
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.pieces import PieceIndex
from giellm_utils.training.sequences import budget
from support.models import babbling, SCRATCH


@pytest.fixture
def model(scratch_cache):
    return babbling(load_model(SCRATCH), 3)  # an untrained model repeats one token


@pytest.fixture
def tokenizer(scratch_cache):
    return load_tokenizer(SCRATCH)


@pytest.fixture
def data():
    dataset = load_dataset("scnm", "embedded")
    return GiellmFormat(dataset.task), dataset.split("test")[:10]


def decoder_of(model, tokenizer, fmt, batch_size=3):
    grammars = constraints(tokenizer, {"scnm": fmt}, {"scnm": 3}, len(tokenizer))
    return ConstrainedDecoder(model, tokenizer, grammars, batch_size=batch_size)


# -- the output layer ------------------------------------------------------------------------------


def test_restricted_head_is_exact_on_its_rows_and_shut_elsewhere():
    head = torch.nn.Linear(16, 100, bias=False)
    ids = torch.tensor([3, 5, 99])
    hidden = torch.randn(2, 7, 16)
    logits = RestrictedHead(head, ids)(hidden)
    assert logits.shape == (2, 7, 100)
    assert torch.allclose(logits[..., ids], head(hidden)[..., ids], atol=1e-6)
    assert torch.isinf(logits[..., [i for i in range(100) if i not in (3, 5, 99)]]).all()


def test_a_restricted_model_writes_nothing_else(model, tokenizer, data):
    fmt, records = data
    ids = PieceIndex(tokenizer).ids_for([*fmt.fixed_strings(), records[0].text])
    prompt = torch.tensor([tokenizer(fmt.prompt(records[0].text)).input_ids])
    written, free = (m.generate(prompt, max_new_tokens=30, do_sample=False)[0, prompt.shape[1]:]
                     for m in (restricted(model, ids), model))
    assert set(written.tolist()) <= set(ids.tolist()) and not set(free.tolist()) <= set(ids.tolist())


def test_the_pieces_can_write_every_gold_target(tokenizer, data):
    fmt, records = data
    strings = [*fmt.fixed_strings(), *(fmt.prompt(r.text) for r in records)]
    ids = set(PieceIndex(tokenizer).ids_for(strings).tolist())
    assert len(ids) < len(tokenizer) and tokenizer.eos_token_id in ids
    for record in records:
        assert set(tokenizer(fmt.target(record), add_special_tokens=False).input_ids) <= ids


def test_every_piece_that_is_a_substring_is_found_and_the_vocabulary_is_read_once(tokenizer, monkeypatch):
    tokenizer.add_tokens(["京都", "東京都に", "x" * 17])
    index = PieceIndex(tokenizer)
    monkeypatch.setattr(type(tokenizer), "get_vocab", lambda self: pytest.fail("read a second time"))
    ids = index.ids_for(["東京都", "x" * 20]).tolist()
    assert ids == sorted(ids) and tokenizer.convert_tokens_to_ids("京都") in ids
    assert tokenizer.convert_tokens_to_ids("東京都に") not in ids
    # One of 17 characters is left out of the index; it is there because the string is cut into it.
    assert tokenizer.convert_tokens_to_ids("x" * 17) in ids
    assert index.ids_for(["東\ud800"]).tolist()[0] >= 0, "a lone surrogate is no fault"


# -- batches ---------------------------------------------------------------------------------------


def test_padding_is_on_the_left():
    assert {k: v.tolist() for k, v in left_padded([[5], [6, 7, 8]], pad=0).items()} == {
        "input_ids": [[0, 0, 5], [6, 7, 8]], "attention_mask": [[0, 0, 1], [1, 1, 1]]}


def test_batch_order_and_padding_do_not_change_fp32_output(model, tokenizer, data, tmp_path):
    fmt, records = data
    one, many = (write_free(model, tokenizer, fmt, records, "joint", 8, GenerationConfig(batch_size=n),
                            tmp_path / f"{n}.jsonl") for n in (1, 10))
    assert one == many


def test_a_lone_surrogate_is_decoded_too(model, tokenizer):
    found = {}
    generate(model, tokenizer, ["東\ud800京", "京"], 3, GenerationConfig(),
             on_batch=lambda indices, outputs: found.update(zip(indices, outputs, strict=True)))
    assert sorted(found) == [0, 1] and all(o["tokens"] <= 3 for o in found.values())


# -- files -----------------------------------------------------------------------------------------


def test_predictions_hold_gold_and_the_answer_parsed_once(model, tokenizer, data, tmp_path, monkeypatch):
    fmt, records = data
    parsed, parse = [], fmt.parse
    monkeypatch.setattr(fmt, "parse", lambda *args: parsed.append(args) or parse(*args))
    path = tmp_path / "p.jsonl"
    answers = write_free(model, tokenizer, fmt, records, "joint", 12, GenerationConfig(batch_size=4), path)
    rows = read_rows(path)
    assert read_answers(path) == answers and len(parsed) == len(records)
    for row, answer, record in zip(rows, answers, records, strict=True):
        assert [row[k] for k in ("id", "task", "level", "text")] == [record.id, "scnm", "joint", record.text]
        gold = gold_answer(record).to_json()
        assert row["gold"] == {"label": gold["label"], "items": gold["items"]}
        assert Answer.from_json(row["answer"]) == answer
        assert answer.truncated == (row["tokens"] == 12)
        plain = parse(answer.raw, "joint", record.text)
        assert answer == (plain.cut() if answer.truncated else plain)


def test_constrained_predictions_say_their_steps_and_what_was_cut(model, tokenizer, data, tmp_path):
    fmt, records = data
    path, config = tmp_path / "c.jsonl", GenerationConfig()
    answers = write_constrained(decoder_of(model, tokenizer, fmt), fmt, records, "joint", 12, config, path)
    assert read_answers(path) == answers and all(row["steps"] >= 1 for row in read_rows(path))
    assert any(a.truncated for a in answers)
    assert all([p.name for p in a.problems] == ["truncated"] * a.truncated for a in answers)


def test_a_file_of_another_version_is_named(tmp_path):
    write_jsonl(tmp_path / "p.jsonl", [{"id": "a", "output": "<社会>", "problems": []}])
    with pytest.raises(StorageError, match="p.jsonl, line 1: not a row of predictions"):
        read_answers(tmp_path / "p.jsonl")


@pytest.mark.parametrize("cut", ["whole batches", "in a line"])
def test_a_cut_decoding_goes_on(model, tokenizer, data, tmp_path, cut, monkeypatch):
    fmt, records = data
    config = GenerationConfig(batch_size=3)
    whole = write_free(model, tokenizer, fmt, records, "joint", 8, config, tmp_path / "whole.jsonl")
    calls = []
    generate = model.generate

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    monkeypatch.setattr(model, "generate", dying)
    path, partial = tmp_path / "cut.jsonl", tmp_path / "cut.jsonl.partial"
    with pytest.raises(KeyboardInterrupt):
        write_free(model, tokenizer, fmt, records, "joint", 8, config, path)
    assert not path.exists() and len(partial.read_text(encoding="utf-8").splitlines()) == 2
    if cut == "in a line":
        partial.write_bytes(partial.read_bytes()[:-40])
    assert write_free(model, tokenizer, fmt, records, "joint", 8, config, path) == whole
    assert len(calls) == 3 + (2 if cut == "whole batches" else 3) and not partial.exists()
    json.loads(path.read_text(encoding="utf-8").splitlines()[-1])


def test_a_cut_constrained_decoding_goes_on(model, tokenizer, data, tmp_path):
    fmt, records = data
    config, path = GenerationConfig(), tmp_path / "cut.jsonl"
    decoder = decoder_of(model, tokenizer, fmt)
    whole = write_constrained(decoder, fmt, records, "joint", 20, config, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    path.with_name("cut.jsonl.partial").write_bytes(b"".join(lines[3:7]) + lines[7][:30])
    decoder.fed = 0
    assert write_constrained(decoder, fmt, records, "joint", 20, config, path) == whole
    assert decoder.fed and path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_running_out_of_minutes_is_an_error_that_says_how_to_go_on(model, tokenizer, data, tmp_path):
    fmt, records = data
    config = GenerationConfig(minutes=1e-9)
    with pytest.raises(GenerationError, match="after 0 of 10 texts; run again"):
        write_free(model, tokenizer, fmt, records, "joint", 8, config, tmp_path / "p.jsonl")
    with pytest.raises(GenerationError, match="scnm joint passed generation.minutes=1e-09 after 1 of 10"):
        write_constrained(decoder_of(model, tokenizer, fmt), fmt, records, "joint", 8, config,
                          tmp_path / "c.jsonl")


def test_a_text_that_cannot_be_decoded_is_named(model, tokenizer, data, tmp_path):
    fmt, _ = data
    long = Record("far-too-long", "scnm", "あ" * 3000, "社会")
    with pytest.raises(GenerationError, match="record far-too-long: .* pass the model's context of 2048"):
        write_constrained(decoder_of(model, tokenizer, fmt), fmt, [long], "joint", 8, GenerationConfig(),
                          tmp_path / "c.jsonl")


def test_budget_covers_the_longest_gold_and_a_quarter_more():
    assert budget([4, 40, 8]) == 51
