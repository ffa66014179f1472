"""TODO"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.paths import ROOT

PACKAGES = ("torch", "transformers", "peft", "accelerate", "llguidance", "papermill", "fugashi", "matplotlib")


class StageError(GiellmError, RuntimeError):
    """A stage that cannot start or did not finish; the message says what to do."""


def git_revision() -> str:
    """Commit of the checkout, "-dirty" when package, configs or notebooks' code differ from it."""
    def git(*args: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True).stdout.strip()

    revision = git("rev-parse", "--short=12", "HEAD")
    if not revision:
        return "unknown"
    return revision + ("-dirty" if git("status", "--porcelain", "giellm_utils", "configs") else "")


def environment() -> dict[str, Any]:
    """Python, operating system, processor count and the versions of the packages that matter."""
    return {"python": platform.python_version(), "system": platform.system(), "processors": os.cpu_count(),
            "packages": {p: importlib.metadata.version(p) for p in PACKAGES}}
