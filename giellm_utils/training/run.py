"""Fine-tuning one address: `python -m giellm_utils.training.run --config FOLDER/training.yaml`.

The recipe is plain: supervised fine-tuning with the loss on the target only. The output layer is most
of a small multilingual model, so logits are computed only at the positions that carry loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerFast, set_seed, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from giellm_utils.core import artifacts
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_jsonl, write_text
from giellm_utils.core.paths import shown
from giellm_utils.core.settings import ConfigError, load_yaml
from giellm_utils.models.load import load_tokenizer, model_path
from giellm_utils.models.packaged import PACKAGED, terms
from giellm_utils.models.pieces import PieceIndex
from giellm_utils.models.products import autocasts, widens
from giellm_utils.models.spec import statement
from giellm_utils.models.weights import dtype_for, dtype_name
from giellm_utils.training import checkpoints, methods, seq2seq, sharded
from giellm_utils.training.config import Batch, TrainingConfig, TrainingJob
from giellm_utils.training.early import KeepBest
from giellm_utils.training.guard import alone, end_with_launcher
from giellm_utils.training.launch import OUTPUT_STRINGS
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.report import keep, METRICS, Report, say, tensorboard
from giellm_utils.training.rows import Sequences, TargetCollator
from giellm_utils.training.trainer import TargetTrainer


class Schedule(NamedTuple):
    """How a step is made up over all processes, and steps: an epoch's, and in all."""

    batch: Batch
    epoch: int
    steps: int

    @classmethod
    def of(cls, config: TrainingConfig, sequences: int) -> Schedule:
        batch = config.batch(int(os.environ.get("WORLD_SIZE", "1")))
        epoch = math.ceil(sequences / batch.total)
        return cls(batch, epoch, config.max_steps or math.ceil(config.epochs * epoch))


def train(job: TrainingJob, folder: Path, watching: Sequence[TrainerCallback] = ()) -> artifacts.Training:
    """Train `job` in `folder`, resuming from its last whole checkpoint; returns and writes its summary.

    `watching`: further callbacks. Reads train.jsonl (and dev.jsonl, where there is one); writes
    checkpoints/, metrics.jsonl, model/ and summary.json. Raises ConfigError, ModelError.
    """
    config = job.training
    strategy = sharded.begin(config)
    # Building or converting a model draws numbers, once: before the seed, or the first training would differ.
    model_path(job.model)
    set_seed(job.seed)
    tokenizer = load_tokenizer(job.model)
    model, tokens = methods.build(job, tokenizer, own_masters=strategy == "zero3")
    encoder = model.config.is_encoder_decoder
    kind = seq2seq.Pairs if encoder else Sequences
    rows, dev = (kind(read_jsonl(path) if path.exists() else [], tokenizer, config.max_tokens)
                 for path in (folder / "train.jsonl", folder / "dev.jsonl"))
    dtype = dtype_for(job.model, full=config.method == "full")
    plan = Schedule.of(config, len(rows))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    checkpoints.check_room(folder, trained=trainable, saved=methods.saved_bytes(model, config),
                           saves=max(1, math.ceil(plan.steps / config.save_steps)))
    checkpoint = checkpoints.latest_checkpoint(folder / checkpoints.FOLDER)
    resumed = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    report = Report(folder, config.minutes, resumed)
    compiled = methods.compile_passes(model, config, plan.steps)
    trainer = TargetTrainer(
        model=model, output_rows=_output_rows(folder, config, tokenizer, [*rows.rows, *dev.rows]),
        order=config.order, train_dataset=rows, eval_dataset=dev if dev.rows else None,
        callbacks=[report, *tensorboard(folder, resumed, wanted=config.tensorboard), *watching,
                   *([KeepBest(config.early_stopping)] if config.early_stopping else [])],
        data_collator=(seq2seq.collator(tokenizer, model) if encoder
                       else TargetCollator(tokenizer.pad_token_id)),
        args=_arguments(job, folder, plan, bf16=dtype == torch.bfloat16 and autocasts(config.method),
                        dev=bool(dev.rows), fused=not strategy))
    sharded.check(trainer, strategy)
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        again = f"\nresuming from step {resumed}" if checkpoint else ""
        how = f", {compiled}" if compiled else ""
        say(folder, f"{job.condition}: {len(rows)} sequences, {plan.steps} steps of {plan.batch.total}, "
                    f"{trainable:,} trainable parameters, {dtype}{how}{again}".replace("torch.", ""))
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    summary = _summary(job, folder, trainer, plan, report, rows, len(tokens), result.training_loss)
    _save(trainer, tokenizer, job, folder)
    if trainer.is_world_process_zero():
        artifacts.write(folder / "summary.json", summary)
        checkpoints.tidy(folder, stopped=summary.stopped_by_minutes, keep=config.keep_checkpoints)
    return summary


