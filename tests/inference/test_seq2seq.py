"""An encoder and decoder decoded freely, with a forced first token and under grammars."""

from __future__ import annotations

import pytest
import torch

from giellm_utils.core.schema import Record
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.constrained import ConstrainedDecoder, DecodingError, Request
from giellm_utils.inference.matcher import constraints
from giellm_utils.inference.plain import generate, opening_token
from giellm_utils.inference.predictions import write_constrained, write_free
from giellm_utils.inference.seq2seq import EncoderDecoder, grammar_decoder
from giellm_utils.inference.vocabulary import restricted
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.pieces import PieceIndex
from support.models import babbling, SCRATCH, SCRATCH_T5, state_of, t5_tokenizer

DATA = load_dataset("scnm", "embedded")
FORMAT = make_format("slg", DATA.task)
RECORDS = DATA.split("test")[:10]
FORCED = GenerationConfig(batch_size=4, first_token="forced")


@pytest.fixture
def model(scratch_cache):
    return babbling(load_model(SCRATCH_T5), 3)


@pytest.fixture
def tokenizer(scratch_cache):
    return load_tokenizer(SCRATCH_T5)


def decoder_of(model, tokenizer, batch_size=4):
    grammars = constraints(tokenizer, {"scnm": FORMAT}, {"scnm": 3}, len(tokenizer))
    return grammar_decoder(model, tokenizer, grammars, batch_size=batch_size)


def outputs(model, tokenizer, config, prompts, first=None) -> list[str]:
    found = {}
    generate(model, tokenizer, prompts, 12, config, first=first,
             on_batch=lambda i, o: found.update(zip(i, (x["output"] for x in o), strict=True)))
    return [found[i] for i in range(len(prompts))]


def test_free_outputs_are_the_library_s_and_padding_changes_nothing(model, tokenizer):
    prompts = [FORMAT.prompt(r.text) for r in RECORDS]
    one, many = (outputs(model, tokenizer, GenerationConfig(batch_size=n), prompts) for n in (1, 10))
    assert one == many and len(set(one)) > 1
    ids = tokenizer(prompts[0], return_tensors="pt").input_ids
    written = model.generate(ids, max_new_tokens=12, do_sample=False)[0, 1:].tolist()
    if tokenizer.eos_token_id in written:
        written = written[:written.index(tokenizer.eos_token_id)]
    assert one[0] == tokenizer.decode(written, clean_up_tokenization_spaces=False)


def test_the_constraint_mechanism_forces_the_first_token_alone(model, tokenizer, tmp_path):
    free, forced = (write_free(model, tokenizer, FORMAT, RECORDS, "joint", 12, config, tmp_path / name)
                    for config, name in ((GenerationConfig(batch_size=4), "a"), (FORCED, "b")))
    assert all(a.raw.startswith("<") for a in forced) and not all(a.raw.startswith("<") for a in free)
    assert any(a.raw[1:2] != "社" and not a.well_formed for a in forced), "what follows is the model's own"
    # Under a restricted output layer, too, and for a model without an encoder.
    small = restricted(model, PieceIndex(tokenizer).ids_for(["京都"]))
    plain = babbling(load_model(SCRATCH), 3)
    first = opening_token(tokenizer, FORMAT)
    for other in (small, plain):
        assert all(o.startswith("<") for o in outputs(other, tokenizer, FORCED, ["京都", "東"], first))


def test_the_forced_token_is_the_mark_alone(tokenizer):
    t5 = t5_tokenizer("<社会>")
    assert t5.convert_ids_to_tokens(opening_token(t5, FORMAT)) == "<"
    card = make_format("giellm-card", DATA.task)
    assert tokenizer.convert_ids_to_tokens(opening_token(tokenizer, card)) == "‹"
    with pytest.raises(FormatError, match="format oiellm writes no mark before the text label"):
        opening_token(tokenizer, make_format("oiellm", DATA.task))
    with pytest.raises(FormatError, match="format giellm-words-first writes no mark"):
        opening_token(tokenizer, make_format("giellm-words-first", DATA.task))


def test_under_the_grammar_every_output_is_of_the_format(model, tokenizer, tmp_path):
    before = state_of(model, tokenizer)
    decoder = decoder_of(model, tokenizer)
    assert isinstance(decoder, EncoderDecoder)
    answers = write_constrained(decoder, FORMAT, RECORDS, "joint", 40, FORCED, tmp_path / "c.jsonl")
    assert all([p.name for p in a.problems] == ["truncated"] * a.truncated for a in answers)
    assert any(a.items for a in answers) and len({a.raw for a in answers}) > 1
    alone = write_constrained(decoder_of(model, tokenizer, 1), FORMAT, RECORDS, "joint", 40, FORCED,
                              tmp_path / "one.jsonl")
    assert alone == answers and state_of(model, tokenizer) == before


def test_each_token_is_the_best_of_those_allowed(model, tokenizer):
    decoder, record = decoder_of(model, tokenizer), RECORDS[0]
    matcher = decoder.constraints["scnm"].matcher(record.text, "joint")
    prompt = tokenizer(FORMAT.prompt(record.text), return_tensors="pt").input_ids
    written = [model.config.decoder_start_token_id]
    with torch.no_grad():
        while len(written) < 40 and written[-1] != tokenizer.eos_token_id:
            scores = model(input_ids=prompt, decoder_input_ids=torch.tensor([written])).logits[0, -1]
            ids = matcher.allowed_ids()
            written.append(int(ids[scores[torch.from_numpy(ids)].argmax()]))
            if written[-1] != tokenizer.eos_token_id:
                matcher.consume(written[-1])
    request = Request(FORMAT.prompt(record.text), record.text, "scnm", "joint", 60)
    (_, output), = decoder.decode([request])
    assert output["output"].startswith(tokenizer.decode(written, skip_special_tokens=True))


def test_what_is_cut_is_closed_and_counts_as_cut(model, tokenizer, tmp_path):
    answers = write_constrained(decoder_of(model, tokenizer), FORMAT, RECORDS, "joint", 6, FORCED,
                                tmp_path / "c.jsonl")
    assert all(a.truncated and a.label in DATA.task.text_labels for a in answers)
    assert all(FORMAT.parse(a.raw, "joint").problems == () for a in answers)


def test_requests_that_cannot_be_decoded_are_named(model, tokenizer):
    asked = [Request("x", "x", "nosuch", "joint", 9), Request("京都<", "京都", "scnm", "joint", 30)]
    faults: dict[int, str] = {}
    found = dict(decoder_of(model, tokenizer).decode(asked, faults.__setitem__))
    assert list(found) == [1] and "no grammar for task 'nosuch'; there are scnm" in faults[0]
    with pytest.raises(DecodingError, match="request 0: no grammar for task"):
        list(decoder_of(model, tokenizer).decode(asked))
    with pytest.raises(DecodingError, match="batch_size is 0"):
        decoder_of(model, tokenizer, 0)
    empty = Record("e", "scnm", "", "自然")
    request = Request(FORMAT.prompt(""), empty.text, "scnm", "joint", 40)
    (_, output), = decoder_of(model, tokenizer).decode([request])
    assert output["output"].endswith(":無い;") and not output["truncated"]


def test_a_decoder_model_keeps_its_own_decoder(scratch_cache, tokenizer):
    assert isinstance(decoder_of(load_model(SCRATCH), tokenizer), ConstrainedDecoder)
