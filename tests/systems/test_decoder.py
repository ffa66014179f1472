"""Predictions are kept, resumed or made anew by what they depend on."""

from __future__ import annotations

import json

import pytest
import torch

from giellm_utils.core import artifacts
from giellm_utils.core.answer import Answer, Problem
from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.core.schema import Item
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.plain import GenerationError
from giellm_utils.inference.predictions import join, read_answers
from giellm_utils.models.bundle import BundleError, card_of_training, write_card
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.systems.decoder import Decoder, read_decoded, sidecar
from support.models import SCRATCH

DATA = load_dataset("scnm", "embedded")
RECORDS = list(DATA.split("test")[:6])


@pytest.fixture
def folder(scratch_cache, tmp_path):
    """A folder as training leaves it, with the scratch model's own weights."""
    model = load_model(SCRATCH)
    model.save_pretrained(tmp_path / "trained" / "model")
    load_tokenizer(SCRATCH).save_pretrained(tmp_path / "trained" / "model")
    fmt = GiellmFormat(DATA.task)
    write_card(tmp_path / "trained" / "model", card_of_training(
        SCRATCH, fmt.name, [fmt.task], CONDITIONS["joint"], DATA.split("train")[:5],
        budgets={"scnm": {"joint": 12}}, max_tokens=512))
    return tmp_path / "trained"


def decoder(folder, **config) -> Decoder:
    return Decoder(folder, "joint", GenerationConfig(**{"batch_size": 2, **config}))


