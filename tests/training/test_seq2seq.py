"""An encoder and decoder learns through the same training, and the decoder path does not notice."""

from __future__ import annotations

import pytest
import torch

from giellm_utils.core.files import read_jsonl
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.registry import make_format
from giellm_utils.models.load import is_encoder_decoder, load_model, load_tokenizer
from giellm_utils.models.spec import ModelConfig
from giellm_utils.training import seq2seq
from giellm_utils.training.launch import write_job
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.plan import refuse_if_too_large
from giellm_utils.training.planning.architecture import architecture, find_config, PlanError
from giellm_utils.training.planning.effort import Work
from giellm_utils.training.run import train
from giellm_utils.training.sequences import build
from support.models import SCRATCH_T5, t5_tokenizer
from support.trainings import job_of

DATA = load_dataset("scnm", "embedded")
ROWS = build({"scnm": make_format("slg", DATA.task)}, DATA.split("train")[:24], "joint")


def test_the_scratch_t5_is_an_encoder_and_decoder(scratch_cache):
    assert is_encoder_decoder(SCRATCH_T5) and not is_encoder_decoder(ModelConfig(id="scratch"))
    assert not is_encoder_decoder(ModelConfig(id="gemma-3-270m-q4km")), "known without its package"
    assert load_model(SCRATCH_T5).config.model_type == "t5"


def test_pairs_and_their_batch(scratch_cache):
    tokenizer, model = load_tokenizer(SCRATCH_T5), load_model(SCRATCH_T5)
    pairs = seq2seq.Pairs(ROWS[:2], tokenizer, 1024)
    assert tokenizer.decode(pairs[0]["input_ids"]) == ROWS[0]["prompt"]
    assert tokenizer.decode(pairs[0]["labels"]) == ROWS[0]["target"] + "</s>"
    batch = seq2seq.collator(tokenizer, model)([pairs[0], pairs[1]])
    labels, inputs = batch["labels"], batch["decoder_input_ids"]
    assert inputs[:, 0].tolist() == [model.config.decoder_start_token_id] * 2
    kept = labels[:, :-1] != IGNORE
    assert torch.equal(inputs[:, 1:][kept], labels[:, :-1][kept])
    lengths = [len(pairs[i]["labels"]) for i in (0, 1)]
    assert (labels != IGNORE).sum(1).tolist() == lengths and labels.shape[1] == max(lengths)
    with pytest.raises(ConfigError, match="more than training.max_tokens=40"):
        seq2seq.Pairs(ROWS[:1], tokenizer, 40)


def test_the_mark_of_a_word_is_left_out_before_a_target():
    """SentencePiece writes one for the beginning of the text; forced tokens and grammars begin with `<`."""
    tokenizer = t5_tokenizer("<社会>固有表現抽出:無い;京都")
    assert tokenizer("<社会>").tokens()[0] == "▁"
    pairs = seq2seq.Pairs([{"id": "1", "prompt": "京都", "target": "<社会>"}], tokenizer, 64)
    assert tokenizer.convert_ids_to_tokens(pairs[0]["labels"]) == ["<", "社", "会", ">", "</s>"]


def test_it_learns_and_goes_on_after_a_kill(scratch_cache, tmp_path):
    # The dev loss is that of rows which it trains on.
    options = {"max_steps": 12, "log_steps": 1, "save_steps": 6, "keep_checkpoints": True}
    job = job_of(**options).model_copy(update={"model": SCRATCH_T5})
    for name in ("whole", "cut"):
        write_job(tmp_path / name, job, ROWS, ROWS[:4])
    summary = train(job, tmp_path / "whole")
    losses = [r["loss"] for r in read_jsonl(tmp_path / "whole" / "metrics.jsonl") if "loss" in r]
    assert len(losses) == 12 and losses[-1] < 0.7 * losses[0]
    assert (summary.model, summary.sequences) == ("tiny T5 from scratch (tests only)", len(ROWS))
    assert summary.target_tokens == sum(len(r["target"]) + 1 for r in ROWS), "characters, and the end"
    assert any("dev_loss" in r for r in read_jsonl(tmp_path / "whole" / "metrics.jsonl"))
    (tmp_path / "whole" / "checkpoints" / "checkpoint-6").rename(tmp_path / "cut" / "checkpoint-6")
    (tmp_path / "cut" / "checkpoints").mkdir()
    (tmp_path / "cut" / "checkpoint-6").rename(tmp_path / "cut" / "checkpoints" / "checkpoint-6")
    again = train(job, tmp_path / "cut")
    assert again.resumed_from_step == 6 and again.final_loss == pytest.approx(summary.final_loss, abs=1e-5)
    one, other = (load_model(SCRATCH_T5, tmp_path / name / "model").state_dict() for name in ("whole", "cut"))
    assert all(torch.allclose(one[key], other[key], atol=1e-5) for key in one)


def test_the_loss_is_the_library_s(scratch_cache, tmp_path):
    """Logits at target positions alone give the loss that the model computes for itself."""
    job = job_of(max_steps=1, log_steps=1, batch_size=4).model_copy(update={"model": SCRATCH_T5})
    write_job(tmp_path, job, ROWS[:4])
    tokenizer, model = load_tokenizer(SCRATCH_T5), load_model(SCRATCH_T5)
    pairs = seq2seq.Pairs(ROWS[:4], tokenizer, 1024)
    with torch.no_grad():
        wanted = model(**seq2seq.collator(tokenizer, model)([pairs[i] for i in range(4)])).loss.item()
    assert train(job, tmp_path).final_loss == pytest.approx(wanted, abs=1e-4)


def test_adapters_are_for_decoders(scratch_cache, tmp_path):
    job = job_of(method="lora").model_copy(update={"model": SCRATCH_T5})
    write_job(tmp_path, job, ROWS)
    with pytest.raises(ConfigError, match="lora is made for decoder models, and scratch-t5 has an enc"):
        train(job, tmp_path)
    job = job_of().model_copy(update={"model": SCRATCH_T5, "condition": "per-level-loss"})
    with pytest.raises(ConfigError, match="condition per-level-loss is made for decoder models"):
        train(job, tmp_path)


def test_its_memory_is_not_planned_for(scratch_cache):
    with pytest.raises(PlanError, match="a t5 has an encoder of its own"):
        architecture(find_config(SCRATCH_T5))
    refuse_if_too_large(SCRATCH_T5, job_of().training, Work(10, 1000, 300, 100, 30))
