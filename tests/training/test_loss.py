"""The loss on picked positions is the model's own, and leaves nothing behind for the next model."""

from __future__ import annotations

import warnings

import pytest
import torch
from transformers import TrainingArguments

from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.training import loss
from giellm_utils.training.config import TrainingConfig
from giellm_utils.training.loss import IGNORE, TargetHead
from giellm_utils.training.rows import Sequences, TargetCollator
from giellm_utils.training.stacked import stack
from giellm_utils.training.trainer import add_lora, TargetTrainer
from support.models import SCRATCH
from support.trainings import scnm_rows

ROWS = scnm_rows(12)
#: With weights, a half a level.
WEIGHED = [{**row, "border": row["target"].index(">") + 1} for row in ROWS]


def losses_and_gradients(model, rows, folder, chunked: bool):
    """(theirs, ours): the library's loss and gradients over full logits, and TargetTrainer's."""
    tokenizer = load_tokenizer(SCRATCH)
    data = Sequences(rows, tokenizer, 1024)
    batch = TargetCollator(tokenizer.pad_token_id)(data.rows)
    trained = [p for p in model.parameters() if p.requires_grad]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(),
                                               ignore_index=IGNORE, reduction="none")
    theirs = (losses * batch.get("weights", torch.ones_like(batch["labels"])).flatten()).sum() / (
        batch["labels"] != IGNORE).sum()
    reference = torch.autograd.grad(theirs, trained)
    trainer = TargetTrainer(model=model, train_dataset=data, args=TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none"))
    assert trainer.head.chunked == chunked
    ours = trainer.compute_loss(model, dict(batch))
    return (theirs.item(), reference), (ours.item(), torch.autograd.grad(ours, trained))


@pytest.mark.parametrize("method", ["full", "lora", "stacked"])
@pytest.mark.parametrize("count, rows", [(1, ROWS), (6, ROWS), (12, ROWS), (12, WEIGHED)])
def test_loss_on_picked_positions_equals_the_models_own(scratch_cache, tmp_path, method, count, rows):
    """12 targets are several chunks of 64 tokens."""
    torch.manual_seed(1)
    model = load_model(SCRATCH)
    if method != "full":
        model = add_lora(model, TrainingConfig(lora_r=4))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # B starts at zero, which would leave A without a gradient to compare
                torch.nn.init.normal_(parameter, std=0.1)
    if method == "stacked":
        stack(model)
    (theirs, reference), (ours, gradients) = losses_and_gradients(
        model, rows[:count], tmp_path, method != "full")
    assert ours == pytest.approx(theirs, abs=1e-5)
    for a, b in zip(gradients, reference, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-4)


def test_few_rows_give_the_loss_over_just_those(scratch_cache):
    model, hidden = load_model(SCRATCH), torch.randn(1, 4, load_model(SCRATCH).config.hidden_size)
    weight = model.get_output_embeddings().weight.detach()
    model, rows = add_lora(model, TrainingConfig(lora_r=4)), torch.tensor([2, 3, 5, 9, 40])
    head, labels = TargetHead(model, rows), torch.tensor([[IGNORE, 5, 40, 2]])
    head.labels = labels
    ours = head.loss(type("Outputs", (), {"logits": head.linear(hidden)}), labels)
    logits = hidden[0, 1:] @ weight[rows].T
    theirs = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 4, 0]))
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    head.labels = torch.tensor([[IGNORE, 5, 41, 2]])
    with pytest.raises((RuntimeError, IndexError)):
        head.linear(hidden)


def test_two_models_share_no_buffers(scratch_cache):
    """Buffers at module level would outlive their model, and be written by two at once."""
    heads = [TargetHead(add_lora(load_model(SCRATCH), TrainingConfig(lora_r=4))) for _ in range(2)]
    labels, losses = torch.tensor([[3, IGNORE, 5]]), []
    for head in heads:
        head.labels = labels
        losses.append(head.linear(torch.ones(1, 3, head.linear.weight.shape[1])))
    a, b = (head.buffers.get(head.linear.weight) for head in heads)
    assert all(x.data_ptr() != y.data_ptr() for x, y in zip(a, b, strict=True))
    assert losses[0] == losses[1] and all(x is y for x, y in zip(a, heads[0].buffers.get(
        heads[0].linear.weight),
                                                                 strict=True))
    held = [name for name, value in vars(loss).items() if isinstance(value, torch.Tensor | loss.Buffers)]
    assert held == []


def test_lora_is_made_without_a_warning(scratch_cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add_lora(load_model(SCRATCH), TrainingConfig(lora_r=4))
