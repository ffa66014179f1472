"""One way of training, in a process of its own: `python -m ….training_ways WAY FOLDER` writes measured.json.

FOLDER is a job of training.launch.write_job; its dev.jsonl is held out. The steps of the last epoch are
timed, of an only one those after WARM; the loss is that of the held-out targets over the whole vocabulary,
computed in one way for all.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DataCollatorForSeq2Seq,
    set_seed,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from giellm_utils.core.files import read_jsonl, write_json
from giellm_utils.core.settings import load_yaml
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.products import autocasts
from giellm_utils.models.quiet import peft_wrapping
from giellm_utils.training import run as ours
from giellm_utils.training.config import TrainingJob
from giellm_utils.training.loss import IGNORE
from giellm_utils.training.rows import Sequences, TargetCollator

#: Steps before the clock starts: first touches of memory, and products that are set up at first use, once for
#: each length. A long training meets most lengths early, so few steps; a short one has its whole first epoch.
WARM = 4


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.begin = 0.0

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.begin = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ends.append(time.perf_counter())

    def timed(self, epochs: int) -> list[float]:
        """The seconds of each step of the last of `epochs`, of an only one of those after WARM."""
        before = max(WARM, len(self.ends) * (epochs - 1) // epochs)
        return [end - start for start, end in pairwise(self.ends[before - 1:])]


def held_out_loss(model: torch.nn.Module, rows: Sequences, pad: int) -> float:
    """Mean cross-entropy a target token of `rows`, over the whole vocabulary."""
    total, count = 0.0, 0
    collate = TargetCollator(pad)
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocasts()):
        for start in range(0, len(rows), 4):
            batch = collate([rows[i] for i in range(start, min(start + 4, len(rows)))])
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            wanted = batch["labels"] != IGNORE
            total += torch.nn.functional.cross_entropy(logits[wanted].float(), batch["labels"][wanted],
                                                       reduction="sum").item()
            count += int(wanted.sum())
    return total / count


def with_trainer(job: TrainingJob, folder: Path, clock: Clock) -> torch.nn.Module:
    """transformers Trainer as its guides write it: the model's own loss over full logits, padding to the
    longest of a batch, rows in random order."""
    from peft import get_peft_model

    tokenizer, model = load_tokenizer(job.model), load_model(job.model)
    with peft_wrapping():
        model = get_peft_model(model, _lora(job))
    rows = []
    for row in Sequences(read_jsonl(folder / "train.jsonl"), tokenizer, job.training.max_tokens).rows:
        # The library shifts labels itself: back to the unshifted form, the last token with them.
        ids = [*row["input_ids"], row["labels"][-1]]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [IGNORE, *row["labels"]]})
    Trainer(model=model, train_dataset=rows, callbacks=[clock],
            data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORE),
            args=TrainingArguments(**_arguments(job, folder))).train()
    return model


def with_trl(job: TrainingJob, folder: Path, clock: Clock) -> torch.nn.Module:
    """TRL's SFTTrainer with its defaults, but for the LoRA, the learning rate and the batch of the job."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": r["prompt"], "completion": r["target"]} for r in read_jsonl(folder / "train.jsonl")]
    with peft_wrapping():
        trainer = SFTTrainer(model=load_model(job.model), processing_class=load_tokenizer(job.model),
                             train_dataset=Dataset.from_list(rows), peft_config=_lora(job), callbacks=[clock],
                             args=SFTConfig(**_arguments(job, folder)))
    trainer.train()
    return trainer.model


def with_ours(job: TrainingJob, folder: Path, clock: Clock) -> torch.nn.Module:
    """training.run, the project's own; the adapter apart, as the others leave theirs."""
    from peft import PeftModel

    ours.train(job, folder, [clock])
    with peft_wrapping():
        return PeftModel.from_pretrained(load_model(job.model), folder / "model")


def _lora(job: TrainingJob) -> Any:
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=job.training.lora_r,
                      lora_alpha=job.training.lora_alpha)


def _arguments(job: TrainingJob, folder: Path) -> dict[str, Any]:
    epochs = job.training.epochs
    steps = round(len(read_jsonl(folder / "train.jsonl")) // job.training.batch_size * epochs)
    return {"output_dir": str(folder / "out"),
            "per_device_train_batch_size": job.training.batch_size,
            "learning_rate": job.training.learning_rate, "num_train_epochs": epochs,
            "warmup_steps": round(job.training.warmup_ratio * steps), "bf16": autocasts(), "use_cpu": True,
            "seed": job.seed, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
            "logging_steps": 1}


#: Way of ours -> what it has else than the job.
LEVERS: dict[str, dict[str, Any]] = {
    "ours": {"compile": "always"}, "ours_eager": {},
    "ours_alike": {"compile": "always", "order": "random", "output_rows": "all"},
    "ours_all_rows": {"output_rows": "all"},
    "ours_library": {"output_rows": "all", "engine": "library"},
    "ours_dropout": {"output_rows": "all", "engine": "library", "lora_dropout": 0.05}}
WAYS = {"trainer": with_trainer, "trl": with_trl, **dict.fromkeys(LEVERS, with_ours)}


def main() -> None:
    way, folder = sys.argv[1], Path(sys.argv[2])
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if way in LEVERS:
        ours.keep_products()
    job, clock = load_yaml(folder / "training.yaml", TrainingJob), Clock()
    job = job.model_copy(update={"training": job.training.model_copy(update=LEVERS.get(way, {}))})
    set_seed(job.seed)
    dev = (folder / "dev.jsonl").rename(folder / "held-out.jsonl")  # no way measures it while it trains
    model = WAYS[way](job, folder, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokenizer = load_tokenizer(job.model)
    rows = Sequences(read_jsonl(dev), tokenizer, job.training.max_tokens)

    def loss(of: torch.nn.Module) -> float:
        return round(held_out_loss(of, rows, tokenizer.pad_token_id), 4)

    timed = clock.timed(round(job.training.epochs))
    write_json(folder / "measured.json", {
        "sequences_per_second": round(job.training.batch_size * len(timed) / sum(timed), 3),
        "timed_steps": len(timed),
        # What is set up or compiled at first use is in the first step, which is not among those timed.
        "first_step_seconds": round(clock.ends[0] - clock.begin, 2),
        "steps": len(clock.ends), "peak_gib": round(peak / 2**20, 2), "threads": torch.get_num_threads(),
        "held_out_loss": loss(model),
        # As it is decoded: merged, in the model's own type.
        "held_out_loss_merged": loss(load_model(job.model, folder / "model")) if way in LEVERS else None})


if __name__ == "__main__":
    main()
