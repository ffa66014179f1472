"""papermill over the notebooks: parameters checked first, faults with notebook, cell and cause."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TextIO

from giellm_utils.core.files import StorageError
from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.environment import NOTEBOOKS
from giellm_utils.experiment.manifest import read_manifest, StageError


def check_parameters(stage: str, given: dict[str, Any]) -> None:
    """Fail before starting when the notebook lacks a parameter: papermill itself only warns."""
    import papermill

    known = papermill.inspect_notebook(str(NOTEBOOKS / f"{stage}.ipynb"))
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(f"{stage}.ipynb has no parameter {', '.join(unknown)}; it has {', '.join(known)}")


def execute(stage: str, run: Path, given: dict[str, Any], output: TextIO) -> None:
    """Run one notebook with papermill into `run`/notebooks; its printed output goes to `output`.

    Raises StageError naming notebook, cell and cause.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    target = run / "notebooks" / f"{stage}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    before = _finished(run / stage)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Libraries warning about themselves would stand between a reader and the results.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{stage}.ipynb"), str(target), parameters=given, cwd=os.getcwd(),
            kernel_name="python3", progress_bar=False, stdout_file=output, stderr_file=output,
            extra_arguments=["--IPKernelApp.log_level=40"])
    except papermill.PapermillExecutionError as error:
        raise StageError(f"notebook {stage}.ipynb, cell {error.cell_index}: "
                         f"{error.ename}: {error.evalue}") from None
    except DeadKernelError:
        raise StageError(f"notebook {stage}.ipynb: its kernel died (out of memory, or killed)") from None
    # papermill has no resume and marks every cell of a dead kernel completed: the manifest is the proof.
    if _finished(run / stage) in (None, before):
        raise StageError(f"notebook {stage}.ipynb ended without a manifest: it did not finish its work")


def _finished(folder: Path) -> str | None:
    try:
        manifest = read_manifest(folder)
    except StorageError:
        return None
    return manifest and manifest.finished
