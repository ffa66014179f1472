"""nbval on all six notebooks: every cell runs, and cells tagged nbval-check-output still show what is
committed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.models import needs_gemma

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def nbval(paths: list[Path], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider",
         *map(str, paths)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "failed" not in done.stdout


@needs_gemma
def test_deterministic_notebooks_still_show_what_is_committed(tmp_path):
    # The user's own cache: the notebooks' default profile needs Gemma's tokenizer, converted once.
    own = {k: v for k, v in os.environ.items() if k != "GIELLM_DATA_DIR"}
    nbval([NOTEBOOKS[i] for i in (0, 1, 5)], {**own, "GIELLM_RUNS_DIR": str(tmp_path)})


def test_every_notebook_runs_by_itself(tmp_path, child_environment):
    """As a reader runs them, one after the other, on the tiny model from scratch."""
    copies = []
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert text.count('profile = \\"mini\\"') == 1
        # Scores of another model are not the committed ones: those cells are run, not compared.
        text = text.replace('profile = \\"mini\\"', 'profile = \\"smoke\\"')
        text = text.replace("nbval-check-output", "run")
        copies.append(tmp_path / path.name)
        copies[-1].write_text(text, encoding="utf-8")
    nbval(copies, {**child_environment, "GIELLM_RUNS_DIR": str(tmp_path / "runs")})
