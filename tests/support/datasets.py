"""Small datasets of one's own, on disk and in memory, and the mark of tests that need the real corpora."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from giellm_utils.core.artifacts import Provenance
from giellm_utils.core.schema import Part, Record, Task
from giellm_utils.data.dataset import Dataset

needs_open = pytest.mark.skipif(not os.environ.get("GIELLM_DATA_DIR"),
                                reason="GIELLM_DATA_DIR is not set: the real corpora are not at hand")
#: A task YAML of one's own, as a mapping.
OWN_TASK: dict[str, Any] = {
    "name": "news", "title": "News", "text_labels": ["a", "b"],
    "parts": [{"kind": "entity", "instruction": "固有表現", "labels": ["人名"]}],
    "data": "d.jsonl", "licence": "CC0 1.0", "attribution": "me"}


def provenance(**changes: Any) -> Provenance:
    return Provenance(**{"source": "s", "title": "t", "files": [], "licence": "CC0", "attribution": "me",
                         "note": "", "redistributable": True, **changes})


def of_texts(name: str, **texts: list[str]) -> Dataset:
    """A dataset without words: split -> its texts."""
    task = Task(name, name, ("a",), (Part("e", "固有表現", ("x",)),))
    records = (Record(f"{name}-{split}-{i}", name, text, "a", split=split)  # type: ignore[arg-type]
               for split, items in texts.items() for i, text in enumerate(items))
    return Dataset(task, tuple(records), provenance())


def row(id_: str, text: str, split: str = "train", label: str = "a", **changes: Any) -> dict[str, Any]:
    """One row of a data file of OWN_TASK."""
    return {"id": id_, "text": text, "label": label, "words": [], "split": split, **changes}


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def own_task(folder: Path, rows: list[Any] | None = None, **changes: Any) -> Path:
    """OWN_TASK with changes (None drops a key) as folder/task.yaml; `rows` into its data file."""
    keys = {k: v for k, v in {**OWN_TASK, **changes}.items() if v is not None}
    path = folder / "task.yaml"
    # JSON is YAML; one key a line, so that faults have a line.
    path.write_text("".join(f"{k}: {json.dumps(v, ensure_ascii=False)}\n" for k, v in keys.items()), "utf-8")
    if rows is not None:
        write_rows(folder / keys["data"], rows)
    return path


def hub_yaml(at: Path, name: str = "hub.yaml", **changes: Any) -> Path:
    """A Hub YAML in `at` over at/snapshot with separate columns (None drops a key)."""
    keys = {"task": "scnm", "title": "SCNM of a test", "folder": "snapshot",
            "files": {"train": ["train.jsonl"], "test": ["test.jsonl"]},
            "fields": {"layout": "fields", "text": "sentence", "label": "class", "words": "entities"},
            "licence": "CC0 1.0", "attribution": "the test", **changes}
    path = at / name
    path.write_text(yaml.safe_dump({k: v for k, v in keys.items() if v is not None}, allow_unicode=True,
                                   sort_keys=False), encoding="utf-8")
    return path


def hub_row(text: str, label: str = "社会") -> dict[str, Any]:
    return {"sentence": text, "class": label, "entities": []}
