"""What a result was made with: commit, packages, machine, and the code of the notebooks."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from giellm_utils.core.files import read_json
from giellm_utils.core.paths import ROOT

PACKAGES = ("torch", "transformers", "peft", "accelerate", "llguidance", "papermill", "fugashi", "matplotlib")
NOTEBOOKS = ROOT / "notebooks"


def environment() -> dict[str, Any]:
    """Python, operating system, processor count and the versions of the packages that matter."""
    return {"python": platform.python_version(), "system": platform.system(), "processors": os.cpu_count(),
            "packages": {p: importlib.metadata.version(p) for p in PACKAGES}}


def git_revision(root: Path = ROOT) -> str:
    """Commit of the checkout in `root`, "-dirty" when the package, configs or a notebook's code differ
    from it (not its outputs or prose); "unknown" outside a checkout."""
    revision = _git(root, "rev-parse", "--short=12", "HEAD").strip()
    if not revision:
        return "unknown"
    dirty = _git(root, "status", "--porcelain", "giellm_utils", "configs").strip() or any(
        code(read_json(path)) != _committed_code(root, path) for path in (root / "notebooks").glob("*.ipynb"))
    return revision + ("-dirty" if dirty else "")


def notebook_hash(stage: str) -> str:
    """SHA-256 of a notebook's code cells: outputs and prose do not make a stage stale."""
    return hashlib.sha256(code(read_json(NOTEBOOKS / f"{stage}.ipynb")).encode()).hexdigest()


def code(notebook: dict[str, Any]) -> str:
    """The code cells of a notebook in one string, without parameters that papermill put in."""
    return "\0".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"
                     and "injected-parameters" not in c["metadata"].get("tags", []))


def _committed_code(root: Path, path: Path) -> str | None:
    committed = _git(root, "show", f"HEAD:{path.relative_to(root).as_posix()}")
    return code(json.loads(committed)) if committed else None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True,
                          encoding="utf-8").stdout
