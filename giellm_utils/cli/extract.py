"""`giellm extract`: one text to JSON, or a JSONL file to another, killed and resumed at will."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from giellm_utils.core.conditions import folder, MIXTURE
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.paths import runs_dir, shown
from giellm_utils.inference.extractor import Extractor
from giellm_utils.inference.live import answer_lines
from giellm_utils.inference.results import Extraction
from giellm_utils.inference.stream import Counts, extract_file, model_digest
from giellm_utils.models.bundle import CARD


def extract(
        what: Annotated[str, typer.Argument(metavar="TEXT|FILE.jsonl|-",
                                            help='A text, a file of {"text": "..."} lines, or - for lines '
                                            "from standard input, each answered at once.")],
        model: Annotated[str, typer.Option(
            "--model", "-m", help="A training's folder (runs/NAME/joint/mixture/seed-42) or Hub id; default: "
            "what make run trained.")] = "",
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
    model = model or _default_model()
    from_file = out is not None or what.endswith(".jsonl")
    names = [t.strip() for t in tasks.split(",") if t.strip()]
    source, live = Path(what), what == "-"
    if live and out is not None:
        _fail("- answers on standard output; leave -o out, or give a file in the place of -")
    if from_file and out is None:
        _fail(f"{what} is a file: say where the results go with -o OUT.jsonl")
    if from_file and not source.is_file():
        _fail(f"no file {what}; give a JSONL file, or a text without -o")
    try:
        extractor = Extractor.from_pretrained(model, base=base, tasks=names or None, batch_size=batch_size)
        names = names or list(extractor.formats)
        if live:
            _answer(extractor, names, level)
            return
        if not from_file:
            _print(next(iter(extractor.extract([what], names, level))))
            return
        counts = extract_file(extractor, source, out, tasks=names, level=level, overwrite=overwrite,
                              model=(model_digest(Path(model)) or model) + (f" on {base}" if base else ""))
    except (GiellmError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _say("stopped" if live else "stopped; the same command goes on from here")
        raise typer.Exit(130) from None
    _summarise(counts, out)


def _answer(extractor: Extractor, tasks: list[str], level: str) -> None:
    """Standard input to standard output, line by line."""
    if sys.stdin.isatty():
        _say("one text a line; Ctrl-D ends")
    try:
        counts = answer_lines(extractor, sys.stdin.buffer, sys.stdout.buffer, tasks, level)
    except BrokenPipeError:
        # Who read the answers has gone; what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if counts.bad:
        raise typer.Exit(3)


def _default_model() -> str:
    """The newest training that `make run` left."""
    trained = folder(runs_dir() / "mini", "joint", MIXTURE, seed=0).parent
    cards = sorted(trained.glob(f"seed-*/model/{CARD}"), key=lambda path: path.stat().st_mtime)
    if not cards:
        _fail(f"{shown(trained)} holds no trained model with a {CARD}: make run trains one, or name one "
              "with --model")
    return str(cards[-1].parents[1])


def _print(extraction: Extraction) -> None:
    text = json.dumps(extraction.to_json(), ensure_ascii=False, indent=1)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    if extraction.pieces > 1:
        _say(f"the text is longer than what the model reads at once: cut into {extraction.pieces} pieces; "
             "relations across a cut are lost")


def _summarise(counts: Counts, out: Path) -> None:
    done = f", {counts.resumed} of them before" if counts.resumed else ""
    bad = f"; {counts.bad} bad lines in {out}.errors.jsonl" if counts.bad else ""
    print(f"{out}: {counts.good} texts{done}{bad}", file=sys.stderr)
    if counts.cut:
        _say(f"{counts.cut} texts are longer than what the model reads at once: cut into pieces; "
             "relations across a cut are lost")
    if counts.bad:
        raise typer.Exit(3)


def _say(message: str) -> None:
    print(f"giellm: {message}", file=sys.stderr)


def _fail(message: str) -> NoReturn:
    _say(message)
    raise typer.Exit(2)
