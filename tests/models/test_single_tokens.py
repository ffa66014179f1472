"""Marks, labels and Instruction Words as single trainable tokens: read, trained, saved, merged, decoded."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from giellm_utils.core.files import write_jsonl
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.matcher import OutputConstraint
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.tokens import add_tokens, schema_tokens
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.loss import IGNORE, TargetHead
from giellm_utils.training.rows import Sequences, TargetCollator
from giellm_utils.training.run import train
from giellm_utils.training.sequences import build
from giellm_utils.training.trainer import add_lora
from support.models import SCRATCH

STRINGS = schema_tokens([GiellmFormat(TASKS["scnm"])])


@pytest.fixture(scope="module")
def data():
    return load_dataset("scnm", "embedded")


def test_the_pieces_hold_their_marks():
    assert {"<社会", ":人名;", "固有表現抽出", ":無い;"} <= set(STRINGS) and "社会" not in STRINGS
    relations = schema_tokens([GiellmFormat(TASKS["tcree"])])
    assert len(set(relations)) == len(relations) and any(s.startswith(";") for s in relations)


def test_texts_keep_their_tokens_and_targets_get_shorter(scratch_cache, data):
    plain, tokenizer, model = load_tokenizer(SCRATCH), load_tokenizer(SCRATCH), load_model(SCRATCH)
    ids = add_tokens(tokenizer, model, STRINGS)
    assert ids == list(range(len(plain), len(plain) + len(STRINGS)))
    assert model.get_output_embeddings().weight.shape[0] == len(tokenizer)
    fmt = GiellmFormat(data.task)
    for record in data.records[:40]:
        assert tokenizer(record.text).input_ids == plain(record.text).input_ids
        target = fmt.target(record, "joint")
        tokens = tokenizer(target, add_special_tokens=False).input_ids
        assert tokenizer.decode(tokens) == target and len(tokens) < len(plain(target).input_ids)
    first = plain(STRINGS[0], add_special_tokens=False).input_ids
    rows = model.get_input_embeddings().weight
    assert torch.allclose(rows[ids[0]], rows[first].mean(0), atol=1e-6)


def test_the_chunked_loss_trains_the_new_rows_as_the_plain_one(scratch_cache, data):
    """Loss and gradients of chunked cross-entropy with replaced rows against the library's, in fp32."""
    rows = build({"scnm": GiellmFormat(data.task)}, data.split("train")[:3], "joint")

    def gradients(chunked: bool) -> tuple[float, torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        tokenizer, model = load_tokenizer(SCRATCH), load_model(SCRATCH)
        ids = add_tokens(tokenizer, model, STRINGS)
        model = add_lora(model, TrainingConfig(), ids)
        batch = TargetCollator(tokenizer.pad_token_id)(list(Sequences(rows, tokenizer, 512)))
        labels = batch.pop("labels")
        if chunked:
            head = TargetHead(model)
            assert head.chunked
            head.labels = labels
            loss = head.loss(model(**batch), labels)
        else:
            logits = model(**batch).logits
            loss = torch.nn.functional.cross_entropy(logits[labels != IGNORE], labels[labels != IGNORE])
        loss.backward()
        named = dict(model.named_parameters())
        delta = next(p for n, p in named.items() if "trainable_tokens_delta" in n)
        lora = next(p for n, p in named.items() if "lora_B" in n)
        assert len(delta) == len(STRINGS)
        return loss.item(), delta.grad, lora.grad

    ours, plain = gradients(True), gradients(False)
    assert ours[0] == pytest.approx(plain[0], abs=1e-5)
    assert torch.allclose(ours[1], plain[1], atol=1e-5) and ours[1].abs().max() > 1e-4
    assert torch.allclose(ours[2], plain[2], atol=1e-5)


def test_new_rows_are_trained_in_fp32_on_a_bf16_base(scratch_cache):
    spec = SCRATCH.model_copy(update={"dtype": "bfloat16"})
    tokenizer, model = load_tokenizer(spec), load_model(spec)
    strings = schema_tokens([GiellmFormat(TASKS["scnm"], "‹>")])
    model = add_lora(model, TrainingConfig(), add_tokens(tokenizer, model, strings))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert any("trainable_tokens_delta" in n for n in trained)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert tokenizer("‹社会").input_ids[-1] == len(load_tokenizer(spec))


def test_a_model_with_an_output_layer_of_its_own_is_refused(scratch_cache):
    config = load_model(SCRATCH).config
    config.tie_word_embeddings = False
    with pytest.raises(ConfigError, match="tied to its embedding"):
        add_tokens(load_tokenizer(SCRATCH), LlamaForCausalLM(config), STRINGS)


def test_a_trained_folder_holds_the_few_rows_and_writes_with_them(scratch_cache, data, tmp_path):
    fmt = GiellmFormat(data.task)
    job = TrainingJob(condition="joint", task="scnm", seed=7, model=SCRATCH, new_tokens=STRINGS,
                      training=TrainingConfig(single_tokens=True, batch_size=4, max_steps=6, save_steps=3,
                                              learning_rate=1e-2, keep_checkpoints=True))
    write_jsonl(tmp_path / "train.jsonl", build({"scnm": fmt}, data.split("train")[:24], "joint"))
    assert train(job, tmp_path).new_tokens == len(STRINGS)
    for folder in ("model", "checkpoints/checkpoint-6"):
        saved = load_file(tmp_path / folder / "adapter_model.safetensors")
        whole = ("embed_tokens.weight", "lm_head.weight", "base_layer.weight")
        assert not any(n.endswith(whole) for n in saved)
        assert sum("trainable_tokens_delta" in n for n in saved) == 1
    model, tokenizer = load_model(SCRATCH, tmp_path / "model"), load_tokenizer(SCRATCH, tmp_path / "model")
    ids = tokenizer.convert_tokens_to_ids(STRINGS)
    saved = load_file(tmp_path / "model" / "adapter_model.safetensors")
    delta = next(v for n, v in saved.items() if "tokens_delta" in n)
    assert torch.allclose(model.get_output_embeddings().weight[ids], delta, atol=1e-6)
    assert torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight)
    # The grammar offers the new tokens and takes a target written with them.
    record = next(r for r in data.split("test") if r.words)
    matcher = OutputConstraint(tokenizer, fmt, 9).matcher(record.text, "joint")
    for token in tokenizer(fmt.target(record, "joint"), add_special_tokens=False).input_ids:
        assert token in matcher.allowed_ids()
        matcher.consume(token)
    assert matcher.is_complete()


def test_a_format_with_other_marks_is_refused():
    with pytest.raises(ConfigError, match="format giellm and its variants, not usa"):
        schema_tokens([make_format("usa", TASKS["scnm"])])
