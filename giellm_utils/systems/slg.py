"""The SLG Framework (Gan, Zhang, Mori 2023, arXiv 2306.15978): from a sentence to its labels with an encoder
and decoder, one model a dataset.

Format `slg`, every weight trained, greedy decoding; the authors' Constraint Mechanism forces the first token
(generation.first_token), and our grammar stands beside it (generation.constrained: only). Which Japanese T5
they took is not said; what of the procedure is otherwise here: training.seq2seq.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import CONDITIONS, folder, Look
from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.slg import SlgFormat
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.models.spec import ModelConfig, statement
from giellm_utils.systems.base import Entry, System
from giellm_utils.systems.finetuned import FineTuned
from giellm_utils.systems.floors import NotFittedError
from giellm_utils.training.config import learned_from, TrainingConfig

NAME = "slg"


class SlgFramework(System):
    """An encoder and decoder trained on one dataset in `run`/joint/<task>/seed-<n>, kept and resumed there.

    `name`: of its profile; its rows stand under slg-… with what was decoded otherwise than published. Raises
    FormatError for a task that format slg is not defined for, and for a profile of another format.
    """

    level: Level = "joint"

    def __init__(self, task: Task, *, name: str, run: Path, seed: int, format_name: str, model: ModelConfig,
                 training: TrainingConfig, generation: GenerationConfig) -> None:
        if format_name != SlgFormat.name:
            raise FormatError(f"system {NAME} is trained on format {SlgFormat.name}, and profile {name} has "
                              f"format {format_name}; take profile slg-t5-ja, or set format.name to "
                              f"{SlgFormat.name}")
        self.format, self.run, self.seed = SlgFormat(task), run, seed
        self.model, self.training, self.generation = model, training, generation
        ending, said = {"grammar": ("-grammar", ", under our grammar"), "forced": ("", ""),
                        "free": ("-free", ", nothing forced")}[self.way]
        self.name = (name if name.startswith(NAME) else f"{NAME}-{name}") + ending
        self.title = f"SLG Framework, {statement(model)}{said}"
        self.trained: FineTuned | None = None

    @property
    def way(self) -> str:
        """How it decodes: grammar, forced (the first token, as published) or free."""
        if self.generation.constrained == "only":
            return "grammar"
        return "forced" if self.generation.first_token else "free"

    @property
    def settings(self) -> dict[str, Any]:
        """Never a path: a model in a folder is named by its last part."""
        return {"model": statement(self.model), "revision": self.model.revision, "dtype": self.model.dtype,
                "format": self.format.name, "decoding": self.way, "batch size": self.generation.batch_size,
                "vocabulary": self.generation.vocabulary if self.way != "grammar" else "full",
                "training": learned_from(self.training.model_dump(mode="json"))}

    @property
    def fit_seconds(self) -> float | None:
        """Seconds of the training, also where an earlier call of fit has done it."""
        return self.trained and self.trained.summary.seconds

    def fit(self, records: Sequence[Record]) -> None:
        """Train on the records of the splits of training.splits, unless that is done already.

        Raises TrainingFailed, also where training.minutes stopped it; ConfigError, ModelError.
        """
        from giellm_utils.models.load import load_tokenizer
        from giellm_utils.training.launch import TrainingFailed
        from giellm_utils.training.sequences import budget, build, token_costs

        task = self.format.task.name
        targets = token_costs(load_tokenizer(self.model), build({task: self.format}, records, "joint"))
        trained = FineTuned(
            CONDITIONS["joint"], folder(self.run, "joint", task, self.seed), {task: self.format}, task=task,
            seed=self.seed, model=self.model, training=self.training, generation=self.generation,
            budgets={task: {"joint": budget(targets["target"])}})
        trained.fit(records)
        if (done := trained.summary).stopped_by_minutes:
            raise TrainingFailed(f"{self.name} on {task} was stopped by training.minutes after {done.steps} "
                                 f"of {done.planned_steps} steps: raise it and run again, and it goes on")
        self.trained = trained

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Raises NotFittedError before `fit`, GenerationError where decoding passes generation.minutes."""
        if self.trained is None:
            raise NotFittedError("the SLG Framework has learned nothing yet: fit it on the train records")
        return self.trained.predict(records)


def _has_one_part_of_spans(task: Task) -> bool:
    return [part.shape for part in task.parts] == ["span"]


ENTRIES = (Entry(NAME, "SLG Framework", Look(colour="#0072B2", marker="P"), "joint", 61, make=SlgFramework,
                 applies=_has_one_part_of_spans, trains=True),)
