"""Fine-tuned systems: a base model trained on the sequences of one condition.

A training carries a fingerprint of all it depends on. With the wanted one it is kept, or goes on where it
was cut off; else it is made anew, and the old one stays until the new one is done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from giellm_utils.core import artifacts
from giellm_utils.core.answer import Answer
from giellm_utils.core.artifacts import Decoding
from giellm_utils.core.conditions import Condition, CONDITIONS, folder, get_condition
from giellm_utils.core.files import write_json
from giellm_utils.core.schema import Level, Record
from giellm_utils.core.settings import load_yaml
from giellm_utils.formats.base import Format, FormatError
from giellm_utils.formats.registry import in_order
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.models.spec import ModelConfig
from giellm_utils.systems.base import Entry, System
from giellm_utils.systems.decoder import Decoder, GivenDecoder, JoinedDecoder
from giellm_utils.systems.fingerprints import difference, digest, read_fingerprint
from giellm_utils.training.config import learned_from, TrainingConfig, TrainingJob

Show = Callable[[str], Any]
FINGERPRINT = "fingerprint.json"
#: In a training's folder, but no result of it.
APART = {"checkpoints", "tensorboard", "training.log", "model.new"}


class FineTuned(System):
    """One training of one condition, and the model it left in `folder`.

    `formats`: task -> its format; `task`: their address (one task's name, or MIXTURE); `budgets`: new
    tokens of an output by task and level.
    """

    def __init__(self, condition: Condition, folder: Path, formats: Mapping[str, Format], *, task: str,
                 seed: int, model: ModelConfig, training: TrainingConfig, generation: GenerationConfig,
                 budgets: Mapping[str, Mapping[Level, int]]) -> None:
        for fmt in formats.values():
            if lacking := [level for level in condition.levels if level not in fmt.levels]:
                raise FormatError(f"condition {condition.name} asks for level {lacking[0]}, for which format "
                                  f"{fmt.name} is not defined; it is for {', '.join(fmt.levels)}")
        self.name, self.level, self.title = condition.name, condition.scored, condition.title
        self.formats = {name: in_order(fmt, condition.order) for name, fmt in formats.items()}
        self.condition, self.folder = condition, folder
        self.task, self.seed, self.model, self.training = task, seed, model, training
        self.generation, self.budgets = generation, budgets

    # -- training ------------------------------------------------------------------------------------

    @property
    def coming(self) -> Path:
        """Where a training grows that will take the place of the one in `folder`."""
        return self.folder.with_name(self.folder.name + ".new")

    @property
    def summary(self) -> artifacts.Training:
        """How the training went, under this condition's own name, also where another shares the training;
        raises StorageError or OSError where there is none."""
        found = artifacts.read(self.folder / "summary.json", artifacts.Training)
        return found.model_copy(update={"condition": self.name})

    @property
    def stopped_at_minutes(self) -> float | None:
        """The training.minutes that cut the training short, None where nothing did."""
        if not self.summary.stopped_by_minutes:
            return None
        return load_yaml(self.folder / "training.yaml", TrainingJob).training.minutes

    def files(self) -> list[Path]:
        """All that a finished training consists of, without checkpoints, logs and what a kill left."""
        return sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith(".")
                      and p.relative_to(self.folder).parts[0] not in APART)

    def rows(self, records: Sequence[Record]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """The sequences of the splits trained on, one split after the other, and those of dev where dev is
        not trained on; all with the labels of the condition's partner."""
        from giellm_utils.training.partners import partnered
        from giellm_utils.training.sequences import build

        splits = self.training.splits
        partner = partnered(self.condition.partner, {name: fmt.task for name, fmt in self.formats.items()},
                            [r for r in records if r.split in splits], self.seed)

        def of(split: str) -> list[dict[str, str]]:
            return build(self.formats, [partner(r) for r in records if r.split == split],
                         *self.condition.levels, loss=self.condition.loss,
                         given=self.condition.given != "nothing")

        return [row for split in splits for row in of(split)], [] if "dev" in splits else of("dev")

    def fingerprint(self, records: Sequence[Record]) -> dict[str, Any]:
        """All that the weights trained on `records` depend on, ready for JSON."""
        return self._fingerprint(*self.rows(records))

    def is_trained(self, records: Sequence[Record]) -> bool:
        """Whether its folder holds the finished training of just these settings on `records`."""
        return is_finished(self.folder, self.fingerprint(records))

    def fit(self, records: Sequence[Record], show: Show = print) -> None:
        """Train on `records` in a subprocess, unless that is done already, and write the model's card.

        Raises TrainingFailed, ConfigError.
        """
        train, dev = self.rows(records)
        wanted = self._fingerprint(train, dev)
        train_in = partial(self._train, wanted, train, dev, self._strings(records), show)
        if is_finished(self.coming, wanted):
            self._put_in_place()
        found = read_fingerprint(self.folder / FINGERPRINT)
        if is_finished(self.folder, wanted):
            cap = self.stopped_at_minutes
            if cap is not None and self.training.minutes > cap:
                show(f"{self.name}: was stopped by training.minutes={cap:g}, "
                     f"goes on to {self.training.minutes:g}")
                (self.folder / "summary.json").unlink()
                train_in(self.folder)
            else:
                show(f"{self.name}: trained already with these settings, kept")
        elif found == wanted or not self.folder.exists():
            train_in(self.folder)
        else:
            show(f"{self.name}: {difference(found or {}, wanted)}: trains anew, "
                 "and takes the place of the training that is there when it is done")
            if read_fingerprint(self.coming / FINGERPRINT) != wanted:
                shutil.rmtree(self.coming, ignore_errors=True)
            train_in(self.coming)
            self._put_in_place()
        self._write_card(records)
        vars(self).pop("decoder", None)

    def _fingerprint(self, train: list[dict], dev: list[dict]) -> dict[str, Any]:
        settings = self.training.model_dump(mode="json")
        return {"condition": self.condition.training, "seed": self.seed, "format": self._format,
                **{f"model.{k}": v for k, v in self.model.model_dump(mode="json").items()},
                **{f"training.{key}": value for key, value in learned_from(settings).items()},
                "training rows": digest(train), "dev rows": digest(dev)}

    def _strings(self, records: Sequence[Record]) -> list[str]:
        """What the scored rows of the output layer must be able to write: the same for every condition."""
        return [*(s for fmt in self.formats.values() for s in fmt.fixed_strings()),
                *{r.text for r in records if r.split != "test"}]

    def _train(self, wanted: dict[str, Any], train: list[dict], dev: list[dict], strings: list[str],
               show: Show, folder: Path) -> None:
        from giellm_utils.models.tokens import schema_tokens
        from giellm_utils.training.launch import launch, write_job

        tokens = schema_tokens(self.formats.values()) if self.training.single_tokens else []
        job = TrainingJob(condition=self.condition.training, task=self.task, seed=self.seed, model=self.model,
                          training=self.training, new_tokens=tokens)
        write_json(folder / FINGERPRINT, wanted)
        launch(write_job(folder, job, train, dev, strings), self.training.machine, show)

    def _put_in_place(self) -> None:
        old = self.folder.with_name(self.folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            os.replace(self.folder, old)
        os.replace(self.coming, self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def _write_card(self, records: Sequence[Record]) -> None:
        from giellm_utils.models.bundle import card_of_training, write_card

        write_card(self.folder / "model", card_of_training(
            self.model, self._format, [fmt.task for fmt in self.formats.values()],
            get_condition(self.condition.training),
            [r for r in records if r.split in self.training.splits], budgets=self.budgets,
            max_tokens=self.training.max_tokens))

    @property
    def _format(self) -> str:
        return next(iter(self.formats.values())).name

    # -- decoding ------------------------------------------------------------------------------------

    @cached_property
    def decoder(self) -> Decoder | JoinedDecoder:
        """What reads texts with the trained model, at the level asked for in training; of a placebo's
        answers only `level` is scored. Where a level is given as predicted, the model that predicts it is the
        single-level one at the same address."""
        if len(self.condition.levels) == 2:
            return JoinedDecoder(self.folder, self.generation)
        level, first = self.condition.levels[0], None
        if self.condition.given == "nothing":
            return Decoder(self.folder, level, self.generation)
        if self.condition.given == "predicted":
            other = self.condition.given_level
            there = folder(self.folder.parents[2], other, self.task, self.seed)
            first = Decoder(there, other, self.generation)
        return GivenDecoder(self.folder, level, self.generation, first)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Answers in the profile's first way of decoding. Raises GenerationError."""
        way: Decoding = "constrained" if self.generation.constrained == "only" else "free"
        found: dict[int, Answer] = {}
        for task in self.formats:
            at = [i for i, r in enumerate(records) if r.task == task]
            unread = [Record(str(i), task, records[i].text, "") for i in at]
            if unread:
                found |= dict(zip(at, self.decoder.answers(unread, task, way), strict=True))
        return [found[i] for i in range(len(records))]

    def read(self, text: str, task: str) -> Answer:
        """The Answer for one text, decoded under its grammar. Raises FormatError for a format without one."""
        return self.decoder.answers([Record("", task, text, "")], task, "constrained")[0]


def is_finished(folder: Path, fingerprint: Mapping[str, Any]) -> bool:
    """Whether `folder` holds a finished training of this fingerprint, stopped by the clock or not."""
    return (read_fingerprint(folder / FINGERPRINT) == fingerprint and (folder / "summary.json").exists()
            and any((folder / "model").glob("*.safetensors")))


#: One system a condition, before all others; `make` is None: a trained system is built of its folder and its
#: settings.
ENTRIES = tuple(Entry(c.name, c.title, c.look, c.scored, place - len(CONDITIONS))
                for place, c in enumerate(CONDITIONS.values()))
