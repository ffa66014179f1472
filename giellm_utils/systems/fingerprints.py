"""Fingerprints: all that a training or a predictions file depends on, by name, ready for JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from giellm_utils.core.files import read_json, sha256, StorageError


def digest(values: Iterable[Any]) -> str:
    """SHA-256 of values ready for JSON."""
    text = json.dumps(list(values), ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def weights_of(folder: Path) -> str:
    """SHA-256 that stands for the weights that the training in this folder left, or that are in it alone."""
    holder = folder / "model" if (folder / "model").is_dir() else folder
    return digest(sha256(path) for path in sorted(holder.glob("*.safetensors")))


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing in which two fingerprints differ, in words: "training.epochs was 1, is 2"."""
    for key in {**wanted, **found}:
        before, now = found.get(key), wanted.get(key)
        if before != now:
            hashed = any(isinstance(value, str) and len(value) == 64 for value in (before, now))
            return f"other {key}" if hashed else f"{key} was {before}, is {now}"
    return "nothing changed"


def read_fingerprint(path: Path) -> dict[str, Any] | None:
    """The fingerprint in `path`, None where there is none or it cannot be read."""
    try:
        return read_json(path)
    except (OSError, StorageError):
        return None
