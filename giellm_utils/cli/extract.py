"""TODO"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn, TYPE_CHECKING

import typer

from giellm_utils.core.files import StorageError
from giellm_utils.core.paths import runs_dir, shown
from giellm_utils.inference.stream import ExtractFileError, extract_file, model_digest
from giellm_utils.models.bundle import CARD

if TYPE_CHECKING:
    from giellm_utils.inference.results import Extraction


# -- the command -----------------------------------------------------------------------------------


def extract(
        what: Annotated[str, typer.Argument(metavar="TEXT|FILE.jsonl",
                                            help='A text, or a file of {"text": "..."} lines.')],
        model: Annotated[str, typer.Option(
            "--model", "-m", help="A trained folder (runs/NAME/03_train/jobs/joint) or Hub id; default: what "
            "make run trained.")] = "",
        tasks: Annotated[str, typer.Option("--task", "--tasks", "-t",
                                           help="scnm, or scnm,tcree; default: all of the model's.")] = "",
        out: Annotated[Path | None, typer.Option("--out", "-o", help="Where a file's results go.")] = None,
        level: Annotated[str, typer.Option(help="joint, text or words.")] = "joint",
        base: Annotated[str | None, typer.Option(help="Base model, where giellm.json is lacking.")] = None,
        batch_size: Annotated[int, typer.Option(min=1, help="Texts decoded at once.")] = 16,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again, do not go on.")] = False,
        ) -> None:
    """Read labels, entities, sentiment words, relations and events from Japanese text, as JSON.

    A file's results go to OUT line by line; the same command goes on after a kill. Exit code 3: some
    lines were bad, see OUT.errors.jsonl.
    """
    if not model:
        folder = runs_dir() / "mini" / "03_train" / "jobs" / "joint"
        if not (folder / "model" / CARD).exists():
            _fail(f"{shown(folder)} holds no trained model with a {CARD}: make run trains one, or name one with --model")
        model = str(folder)
    from_file = out is not None or what.endswith(".jsonl")
    names = [t.strip() for t in tasks.split(",") if t.strip()]
    source = Path(what)
    if from_file and out is None:
        _fail(f"{what} is a file: say where the results go with -o OUT.jsonl")
    if from_file and not source.is_file():
        _fail(f"no file {what}; give a JSONL file, or a text without -o")

    from giellm_utils.inference.extractor import ExtractionError, Extractor
    from giellm_utils.models.spec import ModelError

    try:
        extractor = Extractor.from_pretrained(model, base=base, tasks=names or None, batch_size=batch_size)
        names = names or list(extractor.converters)
        if not from_file:
            _print(next(iter(extractor.extract([what], names, level))))
            return
        counts = extract_file(extractor, source, out, tasks=names, level=level, overwrite=overwrite,
                              model=(model_digest(Path(model)) or model) + (f" on {base}" if base else ""))
    except (ExtractionError, ModelError, ExtractFileError, StorageError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("giellm: stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    done = f", {counts.resumed} of them before" if counts.resumed else ""
    print(f"{out}: {counts.good} texts{done}"
          + (f"; {counts.bad} bad lines in {out}.errors.jsonl" if counts.bad else ""), file=sys.stderr)
    if counts.bad:
        raise typer.Exit(3)


def _print(extraction: Extraction) -> None:
    text = json.dumps(extraction.to_json(), ensure_ascii=False, indent=1)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _fail(message: str) -> NoReturn:
    print(f"giellm: {message}", file=sys.stderr)
    raise typer.Exit(2)
