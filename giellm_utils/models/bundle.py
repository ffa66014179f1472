"""What travels with trained weights: `giellm.json`, and the one way from a trained folder to a model in use.

The card stands beside the weights and holds the tasks in full, so that a trained folder is usable by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any, Literal, TYPE_CHECKING

from pydantic import Field, model_validator, ValidationError

from giellm_utils.core.artifacts import TaskSpec
from giellm_utils.core.calibration_report import Temperatures
from giellm_utils.core.conditions import Condition
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.core.settings import Section
from giellm_utils.data.registry import get_task, task_from_spec, task_spec
from giellm_utils.formats.base import Format
from giellm_utils.formats.giellm import NAMES
from giellm_utils.formats.grammar import item_bounds
from giellm_utils.formats.registry import make_format
from giellm_utils.models.light import open_light
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.spec import ModelConfig, SCRATCH

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from giellm_utils.models.text_tokenizer import TextTokenizer
    from giellm_utils.models.weights import Weights

CARD = "giellm.json"
#: Where no card says better: new tokens, items of a part, tokens of prompt and output.
BUDGET, ITEMS, CONTEXT = 256, 32, 1024


class BundleError(GiellmError, ValueError):
    """A folder, Hub id or card that cannot be used; the message says which, why, and what to do."""


# -- the card --------------------------------------------------------------------------------------


class Lengths(Section):
    """Characters of the texts of one task that a model was trained on: median, 95th percentile, most."""

    median: int = Field(ge=1)
    p95: int = Field(ge=1)
    longest: int = Field(ge=1)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Lengths | None:
        """Those of `texts`; None where there are none. Each is the length of one of them."""
        lengths = sorted(map(len, texts))
        return cls(median=median_low(lengths), p95=lengths[math.ceil(0.95 * len(lengths)) - 1],
                   longest=lengths[-1]) if lengths else None


class TaskCard(TaskSpec):
    """A task in full, so that a model of a user's own task needs no other file, and what decoding takes."""

    #: New tokens of an output, by level.
    budgets: dict[Level, int]
    #: Most items of a part in one output, by kind.
    max_items: dict[str, int]
    #: None where it is not known: such a model's texts are cut by its context alone.
    lengths: Lengths | None = None
    #: At which its confidences are said; 1 where there is none.
    temperatures: Temperatures = Field(default_factory=dict)


class Card(Section):
    """What decoding must know of a trained model besides its weights: `giellm.json`."""

    format: Literal[2] = 2
    #: The model that was fine-tuned; a LoRA adapter is merged into it.
    base: ModelConfig
    #: A name of formats.registry.
    format_name: str = "giellm"
    #: The condition it was trained under (core.conditions), None where no card said so.
    condition: str | None = None
    levels: list[Level] = Field(min_length=1)
    #: Tokens of prompt and output together; texts that pass it are cut.
    context: int = Field(CONTEXT, ge=32)
    tasks: dict[str, TaskCard] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Card:
        for name, task in self.tasks.items():
            if task.name != name:
                raise ValueError(f"task {name}: its name is given as {task.name!r}")
            for what, given, wanted in (("budgets", task.budgets, self.levels),
                                        ("max_items", task.max_items, [p.kind for p in task.parts])):
                lacking = [key for key in wanted if given.get(key, 0) < 1]
                if lacking:
                    raise ValueError(f"task {name}: {what} of {', '.join(lacking)} must be given, "
                                     "and at least 1")
        return self

    def with_temperatures(self, temperatures: Mapping[str, Temperatures]) -> Card:
        """The same with these temperatures, by task, and no others."""
        return self.model_copy(update={"tasks": {
            name: task.model_copy(update={"temperatures": dict(temperatures.get(name, {}))})
            for name, task in self.tasks.items()}})

    def formats(self) -> dict[str, Format]:
        """The format of each task; raises GiellmError for a task that breaks its rules, an unknown format
        and one that is not defined for the task."""
        return {name: make_format(self.format_name, task_from_spec(task))
                for name, task in self.tasks.items()}


def make_card(model: ModelConfig, format_name: str, tasks: Iterable[Task], levels: Sequence[Level], *,
              budgets: Mapping[str, Mapping[Level, int]], max_items: Mapping[str, Mapping[str, int]],
              context: int = CONTEXT, lengths: Mapping[str, Lengths | None] | None = None,
              condition: str | None = None) -> Card:
    """A card; `budgets[task][level]` in tokens, `max_items[task][kind]`, `lengths[task]` in characters."""
    cards = {task.name: TaskCard(
        **task_spec(task).model_dump(), budgets={level: budgets[task.name][level] for level in levels},
        max_items=dict(max_items[task.name]), lengths=(lengths or {}).get(task.name)) for task in tasks}
    return Card(base=model, format_name=format_name, condition=condition, levels=list(levels),
                context=context, tasks=cards)


def card_of_training(model: ModelConfig, format_name: str, tasks: Iterable[Task], condition: Condition,
                     records: Sequence[Record], *, budgets: Mapping[str, Mapping[Level, int]],
                     max_tokens: int) -> Card:
    """The card of one training on `records`, which bound the items of an output and the length of a text."""
    tasks = list(tasks)
    of = {task.name: [r for r in records if r.task == task.name] for task in tasks}
    return make_card(model, format_name, tasks, condition.levels, budgets=budgets, context=max_tokens,
                     max_items={task.name: item_bounds(task, of[task.name]) for task in tasks},
                     lengths={name: Lengths.of(r.text for r in mine) for name, mine in of.items()},
                     condition=condition.name)


def write_card(folder: str | Path, card: Card) -> Path:
    """Write `card` as giellm.json beside the weights in `folder`; returns its path."""
    return write_json(Path(folder) / CARD, card.model_dump(mode="json"))


