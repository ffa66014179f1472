"""Result files: their names, the stage that writes each, and the typed record it holds.

A run's results are small JSON without texts, but for one attributed example sentence. Stages write
them through `write`, everything that draws or prints reads them through `read`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from giellm_utils.core.files import read_json, StorageError, write_json
from giellm_utils.core.schema import Level, Shape

#: The stages of a run, in order: each is a notebook and a folder of the run.
INSPECT, CONVERT, TRAIN, EVALUATE, MRE, FIGURES = STAGES = (
    "01_inspect_data", "02_convert_format", "03_train", "04_evaluate", "05_mutual_reinforcement",
    "06_figures")

Verdict = Literal["higher", "lower", "undecided"]
Decoding = Literal["free", "constrained"]


class Artifact(BaseModel):
    """Strict and frozen: an unknown key is an error, never silently lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(RootModel):
    """A mapping by name as a whole file; reads like the mapping it holds."""

    model_config = ConfigDict(frozen=True)

    def __getitem__(self, name: str) -> Any:
        return self.root[name]

    def __iter__(self):
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def items(self):
        return self.root.items()

    def values(self):
        return self.root.values()


# -- data ------------------------------------------------------------------------------------------


class SourceFile(Artifact):
    name: str
    sha256: str


class Provenance(Artifact):
    """Where one dataset came from and what may be done with it."""

    source: str
    title: str
    files: list[SourceFile]
    licence: str
    attribution: str
    note: str
    #: Whether its texts may stand in results, notebooks and figures.
    redistributable: bool


class ProvenanceFile(Table):
    root: dict[str, Provenance]


class PartSpec(Artifact):
    kind: str
    instruction: str
    labels: list[str]
    shape: Shape


class TaskSpec(Artifact):
    """A task in full, as it travels with a run and with trained weights."""

    name: str
    title: str
    text_labels: list[str]
    parts: list[PartSpec]
    none: str


class TasksFile(Table):
    """Task name -> TaskSpec: the tasks as the run read them, in the profile's order."""

    root: dict[str, TaskSpec]


class Composition(Artifact):
    """Counts of one dataset; `lengths` in characters and `items_per_text`, one number a text."""

    splits: dict[str, int]
    text_labels: dict[str, dict[str, int]]
    word_labels: dict[str, int]
    lengths: list[int]
    items_per_text: list[int]


class CompositionFile(Table):
    root: dict[str, Composition]


class TokenCosts(Artifact):
    """Tokens of each prompt and target of one task and level, and the budget of new tokens at decoding."""

    prompt: list[int]
    target: list[int]
    budget: int


class TokensFile(Table):
    """task -> level -> TokenCosts."""

    root: dict[str, dict[Level, TokenCosts]]


# -- training --------------------------------------------------------------------------------------


class Training(Artifact):
    """Summary of one training: its address, its cost and how it ended."""

    condition: str
    task: str
    seed: int
    model: str
    base: str
    method: Literal["lora", "full", "qlora"]
    dtype: str
    #: Whether products in bf16 were made in fp32 and rounded (models.products); None where it was not kept.
    widened: bool | None = None
    device: str
    processes: int
    batch_size: int
    sequences: int
    target_tokens: int
    steps: int
    planned_steps: int
    #: The step whose weights were kept, where training.early_stopping chose one.
    best_step: int | None = None
    stopped_by_minutes: bool
    resumed_from_step: int
    seconds: float
    new_tokens: int
    trainable_parameters: int
    final_loss: float
    mean_loss_of_this_process: float


class TrainingsFile(Table):
    root: list[Training]


class HistoryRow(Artifact):
    """One logged step of one training; losses in nats a target token."""

    condition: str
    task: str
    seed: int
    step: int
    epoch: float | None = None
    loss: float | None = None
    dev_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds: float


# -- scores ----------------------------------------------------------------------------------------


