"""TODO"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from giellm_utils.core.files import read_json
from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.manifest import StageError

NOTEBOOKS = ROOT / "notebooks"


def notebook_hash(stage: str) -> str:
    """SHA-256 of a notebook's code cells: outputs and prose do not make a stage stale."""
    cells = read_json(NOTEBOOKS / f"{stage}.ipynb")["cells"]
    code = "\0".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"
                     and "injected-parameters" not in c["metadata"].get("tags", []))
    return hashlib.sha256(code.encode()).hexdigest()


def check_parameters(stage: str, given: dict[str, Any]) -> None:
    """Fail before starting when the notebook lacks a parameter: papermill itself only warns."""
    import papermill

    known = papermill.inspect_notebook(str(NOTEBOOKS / f"{stage}.ipynb"))
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(f"{stage}.ipynb has no parameter {', '.join(unknown)}; it has {', '.join(known)}")


def execute(stage: str, run: Path, given: dict[str, Any], output) -> None:
    """Run one notebook with papermill into `run`/notebooks; its printed output goes to `output`.

    Raises StageError naming notebook, cell and cause.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    target = run / "notebooks" / f"{stage}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Libraries warning about themselves would stand between a reader and the results.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    try:
        papermill.execute_notebook(str(NOTEBOOKS / f"{stage}.ipynb"), str(target), parameters=given, cwd=os.getcwd(),
                                   kernel_name="python3", progress_bar=False, stdout_file=output, stderr_file=output,
                                   extra_arguments=["--IPKernelApp.log_level=40"])
    except papermill.PapermillExecutionError as error:
        raise StageError(f"notebook {stage}.ipynb, cell {error.cell_index}: {error.ename}: {error.evalue}") from None
    except DeadKernelError:
        raise StageError(f"notebook {stage}.ipynb: its kernel died (out of memory, or killed)") from None
    if not (run / stage / "manifest.json").exists():
        raise StageError(f"notebook {stage}.ipynb ended without a manifest: it did not finish its work")
