"""Profiles (what to run) and training jobs, as typed YAML; a fault is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from giellm_utils.tasks import TASKS, is_task_file

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ROOT / "configs" / "profiles"


class ConfigError(ValueError):
    """A faulty profile or job file; the message says file, line, key and what is allowed."""


class Section(BaseModel):
    """Strict: an unknown key or a wrong type is an error, never a silent default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataConfig(Section):
    #: Names of tasks, or paths of your own task YAML files (docs/your-own-data.md).
    tasks: list[str]
    #: embedded = the mini corpus; open = the real corpora; auto = open, else embedded with a warning.
    source: Literal["embedded", "open", "auto"] = "embedded"
    #: At most this many records a split and task, taken by text hash; null is all.
    limit: dict[Literal["train", "dev", "test"], int] = Field(default_factory=dict)
    #: The same for single tasks, where it differs: {scnm: {train: 160}}.
    task_limit: dict[str, dict[Literal["train", "dev", "test"], int]] = Field(default_factory=dict)
    #: Options of a task's loader, e.g. {tcree: {label: blind}}.
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        unknown = [t for t in tasks if t not in TASKS and not is_task_file(t)]
        if unknown or not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"{tasks} must be distinct names of {', '.join(TASKS)} (or paths of task YAML files)")
        return tasks


class FormatConfig(Section):
    #: Opening and closing mark of a text label; "‹>" for the published GIELLM weights.
    marks: str = Field("<>", min_length=2, max_length=2)


class ModelConfig(Section):
    #: A packaged model's name, "scratch" (tests), a Hub id, or a local folder.
    id: str = "gemma-3-270m-q4km"
    revision: str | None = None
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"


class TrainingConfig(Section):
    jobs: list[Literal["joint", "text", "words"]] = ["joint", "text", "words"]
    #: Splits trained on. Tune on [train] and measure on dev; the final run adds dev.
    splits: list[Literal["train", "dev"]] = ["train", "dev"]
    method: Literal["lora", "full"] = "lora"
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    #: Marks, labels and Instruction Words as single trainable tokens (single_tokens.py); LoRA only.
    single_tokens: bool = False
    learning_rate: float = Field(1e-3, gt=0)
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    epochs: float = Field(3.0, gt=0)
    #: Overrides epochs where it is set.
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    max_tokens: int = Field(1024, ge=8)
    save_steps: int = Field(50, ge=1)
    log_steps: int = Field(10, ge=1)
    #: Wall-clock cap a job, in minutes: training stops there, and the manifest says so.
    minutes: float = Field(30.0, gt=0)
    #: A file of configs/accelerate, without .yaml.
    machine: str = "single"

    @model_validator(mode="after")
    def _tokens_need_lora(self) -> TrainingConfig:
        if self.single_tokens and self.method != "lora":
            raise ValueError("single_tokens is made for method lora; set training.method to lora or "
                             "training.single_tokens to false")
        return self


class GenerationConfig(Section):
    batch_size: int = Field(16, ge=1)
    #: corpus = score only output rows of tokens that occur in the texts or the schema.
    #: This is for free decoding; a grammar allows a few dozen rows at a time.
    vocabulary: Literal["full", "corpus"] = "corpus"
    #: none = free decoding; only = under the grammar of each text; both = free for the tables and
    #: the comparison of levels, and beside it constrained.
    constrained: Literal["none", "only", "both"] = "both"
    #: Wall-clock cap a job and task, in minutes; what is left undone then is an error, not a score.
    minutes: float = Field(30.0, gt=0)


class EvaluationConfig(Section):
    split: Literal["dev", "test"] = "test"
    #: At most this many records a task, taken by text hash; null is all.
    limit: int | None = Field(None, ge=1)
    resamples: int = Field(2000, ge=10)


class Profile(Section):
    """One run: data, format, model, training, generation, evaluation and the one seed."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    description: str
    seed: int = 42
    data: DataConfig
    format: FormatConfig = FormatConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    generation: GenerationConfig = GenerationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


class TrainingJob(Section):
    """What `python -m giellm_utils.training --config` reads: one job of one profile."""

    job: str
    seed: int
    model: ModelConfig
    training: TrainingConfig
    train_file: str
    #: Measured on each epoch; empty where dev is trained on, for then its loss says nothing.
    dev_file: str = ""
    #: Strings that become tokens of their own (training.single_tokens).
    new_tokens: list[str] = Field(default_factory=list)
    out: str


Model = TypeVar("Model", bound=Section)


def load_yaml(path: Path, kind: type[Model], overrides: dict[str, Any] | None = None) -> Model:
    """Read `path` as `kind`, with dotted-key `overrides` applied; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: must be a mapping of keys, not {type(data).__name__}")
    for key, value in (overrides or {}).items():
        _set(data, key, value)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(k) for k in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        line = _line(text, first["loc"])
        where = f"{path.name}, line {line}" if line and key not in (overrides or {}) else path.name
        message = {"extra_forbidden": "unknown key"}.get(first["type"], first["msg"])
        given = "" if first["type"] == "missing" else f", not {first['input']!r}"
        if first["type"] == "extra_forbidden":
            known = _known_keys(kind, first["loc"][:-1])
            given = f"; known keys here: {', '.join(known)}"
        raise ConfigError(f"{where}: {key}: {message}{given}{more}") from None


def load_profile(name: str, overrides: dict[str, Any] | None = None) -> Profile:
    """A profile by its name in configs/profiles, or by the path of a YAML file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise ConfigError(f"no profile {name!r}; known profiles: {known} (or give the path of a .yaml file)")
    return load_yaml(path, Profile, overrides)


def parse_override(text: str) -> tuple[str, Any]:
    """`training.epochs=2` -> ("training.epochs", 2); the value is read as YAML."""
    key, mark, value = text.partition("=")
    if not mark or not key.strip():
        raise ConfigError(f"--set {text!r}: write it as key=value, for example training.epochs=2")
    return key.strip(), yaml.safe_load(value)


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{dotted}: {parent!r} holds a value, not keys")
    data[last] = value


def _line(text: str, loc: tuple) -> int | None:
    """Line of the deepest key of `loc` that stands in the YAML text, counted from 1."""
    node, line = yaml.compose(text), None
    for key in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


def _known_keys(kind: type[BaseModel], loc: tuple) -> list[str]:
    for key in loc:
        annotation = kind.model_fields[str(key)].annotation if str(key) in kind.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        kind = annotation
    return list(kind.model_fields)
