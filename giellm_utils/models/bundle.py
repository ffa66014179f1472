"""`giellm.json`: what decoding must know of a trained model besides its weights.

It stands beside the weights, holds the tasks in full, and so makes a trained folder usable by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import write_json
from giellm_utils.core.schema import LEVELS, Level, Part, Record, SchemaError, Shape, Task
from giellm_utils.core.settings import Section
from giellm_utils.experiment.profile import Profile
from giellm_utils.formats.giellm import Converter
from giellm_utils.models.spec import ModelConfig

CARD = "giellm.json"
#: Where no card says better: new tokens, items of a part, tokens of prompt and output.
BUDGET, ITEMS, CONTEXT = 256, 32, 1024


class ExtractionError(GiellmError, ValueError):
    """A model, task or text that cannot be used; the message says which, why, and what to do."""


class PartCard(Section):
    kind: str
    instruction: str
    labels: list[str]
    shape: Shape


class TaskCard(Section):
    """A task in full, so that a model of a user's own task needs no other file."""

    title: str
    text_labels: list[str]
    parts: list[PartCard]
    none: str
    #: New tokens of an output, by level.
    budgets: dict[Level, int]
    #: Most items of a part in one output, by kind.
    max_items: dict[str, int]


class Card(Section):
    """What decoding must know of a trained model besides its weights: `giellm.json`."""

    format: Literal[1] = 1
    #: The model that was fine-tuned; a LoRA adapter is merged into it.
    base: ModelConfig
    marks: str = "<>"
    levels: list[Level] = Field(min_length=1)
    #: Tokens of prompt and output together; texts that pass it are cut.
    context: int = Field(CONTEXT, ge=32)
    tasks: dict[str, TaskCard] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Card:
        for name, task in self.tasks.items():
            for what, given, wanted in (("budgets", task.budgets, self.levels),
                                        ("max_items", task.max_items, [p.kind for p in task.parts])):
                lacking = [key for key in wanted if given.get(key, 0) < 1]
                if lacking:
                    raise ValueError(f"task {name}: {what} of {', '.join(lacking)} must be given, "
                                     "and at least 1")
        return self

    def converters(self) -> dict[str, Converter]:
        """A converter for each task; raises SchemaError or ValueError where a task breaks its rules."""
        return {name: Converter(Task(
            name, task.title, tuple(task.text_labels),
            tuple(Part(p.kind, p.instruction, tuple(p.labels), p.shape) for p in task.parts), task.none),
            self.marks) for name, task in self.tasks.items()}


def make_card(model: ModelConfig, converters: Iterable[Converter], levels: Sequence[Level], *,
              budgets: Mapping[str, Mapping[Level, int]], max_items: Mapping[str, Mapping[str, int]],
              context: int = CONTEXT) -> Card:
    """A card of tasks that share their marks; `budgets[task][level]` in tokens, `max_items[task][kind]`."""
    converters = list(converters)
    tasks = {c.task.name: TaskCard(
        title=c.task.title, text_labels=list(c.task.text_labels), none=c.task.none,
        parts=[PartCard(kind=p.kind, instruction=p.instruction, labels=list(p.labels), shape=p.shape)
               for p in c.task.parts],
        budgets={level: budgets[c.task.name][level] for level in levels},
        max_items=dict(max_items[c.task.name])) for c in converters}
    marks = converters[0].open + converters[0].close
    return Card(base=model, marks=marks, levels=list(levels), context=context, tasks=tasks)


def card_of_job(profile: Profile, job: Level, converters: Mapping[str, Converter], records: Sequence[Record],
                budgets: Mapping[str, Any]) -> Card:
    """The card of one trained job of a run; `budgets` as sequences.costs_and_budgets gives them, items
    bounded by the records that were trained on."""
    from giellm_utils.data.corpus import of_task
    from giellm_utils.formats.grammar import item_bounds

    bounds = {name: item_bounds(c.task, of_task(records, name, *profile.training.splits))
              for name, c in converters.items()}
    return make_card(profile.model, converters.values(), [job], max_items=bounds,
                     budgets={name: {job: budgets[name][job]["budget"]} for name in converters},
                     context=profile.training.max_tokens)


def write_card(folder: str | Path, card: Card) -> Path:
    """Write `card` as giellm.json beside the weights in `folder`; returns its path."""
    return write_json(Path(folder) / CARD, card.model_dump())


def read_card(folder: Path) -> Card | None:
    """The card in `folder`, or None where there is none; raises ExtractionError with file and field."""
    path = folder / CARD
    if not path.exists():
        return None
    try:
        card = Card.model_validate_json(path.read_bytes())
        card.converters()
        return card
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ExtractionError(f"{path}: {key}: {first['msg']}; write it again with write_card") from None
    except (SchemaError, ValueError) as error:
        raise ExtractionError(f"{path}: {error}; write it again with write_card") from None


def find_weights(name: str) -> Path | None:
    """The folder with the weights of a job folder, model folder or Hub id; None for a model that
    models.py knows by name. Raises ExtractionError."""
    from giellm_utils.models.packaged import PACKAGED

    if name == "scratch" or name in PACKAGED:
        return None
    path = Path(name)
    if not path.is_dir():
        from huggingface_hub import snapshot_download
        try:
            path = Path(snapshot_download(
                name, allow_patterns=["*.safetensors", "*.json", "*.model", "*.txt"]))
        except Exception as error:  # the Hub's client raises over a dozen kinds
            raise ExtractionError(f"model {name!r} is neither a folder here nor a Hub id that can be reached "
                                  f"({type(error).__name__}); give the folder of a trained job") from None
    for folder in (path, path / "model"):
        if any((folder / f).exists() for f in ("adapter_config.json", "config.json")):
            return folder
    raise ExtractionError(f"{name} holds no model (no config.json or adapter_config.json); give the folder "
                          "that training wrote, such as runs/NAME/03_train/jobs/joint")


def card_for(folder: Path | None, name: str, base: str | None, tasks: Sequence[str] | None,
             marks: str | None) -> Card:
    """The folder's card with the caller's changes, or one made of the caller's arguments alone."""
    from giellm_utils.data.registry import get_task

    if folder and (card := read_card(folder)):
        unknown = [t for t in tasks or () if t not in card.tasks]
        if unknown:
            raise ExtractionError(f"{name} was not trained on {', '.join(unknown)}; "
                                  f"its tasks: {', '.join(card.tasks)}")
        changes = {"base": base and ModelConfig(id=base), "marks": marks,
                   "tasks": tasks and {t: card.tasks[t] for t in tasks}}
        card = card.model_copy(update={key: value for key, value in changes.items() if value})
    else:
        adapter = folder is not None and (folder / "adapter_config.json").exists()
        lacking = [f"{what} (argument {argument})" for what, argument, given in (
            ("its tasks", "tasks", tasks), ("its base model", "base", base or not adapter)) if not given]
        if lacking:
            raise ExtractionError(f"{name} has no {CARD}, which would say {' and '.join(lacking)}; give "
                                  f"{'them' if len(lacking) > 1 else 'it'}, or write the file with write_card")
        try:
            converters = [Converter(get_task(t), marks or "<>") for t in tasks]
        except (KeyError, ValueError) as error:
            raise ExtractionError(str(error.args[0])) from None
        card = make_card(ModelConfig(id=base or name), converters, LEVELS,
                         budgets={c.task.name: dict.fromkeys(LEVELS, BUDGET) for c in converters},
                         max_items={c.task.name: {p.kind: ITEMS for p in c.task.parts} for c in converters})
    try:
        card.converters()
    except ValueError as error:
        raise ExtractionError(str(error)) from None
    return card
