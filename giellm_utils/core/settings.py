"""Strict sections of a YAML file; a fault is one clear line: file, line, key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from giellm_utils.core.errors import GiellmError


class ConfigError(GiellmError, ValueError):
    """A faulty profile or job file; the message says file, line, key and what is allowed."""


class Section(BaseModel):
    """Strict: an unknown key or a wrong type is an error, never a silent default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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


def parse_override(text: str) -> tuple[str, Any]:
    """`training.epochs=2` -> ("training.epochs", 2); the value is read as YAML."""
    key, mark, value = text.partition("=")
    if not mark or not key.strip():
        raise ConfigError(f"--set {text!r}: write it as key=value, for example training.epochs=2")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML ({' '.join(str(error).split())})") from None


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
    """Keys of the section at `loc`; in a union of sections pydantic's loc names the member by its tag."""
    members: list[type[BaseModel]] = [kind]
    for key in map(str, loc):
        if len(members) > 1:
            members = [m for m in members
                       if any(key in get_args(f.annotation) for f in m.model_fields.values())]
            continue
        field = members[0].model_fields.get(key) if members else None
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        members = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
    return list(members[0].model_fields) if len(members) == 1 else []