def _summary(job: TrainingJob, folder: Path, trainer: TargetTrainer, plan: Schedule, report: Report,
             rows: Sequences, new_tokens: int, mean_loss: float) -> artifacts.Training:
    """What summary.json holds, once the last step is done."""
    config = job.training
    return artifacts.Training(
        condition=job.condition, task=job.task, seed=job.seed, model=statement(job.model), base=job.model.id,
        method=config.method, dtype=dtype_name(job.model, full=config.method == "full"),
        widened=widens(torch.empty(0, dtype=dtype_for(job.model, full=config.method == "full"),
                                   device=trainer.args.device)), device=str(trainer.args.device),
        processes=trainer.args.world_size, batch_size=plan.batch.total, sequences=len(rows),
        target_tokens=sum(sum(x != IGNORE for x in r["labels"]) for r in rows.rows),
        steps=trainer.state.global_step, planned_steps=plan.steps,
        best_step=trainer.state.best_global_step or None, stopped_by_minutes=report.capped,
        resumed_from_step=report.resumed, seconds=round(report.seconds, 1), new_tokens=new_tokens,
        trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        final_loss=[r["loss"] for r in read_jsonl(folder / METRICS) if "loss" in r][-1],
        mean_loss_of_this_process=mean_loss)


def _output_rows(folder: Path, config: TrainingConfig, tokenizer: PreTrainedTokenizerFast,
                 rows: list[dict[str, list[int]]]) -> torch.Tensor | None:
    """Sorted ids of the output layer's rows that the loss scores, None for all of them."""
    if config.output_rows == "all":
        return None
    strings = json.loads((folder / OUTPUT_STRINGS).read_text(encoding="utf-8"))
    labels = {label for row in rows for label in row["labels"] if label != IGNORE}
    return torch.tensor(sorted({*PieceIndex(tokenizer).ids_for(strings).tolist(), *labels}))


def _arguments(job: TrainingJob, folder: Path, plan: Schedule, *, bf16: bool, dev: bool,
               fused: bool) -> TrainingArguments:
    config = job.training
    if config.early_stopping and not dev:
        raise ConfigError("training.early_stopping needs a dev loss, and there are no dev rows; give the "
                          "dataset a dev split")
    arguments = TrainingArguments(
        output_dir=str(folder / checkpoints.FOLDER), per_device_train_batch_size=plan.batch.per_device,
        per_device_eval_batch_size=config.batch_size, gradient_accumulation_steps=plan.batch.accumulate,
        learning_rate=config.learning_rate, weight_decay=config.weight_decay, max_steps=plan.steps,
        warmup_steps=round(config.warmup_ratio * plan.steps), lr_scheduler_type="linear",
        bf16=bf16, use_cpu=not torch.cuda.is_available(), seed=job.seed, data_seed=job.seed,
        optim="adamw_torch_fused" if fused else "adamw_torch",
        logging_steps=min(config.log_steps, plan.steps), save_steps=config.save_steps,
        save_total_limit=checkpoints.KEPT, eval_strategy="steps" if dev else "no",
        eval_steps=min(plan.epoch, plan.steps), prediction_loss_only=True, remove_unused_columns=False,
        report_to="none", disable_tqdm=True, activation_checkpointing=config.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
        metric_for_best_model="loss" if config.early_stopping else None,
        logging_nan_inf_filter=False, dataloader_num_workers=0)
    # Set here, for at first the library would have save_steps a multiple of eval_steps; KeepBest sees to it.
    arguments.load_best_model_at_end = bool(config.early_stopping)
    return arguments


def _save(trainer: TargetTrainer, tokenizer: PreTrainedTokenizerFast, job: TrainingJob, folder: Path) -> None:
    """Write model/ (adapter or model as safetensors, tokenizer, terms), beside an older one and then in
    its place: the files of that may be shared with another run. All processes bring their part of a model
    that they share; the first writes."""
    new, model = folder / "model.new", folder / "model"
    if trainer.is_world_process_zero():
        shutil.rmtree(new, ignore_errors=True)
    trainer.save_model(str(new))
    if not trainer.is_world_process_zero():
        return
    tokenizer.save_pretrained(str(new))
    # The pickled TrainingArguments serve nobody: training.yaml says all of it.
    (new / "training_args.bin").unlink(missing_ok=True)
    if job.model.id in PACKAGED:
        write_text(new / "NOTICE.txt", terms(job.model.id)
                   + f"\nChanged here: {job.training.method} fine-tuning by GIELLM Lab's giellm_utils.\n")
    shutil.rmtree(model, ignore_errors=True)
    os.replace(new, model)


def keep_products() -> None:
    """Let oneDNN keep the products of all lengths, some 40 each; to be said before the first product."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one condition of a profile.")
    parser.add_argument("--config", required=True, type=Path,
                        help="a TrainingJob as YAML, its rows beside it")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    keep_products()
    config = parser.parse_args().config
    folder = config.parent
    end_with_launcher()
    try:
        with alone(folder):
            if _is_over(folder):
                print(f"{shown(folder)} is trained already; remove its summary.json to train it again")
                return
            with checkpoints.room_or_one_sentence(folder):
                train(load_yaml(config, TrainingJob), folder)
    except Exception as error:
        with suppress(OSError):  # the disk may be full
            keep(folder, f"{type(error).__name__}: {error}")
        if not isinstance(error, GiellmError):
            raise
        parser.exit(2, f"giellm: {error}\n")


def _is_over(folder: Path) -> bool:
    """Whether the training in `folder` reached its last step and left its model."""
    try:
        summary = artifacts.read(folder / "summary.json", artifacts.Training)
    except (OSError, GiellmError):
        return False
    return not summary.stopped_by_minutes and any((folder / "model").glob("*.safetensors"))


if __name__ == "__main__":
    main()
