"""A trained folder's answers: decoded freely or under grammars, kept where they are there already.

Beside each predictions file stands what it depends on; what was cut off goes on, what depends on
something else is decoded anew, and the old file stays until the new one is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TYPE_CHECKING

from giellm_utils.core import artifacts
from giellm_utils.core.answer import Answer, gold_answer, items_to_json
from giellm_utils.core.artifacts import Decoding
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import write_json
from giellm_utils.core.schema import Level, Record
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.systems.fingerprints import difference, digest, read_fingerprint, weights_of

if TYPE_CHECKING:
    from giellm_utils.formats.base import Format
    from giellm_utils.inference.matcher import OutputConstraint
    from giellm_utils.models.bundle import Bundle, Card
    from giellm_utils.models.pieces import PieceIndex


class NoGoldError(GiellmError, ValueError):
    """A text without the gold that its prompt should give; the message says what to do."""


class Decoded(artifacts.Artifact):
    """Beside a predictions file: what it depends on, and its speed, None where it was cut off and resumed."""

    fingerprint: dict[str, Any]
    items_per_second: float | None


def sidecar(path: Path) -> Path:
    """Where the Decoded of a predictions file stands."""
    return path.with_suffix(".decoded.json")


def read_decoded(path: Path) -> Decoded | None:
    """The Decoded of a finished predictions file, None where there is none."""
    begun = path.with_name(path.name + ".partial")
    if sidecar(begun).exists() and not begun.exists():
        return None  # killed between the file and what is said of it, which may be of the file before
    return artifacts.read(sidecar(path), Decoded) if path.exists() and sidecar(path).exists() else None


class Decoder:
    """The model in one training's `folder`, decoded at `level` as the profile says.

    Loaded when first needed, or that of `beside`, another level of the same training. Texts are at most
    generation.minutes in the making: GenerationError then.
    """

    def __init__(self, folder: Path, level: Level, config: GenerationConfig,
                 beside: Decoder | None = None) -> None:
        self.folder, self.level, self.config, self.beside = folder, level, config, beside

    @cached_property
    def card(self) -> Card:
        from giellm_utils.models.bundle import BundleError, read_card

        card = read_card(self.folder / "model")
        if card is None:
            raise BundleError(f"{self.folder} holds no finished training: train it first")
        return card

    @cached_property
    def bundle(self) -> Bundle:
        """The trained model with what belongs to it."""
        from giellm_utils.models.bundle import open_bundle

        if self.beside:
            return self.beside.bundle
        return open_bundle(self.folder)

    @cached_property
    def constraints(self) -> dict[str, OutputConstraint]:
        """The grammars of every task."""
        from giellm_utils.inference.matcher import constraints

        if self.beside:
            return self.beside.constraints
        bundle = self.bundle
        return constraints(bundle.tokenizer, bundle.formats, bundle.max_items, bundle.rows)

    @cached_property
    def pieces(self) -> PieceIndex:
        """The tokens by their text, for restricted vocabularies."""
        from giellm_utils.models.pieces import PieceIndex

        if self.beside:
            return self.beside.pieces
        return PieceIndex(self.bundle.tokenizer)

    def release(self) -> None:
        """Let go of the loaded model."""
        for name in ("bundle", "constraints", "pieces"):
            vars(self).pop(name, None)

    def answers(self, records: Sequence[Record], task: str, decoding: Decoding) -> list[Answer]:
        """Answers for records of one task, in order; nothing is kept."""
        with TemporaryDirectory() as folder:
            return self._prepared(records, task, decoding, Path(folder) / "answers.jsonl")()

    def is_written(self, records: Sequence[Record], task: str, decoding: Decoding, path: Path) -> bool:
        """Whether `path` holds the finished predictions of just this model, these records and settings."""
        decoded = read_decoded(path)
        return decoded is not None and decoded.fingerprint == self.fingerprint(records, task, decoding)

    def write(self, records: Sequence[Record], task: str, decoding: Decoding, path: Path,
              show: Callable[[str], Any] = print) -> None:
        """Write the predictions for records of one task to `path`, unless they are there already."""
        wanted, before = self.fingerprint(records, task, decoding), read_decoded(path)
        if before and before.fingerprint == wanted:
            return
        if before:
            show(f"{path.name}: {difference(before.fingerprint, wanted)}: decodes anew")
        begun = path.with_name(path.name + ".partial")
        if begun.exists() and read_fingerprint(sidecar(begun)) != wanted:
            show(f"{begun.name}: begun with other settings, begins again")
            begun.unlink()
        resumed = begun.exists()
        write_json(sidecar(begun), wanted)
        decode = self._prepared(records, task, decoding, path)
        # Decoding alone, a first call's warm-up in it: model, grammars and output layer stand before.
        start = time.monotonic()
        decode()
        speed = None if resumed else len(records) / (time.monotonic() - start)
        artifacts.write(sidecar(path), Decoded(fingerprint=wanted, items_per_second=speed))
        sidecar(begun).unlink()

    def fingerprint(self, records: Sequence[Record], task: str, decoding: Decoding) -> dict[str, Any]:
        """All that the predictions of one task depend on, ready for JSON."""
        card = self.card.tasks[task]
        fmt = self._formats[task]
        rows = ([r.id, self.prompt(fmt, r), r.label, items_to_json(r.items())] for r in records)
        return {"decoding": decoding, "weights": self._weights, "format": fmt.name, "level": self.level,
                "dtype": self.card.base.dtype, "budget": card.budgets[self.level],
                "batch size": self.config.batch_size, "records": digest(rows),
                **({"vocabulary": self.config.vocabulary} if decoding == "free"
                   else {"most items": card.max_items}),
                **({"first token": "forced"} if decoding == "free" and self.config.first_token else {})}

    @cached_property
    def _formats(self) -> dict[str, Any]:
        return self.card.formats()

    @cached_property
    def _weights(self) -> str:
        return weights_of(self.folder)

    def _prepared(self, records: Sequence[Record], task: str, decoding: Decoding,
                  path: Path) -> Callable[[], list[Answer]]:
        """What decodes into `path`, the model and all it needs being ready."""
        from giellm_utils.inference import predictions
        from giellm_utils.inference.seq2seq import grammar_decoder
        from giellm_utils.inference.vocabulary import restricted

        bundle, fmt = self.bundle, self._formats[task]
        rest = (fmt, records, self.level, self.card.tasks[task].budgets[self.level], self.config, path)
        if decoding == "constrained":
            decoder = grammar_decoder(bundle.model, bundle.tokenizer, self.constraints,
                                      batch_size=self.config.batch_size)
            return partial(predictions.write_constrained, decoder, *rest, partial(self.prompt, fmt))
        model = bundle.model
        if self.config.vocabulary != "full":
            read = (r.text if self.config.vocabulary == "texts" else self.prompt(fmt, r) for r in records)
            model = restricted(model, self.pieces.ids_for([*fmt.fixed_strings(), *read]))
        return partial(predictions.write_free, model, bundle.tokenizer, *rest, partial(self.prompt, fmt))

    def prompt(self, fmt: Format, record: Record) -> str:
        """What the model reads of a record."""
        return fmt.prompt(record.text, self.level)


class JoinedDecoder:
    """The model in one training's `folder`, asked for text label and words in two prompts, and both answers
    put together into joint ones (predictions.join); to its callers a Decoder.

    Each level's answers lie beside the joint file, NAME.text.jsonl and NAME.words.jsonl, and are kept and
    resumed as a Decoder's are. One model serves both.
    """

    def __init__(self, folder: Path, config: GenerationConfig) -> None:
        self.text = Decoder(folder, "text", config)
        self.words = Decoder(folder, "words", config, beside=self.text)

    @property
    def levels(self) -> tuple[Decoder, Decoder]:
        return self.text, self.words

    def release(self) -> None:
        """Let go of the loaded model."""
        for decoder in self.levels:
            decoder.release()

    def answers(self, records: Sequence[Record], task: str, decoding: Decoding) -> list[Answer]:
        """Joint answers for records of one task, in order; nothing is kept."""
        from giellm_utils.inference.predictions import join

        both = (decoder.answers(records, task, decoding) for decoder in self.levels)
        return [join(text, words) for text, words in zip(*both, strict=True)]

    def is_written(self, records: Sequence[Record], task: str, decoding: Decoding, path: Path) -> bool:
        """Whether `path` holds the finished predictions of just this model, these records and settings."""
        decoded = read_decoded(path)
        return decoded is not None and decoded.fingerprint == self._fingerprint(records, task, decoding)

    def write(self, records: Sequence[Record], task: str, decoding: Decoding, path: Path,
              show: Callable[[str], Any] = print) -> None:
        """Write the predictions for records of one task to `path`, unless they are there already; their
        speed counts both answers of a text."""
        from giellm_utils.inference.predictions import write_joined

        if self.is_written(records, task, decoding, path):
            return
        parts = [path.with_name(f"{path.stem}.{decoder.level}{path.suffix}") for decoder in self.levels]
        for decoder, part in zip(self.levels, parts, strict=True):
            decoder.write(records, task, decoding, part, show)
        sidecar(path).unlink(missing_ok=True)
        write_joined(*parts, path)
        speeds = [decoded.items_per_second for part in parts if (decoded := read_decoded(part))]
        speed = None if None in speeds else 1 / sum(1 / s for s in speeds)
        artifacts.write(sidecar(path), Decoded(fingerprint=self._fingerprint(records, task, decoding),
                                               items_per_second=speed))

    def _fingerprint(self, records: Sequence[Record], task: str, decoding: Decoding) -> dict[str, Any]:
        """All that the predictions of one task depend on, ready for JSON."""
        return {f"{decoder.level}: {key}": value for decoder in self.levels
                for key, value in decoder.fingerprint(records, task, decoding).items()}


class GivenDecoder(Decoder):
    """A model that was trained with the other level in its prompt; that is gold, or what `first` says, the
    decoder of the model of that level alone, whose answers lie beside the others as NAME.given.jsonl."""

    def __init__(self, folder: Path, level: Level, config: GenerationConfig,
                 first: Decoder | None = None) -> None:
        super().__init__(folder, level, config)
        self.first = first
        self.said: dict[str, Answer] = {}

    def release(self) -> None:
        """Let go of the loaded models."""
        super().release()
        if self.first:
            self.first.release()

    def answers(self, records: Sequence[Record], task: str, decoding: Decoding) -> list[Answer]:
        """Answers for records of one task, in order; nothing is kept. Gold is read where it is given."""
        if self.first:
            self._hear(records, self.first.answers(records, task, decoding))
        return super().answers(records, task, decoding)

    def is_written(self, records: Sequence[Record], task: str, decoding: Decoding, path: Path) -> bool:
        """Whether `path` holds the finished predictions of just these models, records and settings."""
        if self.first:
            given = path.with_suffix(".given.jsonl")
            if not self.first.is_written(records, task, decoding, given):
                return False
            self._read(records, given)
        return super().is_written(records, task, decoding, path)

    def write(self, records: Sequence[Record], task: str, decoding: Decoding, path: Path,
              show: Callable[[str], Any] = print) -> None:
        """Write the predictions for records of one task to `path`, unless they are there already. Their speed
        does not count what is given."""
        if self.first:
            given = path.with_suffix(".given.jsonl")
            self.first.write(records, task, decoding, given, show)
            self.first.release()
            self._read(records, given)
        super().write(records, task, decoding, path, show)

    def prompt(self, fmt: Format, record: Record) -> str:
        """What the model reads of a record. Raises NoGoldError for one without gold where that is given."""
        if not self.first and not record.label:
            raise NoGoldError(f"record {record.id or record.text[:20]!r} has no gold that could be given: "
                              "use the condition in which the other level is predicted")
        given = self.said[record.id] if self.first else gold_answer(record)
        return fmt.prompt_given(record.text, self.level, given)

    def _read(self, records: Sequence[Record], path: Path) -> None:
        from giellm_utils.inference.predictions import read_answers

        self._hear(records, read_answers(path))

    def _hear(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        self.said = {r.id: answer for r, answer in zip(records, answers, strict=True)}