class Score(Artifact):
    """An estimate (a share, 0 to 1) with its 95 % percentile interval over `n` documents; None where the
    estimate is undefined, its denominator being zero."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Difference(Score):
    """a - b on the same documents, with its two-sided bootstrap p-value."""

    p_value: float | None
    verdict: Verdict


#: Metric -> Score; None where the metric does not apply to the level.
Scores = dict[str, Score | None]


class LabelScores(Artifact):
    precision: Score
    recall: Score
    f1: Score
    #: Gold items or documents.
    support: int


class Confusion(Artifact):
    """Documents by gold label (rows) and predicted label (columns; one more at the end for no label)."""

    labels: list[str]
    matrix: list[list[int]]


class SystemScores(Artifact):
    """All that the tables of one task show of one system: over all documents, and over those with and
    without gold words. What does not apply to its level is None."""

    n: int
    n_empty_gold: int
    all: Scores
    with_words: Scores
    empty_gold: Scores
    per_word_label: dict[str, LabelScores] | None = None
    per_text_label: dict[str, LabelScores] | None = None
    confusion: Confusion | None = None


class ScoresFile(Artifact):
    """scores.json: task -> system -> SystemScores."""

    split: str
    seed: int
    tasks: dict[str, dict[str, SystemScores]]


class DecodingScores(Artifact):
    """One way of decoding one trained system; None a second where it was cut off and resumed."""

    items_per_second: float | None
    scores: Scores


class Decodings(Artifact):
    """`difference`: constrained minus free by metric, where both were run."""

    free: DecodingScores | None = None
    constrained: DecodingScores | None = None
    difference: dict[str, Difference] | None = None


class DecodingsFile(Artifact):
    """decodings.json: task -> condition -> Decodings."""

    split: str
    seed: int
    tasks: dict[str, dict[str, Decodings]]


class Example(Artifact):
    """One attributed sentence with what was read and written; `label_span` and `item_spans` (start, end,
    label) are places in `output`, `spans` in `text`, all in code points."""

    task: str
    text: str
    label: str
    prompt: str
    output: str
    spans: list[tuple[int, int, str]]
    label_span: tuple[int, int]
    item_spans: list[tuple[int, int, str]]
    #: Where the options and the Instruction Words stand in `prompt`.
    prompt_spans: list[tuple[int, int]]


# -- the Mutual Reinforcement Effect -----------------------------------------------------------------


class Effect(Artifact):
    """Joint minus single level on one metric of one task; shares."""

    task: str
    metric: str
    joint: float | None
    single: float | None
    single_level: Level
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    mcnemar_p: float | None
    n: int
    verdict: Verdict


class Independence(Artifact):
    """Whether text-level and word-level errors fall on the same documents (evaluation.mre)."""

    n: int
    observed: Score
    expected: Score
    excess: Score
    phi: Score
    verdict: Verdict


class MreFile(Artifact):
    """mre.json; `error_independence` by task."""

    effects: list[Effect]
    error_independence: dict[str, Independence]


# -- files -----------------------------------------------------------------------------------------

#: Result file -> (the stage that writes it, its type). In results/<run>/ they lie side by side.
#: leakage.json is data.leakage's own report, history.jsonl holds HistoryRow lines.
FILES: dict[str, tuple[str, type[BaseModel] | None]] = {
    "provenance.json": (INSPECT, ProvenanceFile), "tasks.json": (INSPECT, TasksFile),
    "composition.json": (INSPECT, CompositionFile), "leakage.json": (INSPECT, None),
    "tokens.json": (CONVERT, TokensFile), "history.jsonl": (TRAIN, HistoryRow),
    "trainings.json": (TRAIN, TrainingsFile), "scores.json": (EVALUATE, ScoresFile),
    "decodings.json": (EVALUATE, DecodingsFile), "example.json": (EVALUATE, Example),
    "mre.json": (MRE, MreFile)}

Kind = TypeVar("Kind", bound=BaseModel)


def write(path: Path, record: BaseModel) -> Path:
    """Write one record as readable JSON, atomically; returns the path."""
    return write_json(path, record.model_dump(mode="json"))


def read(path: Path, kind: type[Kind]) -> Kind:
    """The record in `path`; raises StorageError naming the file and the first key that does not fit."""
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise StorageError(f"{path}: {'.'.join(map(str, first['loc'])) or 'it'} is not what a "
                           f"{kind.__name__} holds ({first['msg']}); it was written by another version or "
                           "changed by hand: make it again") from None