def read_card(folder: Path) -> Card | None:
    """The card in `folder`, or None where there is none; raises BundleError with file and field, and
    StorageError for a file that is not JSON."""
    path = folder / CARD
    if not path.exists():
        return None
    data = read_json(path)
    try:
        card = Card.model_validate(_upgraded(data))
        card.formats()
        return card
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"{path}: {key}: {first['msg']}; write it again with write_card") from None
    except GiellmError as error:
        raise BundleError(f"{path}: {error}; write it again with write_card") from None


def _upgraded(data: Any) -> Any:
    """A card of format 1 (marks in the place of a format's name) as one of format 2; others as they are."""
    if not isinstance(data, dict) or data.get("format") != 1:
        return data
    marks = data.get("marks", "<>")
    if marks not in NAMES:
        raise BundleError(f"marks {marks!r} belong to no format; known marks: {', '.join(NAMES)}")
    tasks = {name: {"name": name, **task} for name, task in data.get("tasks", {}).items()}
    kept = {key: value for key, value in data.items() if key != "marks"}
    return {**kept, "format": 2, "format_name": NAMES[marks], "tasks": tasks}


# -- from a folder to a model ----------------------------------------------------------------------


@dataclass(frozen=True)
class Bundle:
    """A trained model, ready to decode; `formats` by task, in the card's order."""

    card: Card
    tokenizer: PreTrainedTokenizerFast | TextTokenizer
    model: PreTrainedModel | Weights
    formats: dict[str, Format]

    @property
    def max_items(self) -> dict[str, dict[str, int]]:
        """Most items of each part of each task in one output."""
        return {name: task.max_items for name, task in self.card.tasks.items()}

    @property
    def rows(self) -> int:
        """Rows of the output layer: tokens that it scores."""
        return self.model.get_output_embeddings().weight.shape[0]


def open_bundle(folder_or_id: str | Path, *, base: str | None = None, tasks: Sequence[str] | None = None,
                format_name: str | None = None, light: bool = False) -> Bundle:
    """The model in a training's folder, a folder of weights (adapter or full model), or of a Hub id.

    `base`, `tasks` and `format_name` replace what its giellm.json says; without that file `tasks` are
    needed and, for an adapter, `base`. `light`: for constrained decoding alone, as Weights and
    TextTokenizer where that can be (models.light), ready in a third of the time. Raises BundleError, and
    ModelError where weights cannot be loaded.
    """
    folder = find_weights(str(folder_or_id))
    card = card_for(folder, str(folder_or_id), base, tasks, format_name)
    if light and folder and (found := open_light(card.base, folder)):
        return Bundle(card, *found, card.formats())
    # Here, for torch takes seconds to load, and what reads a card alone need not wait for it.
    from giellm_utils.models.load import load_model, load_tokenizer

    return Bundle(card, load_tokenizer(card.base, folder), load_model(card.base, folder), card.formats())


def find_weights(name: str) -> Path | None:
    """The folder with the weights of a training's folder, model folder or Hub id; None for a base model
    known by its name. Raises BundleError."""
    if name in SCRATCH or name in PACKAGED:
        return None
    path = Path(name)
    if not path.is_dir():
        from huggingface_hub import snapshot_download

        from giellm_utils.models.download import fetch_weights, is_reachable
        online = is_reachable()
        if online:
            fetch_weights(name)
        try:
            path = Path(snapshot_download(
                name, local_files_only=not online,
                allow_patterns=["*.safetensors", "*.json", "*.model", "*.txt"]))
        except Exception as error:  # the Hub's client raises over a dozen kinds
            raise BundleError(f"model {name!r} is neither a folder here nor a Hub id that can be reached "
                              f"({type(error).__name__}); give the folder of a training") from None
    for folder in (path, path / "model"):
        if any((folder / f).exists() for f in ("adapter_config.json", "config.json")):
            return folder
    raise BundleError(f"{name} holds no model (no config.json or adapter_config.json); give the folder "
                      "of a training, such as runs/NAME/joint/mixture/seed-42")


def card_for(folder: Path | None, name: str, base: str | None, tasks: Sequence[str] | None,
             format_name: str | None) -> Card:
    """The folder's card with the caller's changes, or one made of the caller's arguments alone."""
    if folder and (card := read_card(folder)):
        unknown = [t for t in tasks or () if t not in card.tasks]
        if unknown:
            raise BundleError(f"{name} was not trained on {', '.join(unknown)}; "
                              f"its tasks: {', '.join(card.tasks)}")
        changes = {"base": base and ModelConfig(id=base), "format_name": format_name,
                   "tasks": tasks and {t: card.tasks[t] for t in tasks}}
        card = card.model_copy(update={key: value for key, value in changes.items() if value})
    else:
        adapter = folder is not None and (folder / "adapter_config.json").exists()
        lacking = [f"{what} (argument {argument})" for what, argument, given in (
            ("its tasks", "tasks", tasks), ("its base model", "base", base or not adapter)) if not given]
        if lacking:
            raise BundleError(f"{name} has no {CARD}, which would say {' and '.join(lacking)}; give "
                              f"{'them' if len(lacking) > 1 else 'it'}, or write the file with write_card")
        found, format_name = [get_task(t) for t in tasks], format_name or "giellm"
        levels = make_format(format_name, found[0]).levels
        card = make_card(ModelConfig(id=base or name), format_name, found, levels,
                         budgets={t.name: dict.fromkeys(levels, BUDGET) for t in found},
                         max_items={t.name: {p.kind: ITEMS for p in t.parts} for t in found})
    card.formats()
    return card
