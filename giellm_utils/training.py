"""Fine-tuning: collator, Trainer, LoRA, resume. `python -m giellm_utils.training --config job.yaml`.

The recipe is plain: supervised fine-tuning with the loss on the target only. The output layer is most
of a small multilingual model (Gemma-3-270M: 168 M of 268 M parameters), so logits are computed only
at the positions that carry loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from giellm_utils.config import ConfigError, TrainingConfig, TrainingJob, load_yaml
from giellm_utils.models import PACKAGED, dtype_for, load_model, load_tokenizer, statement, terms
from giellm_utils.single_tokens import add_tokens
from giellm_utils.storage import read_jsonl, write_json, write_text
from giellm_utils.target_loss import IGNORE, TargetHead


class Sequences(Dataset):
    """Tokenised (prompt, target) rows: `input_ids` and `labels`, both of length T.

    labels[t] is the token that follows input_ids[t], or IGNORE where that is not part of the target
    (already shifted, so that the positions with loss can be picked before the output layer). The
    target is closed by the end-of-sequence token. Raises ConfigError when a row exceeds `max_tokens`.
    """

    def __init__(self, rows: list[dict], tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
        self.rows = []
        for row in rows:
            prompt = tokenizer(row["prompt"]).input_ids
            target = [*tokenizer(row["target"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            if len(prompt) + len(target) > max_tokens:
                raise ConfigError(f"record {row['id']}: {len(prompt) + len(target)} tokens, more than "
                                  f"training.max_tokens={max_tokens}; raise it or drop the record")
            ids = prompt + target
            self.rows.append({"input_ids": ids[:-1], "labels": [IGNORE] * (len(prompt) - 1) + target})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, list[int]]:
        return self.rows[i]


class TargetCollator:
    """Pads on the right: input_ids, attention_mask and labels, each int64 [batch, longest]."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        def padded(key: str, value: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(r[key]) for r in rows], batch_first=True, padding_value=value)

        lengths = torch.tensor([len(r["input_ids"]) for r in rows])
        ids = padded("input_ids", self.pad_token_id)
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        return {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", IGNORE)}


class SeededLengthGroupedSampler(LengthGroupedSampler):
    """Batches of similar length in random order, both from (seed, epoch) alone, so that a resumed run
    sees the very batches of an unbroken one (the library's sampler draws from the global generator,
    and leaves the batches of each block of 50 sorted from the longest to the shortest)."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        self.generator.manual_seed(self.seed + self.epoch)
        indices = list(super().__iter__())
        batches = [indices[i:i + self.batch_size] for i in range(0, len(indices), self.batch_size)]
        # The last batch may be short: it stays last, or every batch after it would be cut elsewhere.
        order = torch.randperm(len(batches) - 1, generator=self.generator).tolist() + [len(batches) - 1]
        return iter([i for b in order for i in batches[b]])


class TargetTrainer(Trainer):
    """Trainer whose output layer sees target positions only."""

    def __init__(self, model, *args, **kwargs) -> None:
        self._head = TargetHead(model)
        super().__init__(model, *args, compute_loss_func=self._head.loss, **kwargs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        self._head.wanted = inputs["labels"] != IGNORE
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _get_train_sampler(self, train_dataset=None):
        lengths = [len(row["input_ids"]) for row in self.train_dataset.rows]
        return SeededLengthGroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size,
            lengths, self.args.seed)


class Report(TrainerCallback):
    """Metrics as JSONL, one printed line a log step, and the wall-clock cap.

    Seconds add up over resumed runs; rows of steps that a kill threw away are dropped.
    """

    def __init__(self, path: Path, minutes: float, resumed_step: int) -> None:
        kept = [r for r in read_jsonl(path) if r["step"] <= resumed_step] if path.exists() else []
        write_text(path, "".join(json.dumps(r) + "\n" for r in kept))
        self.path, self.limit = path, minutes * 60
        self.before = kept[-1]["seconds"] if kept else 0.0
        self.start = time.monotonic()
        self.capped = False

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        names = {"loss": "loss", "eval_loss": "dev_loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
        row = {names[k]: float(v) for k, v in (logs or {}).items() if k in names}
        if not row or not state.is_world_process_zero:
            return
        row = {"step": state.global_step, "epoch": round(state.epoch or 0, 4), **row, "seconds": round(self.seconds, 1)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        left = self.seconds / max(state.global_step, 1) * (state.max_steps - state.global_step)
        what = "  ".join(f"{k} {row[k]:.4f}" for k in ("loss", "dev_loss") if k in row)
        print(f"step {state.global_step:>4}/{state.max_steps}  {what}  {self.seconds:5.0f} s, "
              f"about {left:.0f} s left", flush=True)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        # One clock for all processes: ranks that stopped at different steps would wait for each other for ever.
        over = torch.tensor(float(self.seconds > self.limit), device=args.device)
        if args.world_size > 1:
            torch.distributed.all_reduce(over, torch.distributed.ReduceOp.MAX)
        if over:
            self.capped = control.should_training_stop = control.should_log = True


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: a kill may fall into the writing of one."""
    for path in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            for name in ("optimizer.pt", "scheduler.pt"):
                torch.load(path / name, map_location="cpu", weights_only=True)
            if any(path.glob("*.safetensors")):
                return path
        except (OSError, ValueError, RuntimeError):
            print(f"{path.name} is incomplete: going back to the one before it", flush=True)
    return None


def add_lora(model, config: TrainingConfig, tokens: Sequence[int] = ()):
    """LoRA on every linear layer but the output layer (QLoRA's finding: all layers, not attention only),
    and the embedding rows of `tokens`."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", r=config.lora_r, lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout, trainable_token_indices=list(tokens) or None))
    if tokens:
        # peft would save the whole resized embedding (671 MB) beside the few rows that were trained.
        model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    return model


def train(job: TrainingJob) -> dict[str, Any]:
    """Train one job, resuming from its last whole checkpoint; returns and writes `summary.json`.

    Writes into `job.out`: checkpoints/, metrics.jsonl, the LoRA adapter or model as safetensors with
    the base model's terms, summary.json. Raises ConfigError, ModelError.
    """
    out, config = Path(job.out), job.training
    out.mkdir(parents=True, exist_ok=True)
    set_seed(job.seed)
    tokenizer, model = load_tokenizer(job.model), load_model(job.model)
    tokens = add_tokens(tokenizer, model, job.new_tokens) if job.new_tokens else []
    data = {name: Sequences(read_jsonl(Path(path)) if path else [], tokenizer, config.max_tokens)
            for name, path in (("train", job.train_file), ("dev", job.dev_file))}
    dtype = dtype_for(job.model)
    if config.method == "lora":
        model = add_lora(model, config, tokens)
    elif dtype == torch.bfloat16:
        # Full fine-tuning keeps fp32 master weights: at lr 1e-5 a bf16 update would round to nothing.
        model = model.float()
    batch = config.batch_size * config.accumulate * int(os.environ.get("WORLD_SIZE", "1"))
    steps_per_epoch = math.ceil(len(data["train"]) / batch)
    steps = config.max_steps or math.ceil(config.epochs * steps_per_epoch)
    checkpoint = latest_checkpoint(out / "checkpoints")
    resumed = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    report = Report(out / "metrics.jsonl", config.minutes, resumed)
    trainer = TargetTrainer(
        model=model, train_dataset=data["train"], eval_dataset=data["dev"] if data["dev"].rows else None,
        data_collator=TargetCollator(tokenizer.pad_token_id), callbacks=[report],
        args=TrainingArguments(
            output_dir=str(out / "checkpoints"), per_device_train_batch_size=config.batch_size,
            per_device_eval_batch_size=config.batch_size, gradient_accumulation_steps=config.accumulate,
            learning_rate=config.learning_rate, weight_decay=config.weight_decay, max_steps=steps,
            warmup_steps=round(config.warmup_ratio * steps), lr_scheduler_type="linear",
            bf16=dtype == torch.bfloat16, use_cpu=not torch.cuda.is_available(), seed=job.seed, data_seed=job.seed, optim="adamw_torch",
            logging_steps=min(config.log_steps, steps), save_steps=config.save_steps, save_total_limit=2,
            eval_strategy="steps" if data["dev"].rows else "no", eval_steps=min(steps_per_epoch, steps),
            prediction_loss_only=True, remove_unused_columns=False, report_to="none", disable_tqdm=True,
            logging_nan_inf_filter=False, dataloader_num_workers=0))
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        print(f"{job.job}: {len(data['train'])} sequences, {steps} steps of {batch}, "
              f"{trainable:,} trainable parameters, {dtype}".replace("torch.", ""), flush=True)
        if checkpoint:
            print(f"resuming from step {resumed}", flush=True)
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    summary = {
        "job": job.job, "model": statement(job.model), "base": job.model.id, "method": config.method,
        "seed": job.seed, "dtype": str(dtype).removeprefix("torch."), "device": str(trainer.args.device),
        "processes": trainer.args.world_size, "batch_size": batch,
        "sequences": len(data["train"]), "target_tokens": sum(
            sum(x != IGNORE for x in r["labels"]) for r in data["train"].rows),
        "steps": trainer.state.global_step, "planned_steps": steps, "stopped_by_minutes": report.capped,
        "resumed_from_step": resumed, "seconds": round(report.seconds, 1),
        "new_tokens": len(tokens), "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "final_loss": [r["loss"] for r in read_jsonl(out / "metrics.jsonl") if "loss" in r][-1],
        "mean_loss_of_this_process": result.training_loss}
    if trainer.is_world_process_zero():
        trainer.save_model(str(out / "model"))
        tokenizer.save_pretrained(str(out / "model"))
        # The pickled TrainingArguments serve nobody: the job file says all of it.
        (out / "model" / "training_args.bin").unlink(missing_ok=True)
        if job.model.id in PACKAGED:
            write_text(out / "model" / "NOTICE.txt", terms(job.model.id)
                       + f"\nChanged here: {config.method} fine-tuning by GIELLM Lab's giellm_utils.\n")
        write_json(out / "summary.json", summary)
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one job of a profile.")
    parser.add_argument("--config", required=True, type=Path, help="a TrainingJob as YAML")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        train(load_yaml(parser.parse_args().config, TrainingJob))
    except ConfigError as error:
        parser.exit(2, f"giellm: {error}\n")


if __name__ == "__main__":
    main()
