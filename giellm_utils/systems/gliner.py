"""GLiNER2.5-multi (package gliner2), zero-shot: spans, relations and the text label by the task's own names.

Not run here, for its weights are on the Hub. After `pip install "gliner2[local]==2.1.0"`,
`giellm evaluate --system gliner --profile gliner-multi --task scnm` loads fastino/gliner2.5-multi-v1
(Apache-2.0, mDeBERTa-v3, 287 M parameters). Texts are split into characters, as the README of gliner2 says
for languages without spaces. Only the threshold is chosen, on dev; the records teach it nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.schema import Record, Span, Task, Word
from giellm_utils.core.settings import ConfigError
from giellm_utils.systems.base import answer, Entry, System
from giellm_utils.systems.choice import choose, f1, halves, Setting
from giellm_utils.systems.config import GlinerConfig

#: What the text label is called in the schema.
LABEL = "分類"


class Gliner(System):
    """One model over one task; raises ConfigError for a task in which two parts share a label."""

    name, level = "gliner", "joint"

    def __init__(self, task: Task, config: GlinerConfig = GlinerConfig()) -> None:
        if not _tells_apart(task):
            raise ConfigError(f"gliner finds words by their label alone, and two parts of task {task.name} "
                              "share one")
        self._task, self._config = task, config
        self._grid: tuple[Setting, ...] = tuple({"threshold": t} for t in config.thresholds)
        self._setting: Setting = {**self._grid[0], "dev": None}

    @property
    def settings(self) -> dict[str, Any]:
        folder = self._folder
        return {"model": self._name, "commit": folder.name if folder.parent.name == "snapshots" else None,
                "splitter": self._config.splitter, "batch size": self._config.batch_size,
                "words": self._setting, "grids": {"words": self._grid}}

    @property
    def _name(self) -> str:
        """The model without the path of a folder, which is this machine's own."""
        return Path(self._config.model).name if Path(self._config.model).is_dir() else self._config.model

    def fit(self, records: Sequence[Record]) -> None:
        """Choose the threshold by the F1 of words on dev; without dev records the library's own is kept."""
        _, dev = halves(records)

        def score(setting: Setting) -> float:
            found = [list(self._words(text, result)) for text, result in self._ask(dev, setting)]
            return f1([r.words for r in dev], found)

        self._setting = choose(self._grid, score, bool(dev))

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Raises ConfigError where the package or the model cannot be had."""
        return [answer(self._task, text, _label(result, self._task), list(self._words(text, result)))
                for text, result in self._ask(records, self._setting)]

    def _ask(self, records: Sequence[Record], setting: Setting) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each text with what the model says of it."""
        texts = [r.text for r in records]
        if not texts:
            return
        schema = self._model.create_schema().classification(LABEL, list(self._task.text_labels))
        for part in self._task.parts:
            ask = schema.relations if part.shape == "relation" else schema.entities
            schema = ask(list(part.labels))
        yield from zip(texts, self._model.batch_extract(
            texts, schema, batch_size=self._config.batch_size, threshold=setting["threshold"],
            include_spans=True), strict=True)

    def _words(self, text: str, result: Mapping[str, Any]) -> Iterator[Word]:
        """The words of one result; what stands at other offsets than it says is left out."""
        kinds = {label: part.kind for part in self._task.parts for label in part.labels}
        for label, found in (result.get("entities") or {}).items():
            for span in (_span(text, entity) for entity in found):
                if span:
                    yield Word(kinds[label], label, span)
        for label, found in (result.get("relation_extraction") or {}).items():
            for head, tail in ((_span(text, r["head"]), _span(text, r["tail"])) for r in found):
                if head and tail:
                    yield Word(kinds[label], label, head, tail)

    @cached_property
    def _folder(self) -> Path:
        """The snapshot: safetensors and JSON alone; raises ConfigError where a file of it asks for code."""
        from giellm_utils.models.bundle import find_weights

        folder = find_weights(self._config.model)
        for path in sorted(folder.rglob("*.json")):
            if "auto_map" in json.loads(path.read_text("utf-8")):
                raise ConfigError(f"{self._name}: {path.name} asks for code of its own (auto_map), which is "
                                  "never run here; use another model")
        return folder

    @cached_property
    def _model(self) -> Any:
        try:
            from gliner2 import AutoExtractor
        except ImportError:
            raise ConfigError('system gliner needs the package gliner2; run: pip install "gliner2[local]"'
                              ) from None
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return AutoExtractor.from_pretrained(
            str(self._folder), word_splitter=self._config.splitter, map_location=device)


def _span(text: str, found: Mapping[str, Any]) -> Span | None:
    """Where a found surface stands; None where it does not stand at its start."""
    surface, start = found["text"], found["start"]
    return Span(start, start + len(surface)) if surface and text.startswith(surface, start) else None


def _label(result: Mapping[str, Any], task: Task) -> str | None:
    return result[LABEL] if result.get(LABEL) in task.text_labels else None


def _tells_apart(task: Task) -> bool:
    """Whether a word label says which part it is of."""
    labels = [label for part in task.parts for label in part.labels]
    return len(set(labels)) == len(labels) and LABEL not in labels


ENTRIES = (
    Entry("gliner", "GLiNER2.5-multi, zero-shot", Look(colour="#E69F00", marker="D"), "joint", order=42,
          make=Gliner, applies=_tells_apart, configured=True, needs=("Hub", "the package gliner2"),
          command="giellm evaluate --system gliner --profile gliner-multi --task {task}"),
)
