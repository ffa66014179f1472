"""Fine-tuning: collator, Trainer, LoRA, resume. `python -m giellm_utils.training --config job.yaml`.

The recipe is plain: supervised fine-tuning with the loss on the target only. The output layer is most
of a small multilingual model (Gemma-3-270M: 168 M of 268 M parameters), so logits are computed only
at the positions that carry loss.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from giellm_utils.core.files import read_jsonl, write_json, write_text
from giellm_utils.core.settings import ConfigError, load_yaml
from giellm_utils.models.packaged import PACKAGED, terms
from giellm_utils.models.load import dtype_for, load_model, load_tokenizer
from giellm_utils.models.spec import statement
from giellm_utils.models.tokens import add_tokens
from giellm_utils.training.config import TrainingJob
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.rows import Sequences, TargetCollator
from giellm_utils.training.trainer import Report, TargetTrainer, add_lora, latest_checkpoint


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