def test_what_is_there_is_kept(folder, tmp_path, monkeypatch):
    path = tmp_path / "p" / "joint.scnm.jsonl"
    decoder(folder).write(RECORDS, "scnm", "free", path)
    first = path.read_bytes()
    assert read_decoded(path).items_per_second > 0 and len(read_answers(path)) == 6
    assert sorted(p.name for p in path.parent.iterdir()) == ["joint.scnm.decoded.json", "joint.scnm.jsonl"]
    again = decoder(folder, minutes=99, constrained="none")
    monkeypatch.setattr(Decoder, "bundle", property(lambda self: pytest.fail("the model was loaded")))
    assert again.is_written(RECORDS, "scnm", "free", path)
    again.write(RECORDS, "scnm", "free", path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("config, records, decoding, said", [
    ({"batch_size": 3}, RECORDS, "free", "batch size was 2, is 3"),
    ({"vocabulary": "full"}, RECORDS, "free", "vocabulary was corpus, is full"),
    ({}, RECORDS[1:], "free", "other records"), ({}, RECORDS, "constrained", "decoding was free"),
])
def test_what_depends_on_something_else_is_decoded_anew(folder, tmp_path, config, records, decoding, said,
                                                        capsys):
    path = tmp_path / "joint.scnm.jsonl"
    decoder(folder).write(RECORDS, "scnm", "free", path)
    decoder(folder, **config).write(records, "scnm", decoding, path)
    assert said in capsys.readouterr().out and len(read_answers(path)) == len(records)
    assert decoder(folder, **config).is_written(records, "scnm", decoding, path)


def test_a_new_model_decodes_anew(folder, tmp_path, capsys):
    path = tmp_path / "joint.scnm.jsonl"
    decoder(folder).write(RECORDS, "scnm", "free", path)
    model = load_model(SCRATCH, folder / "model")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(folder / "model")
    decoder(folder).write(RECORDS, "scnm", "free", path)
    assert "other weights: decodes anew" in capsys.readouterr().out


def test_vocabulary_says_nothing_of_constrained_decoding(folder, tmp_path):
    path = tmp_path / "joint.scnm.constrained.jsonl"
    decoder(folder).write(RECORDS, "scnm", "constrained", path)
    assert decoder(folder, vocabulary="full").is_written(RECORDS, "scnm", "constrained", path)


def test_the_rows_of_texts_leave_out_what_stands_in_the_prompt_alone(folder, monkeypatch):
    seen = {}

    def restricted(model, ids):
        seen[way] = set(ids.tolist())
        return model

    monkeypatch.setattr("giellm_utils.inference.vocabulary.restricted", restricted)
    monkeypatch.setattr(Decoder, "prompt", lambda self, fmt, record: f"{record.text}~")
    for way in ("corpus", "texts", "full"):
        decoder(folder, vocabulary=way).answers(RECORDS[:1], "scnm", "free")
    [mark] = load_tokenizer(SCRATCH)("~", add_special_tokens=False).input_ids
    assert seen["corpus"] - seen["texts"] == {mark} and seen["texts"] < seen["corpus"] and "full" not in seen


@pytest.mark.parametrize("decoding", ["free", "constrained"])
def test_what_was_cut_off_goes_on_and_ends_the_same(folder, tmp_path, decoding, capsys):
    whole, path = tmp_path / "whole.jsonl", tmp_path / "joint.scnm.jsonl"
    decoder(folder).write(RECORDS, "scnm", decoding, whole)
    with pytest.raises(GenerationError, match="generation.minutes"):
        decoder(folder, minutes=1e-9).write(RECORDS, "scnm", decoding, path)
    partial = path.with_name(path.name + ".partial")
    assert partial.exists() and sidecar(partial).exists() and not path.exists()
    decoder(folder).write(RECORDS, "scnm", decoding, path)
    assert path.read_bytes() == whole.read_bytes() and read_decoded(path).items_per_second is None
    assert not partial.exists() and not sidecar(partial).exists()
    assert "begins again" not in capsys.readouterr().out


def test_what_was_begun_with_other_settings_begins_again_and_the_old_file_stays(folder, tmp_path, capsys):
    path = tmp_path / "joint.scnm.jsonl"
    decoder(folder).write(RECORDS, "scnm", "free", path)
    first = path.read_bytes()
    with pytest.raises(GenerationError):
        decoder(folder, batch_size=1, minutes=1e-9).write(RECORDS, "scnm", "free", path)
    assert path.read_bytes() == first and decoder(folder).is_written(RECORDS, "scnm", "free", path)
    decoder(folder, batch_size=3).write(RECORDS, "scnm", "free", path)
    assert "joint.scnm.jsonl.partial: begun with other settings, begins again" in capsys.readouterr().out
    assert json.loads(sidecar(path).read_text())["fingerprint"]["batch size"] == 3


def test_a_file_that_a_kill_parted_from_its_fingerprint_is_not_taken_for_the_one_before(folder, tmp_path,
                                                                                        monkeypatch):
    path, write = tmp_path / "joint.scnm.jsonl", artifacts.write
    decoder(folder).write(RECORDS, "scnm", "free", path)
    monkeypatch.setattr(artifacts, "write", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        decoder(folder, batch_size=3).write(RECORDS, "scnm", "free", path)
    assert not decoder(folder).is_written(RECORDS, "scnm", "free", path)
    monkeypatch.setattr(artifacts, "write", write)
    decoder(folder).write(RECORDS, "scnm", "free", path)
    assert decoder(folder).is_written(RECORDS, "scnm", "free", path)


def test_two_answers_are_put_together():
    items = (Item("entity", "人名", ("田中",)),)
    text = Answer("社会", problems=(Problem("truncated", ""),), raw="<社会>")
    problems = (Problem("bad_item", "x"), Problem("truncated", ""))
    words = Answer(None, items, problems, "固有表現抽出:人名;田中")
    both = join(text, words)
    assert (both.label, both.items, both.truncated, both.well_formed) == ("社会", items, True, False)
    assert [p.name for p in both.problems] == ["truncated", "bad_item"]
    assert both.raw == "<社会>固有表現抽出:人名;田中"
    assert join(Answer("社会"), Answer(None, items)) == Answer("社会", items)


def test_a_folder_without_a_training_is_named(tmp_path):
    with pytest.raises(BundleError, match="holds no finished training"):
        decoder(tmp_path).write(RECORDS, "scnm", "free", tmp_path / "x.jsonl")
