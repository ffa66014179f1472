"""One training in a process of its own: `python -m ….memory_case FOLDER` writes measured.json.

FOLDER is a job of training.launch.write_job.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from giellm_utils.core.files import write_json
from giellm_utils.core.settings import load_yaml
from giellm_utils.training.config import TrainingJob


def peak() -> int:
    """Most bytes that this process had in memory.

    VmHWM is of this program alone; ru_maxrss, which stands in where there is no /proc, begins on Linux with
    what the parent had when it started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    import torch

    from giellm_utils.training import run as ours

    folder = Path(sys.argv[1])
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    summary = ours.train(load_yaml(folder / "training.yaml", TrainingJob), folder)
    write_json(folder / "measured.json",
               {"peak": peak(), "steps": summary.steps, "threads": torch.get_num_threads()})


if __name__ == "__main__":
    main()
