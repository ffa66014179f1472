"""What the first answer of `giellm extract "one sentence"` takes, by parts, each time in a new process.

The parts are those of the command in their order; beside them the command itself is timed from outside.
Caches are warm: a first run, not timed, converts the base model and fills what is kept on disk.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from giellm_utils.core.settings import ConfigError
from giellm_utils.experiment.environment import environment, git_revision

#: The parts in their order: key in the result file -> how a table calls it.
PARTS = {"start": "the interpreter starts",
         "imports": "the command line, torch and the decoder are imported",
         "model": "tokenizer and weights are read, the adapter merged",
         "grammars": "the tokenizer's pieces are indexed, the grammars made",
         "answer": "the text is answered", "end": "the process ends"}


def parts(began: float, model: str, task: str, text: str) -> dict[str, float]:
    """Seconds of each part of one answer but the end, in this process, which somebody started at `began`
    (seconds since the epoch)."""
    marks = [began, time.time()]
    # What the command imports; by name, for this room must not know of cli, whose cost is to be seen here.
    for name in ("cli.main", "inference.constrained", "inference.matcher"):
        importlib.import_module(f"giellm_utils.{name}")
    from giellm_utils.inference.extractor import Extractor
    from giellm_utils.models.bundle import open_bundle

    marks.append(time.time())
    bundle = open_bundle(model, light=True)
    marks.append(time.time())
    extractor = Extractor.of(bundle)
    marks.append(time.time())
    next(iter(extractor.extract([text], [task])))
    marks.append(time.time())
    return {name: after - before for name, before, after in zip(PARTS, marks, marks[1:], strict=False)}


def run(model: str, task: str, text: str, times: int, *, source: str) -> dict[str, Any]:
    """All that a file of results/extract holds: `times` answers by parts and `times` of the command, in
    turn. Raises ConfigError where the command does not answer."""
    command = [sys.executable, "-m", "giellm_utils.cli.main", "extract", text, "--task", task, "--model",
               model]
    load, whole, split = os.getloadavg(), [], []
    for i in range(times + 1):
        began = time.time()
        seconds = json.loads(_output([sys.executable, "-m", __name__, str(began), model, task, text]))
        split.append({**seconds, "end": time.time() - began - sum(seconds.values())})
        began = time.time()
        _output(command)
        whole.append(time.time() - began)
        if i:
            print(f"{i}/{times}: {whole[-1]:.2f} s", flush=True)
    return {"source": source, "model": Path(model).name, "task": task, "characters": len(text),
            "parts": {name: [round(s[name], 3) for s in split[1:]] for name in PARTS},
            "titles": PARTS, "command": [round(s, 3) for s in whole[1:]],
            "load_average": {"start": load, "end": os.getloadavg()}, "git": git_revision(), **environment()}


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ConfigError(f"the text is not answered: {said[-1] if said else done.returncode}")
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    print(json.dumps(parts(float(sys.argv[1]), *sys.argv[2:])))
