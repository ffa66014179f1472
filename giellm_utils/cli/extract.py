"""`giellm extract`: one text to JSON, or a JSONL file to another, killed and resumed at will; and a page."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NoReturn

import typer

from giellm_utils.core.conditions import folder, MIXTURE
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.paths import runs_dir, shown, WEIGHTS
from giellm_utils.inference.extractor import Extractor
from giellm_utils.inference.live import answer_lines
from giellm_utils.inference.results import Extraction
from giellm_utils.inference.stream import Counts, extract_file, model_digest
from giellm_utils.models.bundle import CARD, find_weights


def extract(
        what: Annotated[str, typer.Argument(metavar="TEXT|FILE.jsonl|-",
                                            help='A text, a file of {"text": "..."} lines, or - for lines '
                                            "from standard input, each answered at once.")],
        model: Annotated[str, typer.Option(
            "--model", "-m", help="A training's folder (runs/NAME/joint/mixture/seed-42) or Hub id; default: "
            "the repository's weights, else the newest of make run.")] = "",
        tasks: Annotated[str, typer.Option("--task", "--tasks", "-t",
                                           help="scnm, or scnm,tcree; default: all of the model's.")] = "",
        out: Annotated[Path | None, typer.Option("--out", "-o", help="Where a file's results go.")] = None,
        level: Annotated[str, typer.Option(help="joint, text or words.")] = "joint",
        base: Annotated[str | None, typer.Option(help="Base model, where giellm.json is lacking.")] = None,
        batch_size: Annotated[int, typer.Option(min=1, help="Texts decoded at once.")] = 16,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again, do not go on.")] = False,
        min_confidence: Annotated[float, typer.Option(
            help="From 0 to 1: words below it are left out, a label below it becomes null.")] = 0.0,
        html: Annotated[Path | None, typer.Option(
            help="Also write a page with the texts, spans highlighted; a file then needs no -o.")] = None,
        ) -> None:
    """Read labels, entities, sentiment words, relations and events from Japanese text, as JSON.

    A file's results go to OUT line by line; the same command goes on after a kill. Exit code 3: some
    lines were bad, see OUT.errors.jsonl. A confidence is the probability of the tokens that were chosen,
    among those that the format allowed, at the temperature of the model's card where it gives one.
    """
    live, from_file = what == "-", out is not None or what.endswith(".jsonl")
    names = [t.strip() for t in tasks.split(",") if t.strip()]
    try:
        _check(what, from_file, out, html, min_confidence)
        model = model or _default_model()
        extractor = Extractor.from_pretrained(model, base=base, tasks=names or None, batch_size=batch_size)
        names = names or list(extractor.formats)
        how = {"tasks": names, "level": level, "min_confidence": min_confidence}
        said = f"{what if from_file else 'one text'} · {_called(model)} · {level}" + (
            f" · confidence from {min_confidence:g}" if min_confidence else "")
        if live:
            _answer(extractor, **how)
        elif from_file:
            _file(extractor, Path(what), out, html, said, model=_weights(model, base),
                  overwrite=overwrite, **how)
        else:
            found = next(iter(extractor.extract([what], names, level))).at_least(min_confidence)
            _print(found)
            if html:
                _page(html, iter([found.to_json()]), extractor, said)
    except (GiellmError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from here" if out else "stopped")
        raise typer.Exit(130) from None


def _weights(model: str, base: str | None) -> str:
    """What tells the model of a file that is resumed: of a Hub id the files that it names today."""
    there = Path(model) if Path(model).is_dir() else find_weights(model)
    return (there and model_digest(there) or model) + (f" on {base}" if base else "")


def _check(what: str, from_file: bool, out: Path | None, html: Path | None, min_confidence: float) -> None:
    """End with one sentence where what was asked for does not fit together; raises PageError for a page
    that may not be written."""
    if not 0 <= min_confidence <= 1:
        _fail(f"--min-confidence is {min_confidence:g}; give a number from 0 to 1")
    if what == "-" and out is not None:
        _fail("- answers on standard output; leave -o out, or give a file in the place of -")
    if what == "-" and html is not None:
        _fail("- answers each line at once, a page needs all of them; give a file in the place of -")
    if from_file and out is None and html is None:
        _fail(f"{what} is a file: say where the results go with -o OUT.jsonl, or --html PAGE.html")
    if from_file and not Path(what).is_file():
        _fail(f"no file {what}; give a JSONL file, or a text without -o")
    if html is not None and out is not None and html.resolve() == out.resolve():
        _fail(f"{out} cannot hold both the results and the page; give --html another name")
    if html is not None:
        from giellm_utils.inference.page import check_page

        check_page(html)


def _file(extractor: Extractor, source: Path, out: Path | None, html: Path | None, said: str,
          **how: Any) -> None:
    """A file to a file, a page or both; without `out` the results are kept nowhere else."""
    with TemporaryDirectory() as spare:
        results = out or Path(spare) / "results.jsonl"
        counts = extract_file(extractor, source, results, **how)
        if html:
            _page(html, _rows(results), extractor, said)
        if out is None:
            for row in _rows(Path(spare) / "results.jsonl.errors.jsonl") if counts.bad else ():
                _say(f"line {row['line']}: {row['reason']}")
    _summarise(counts, out, html)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


def _page(path: Path, rows: Iterator[dict[str, Any]], extractor: Extractor, said: str) -> None:
    from giellm_utils.inference.page import write_page

    write_page(path, rows, {name: fmt.task for name, fmt in extractor.formats.items()}, said)
    _say(f"wrote {path}")


def _answer(extractor: Extractor, **how: Any) -> None:
    """Standard input to standard output, line by line."""
    if sys.stdin.isatty():
        _say("one text a line; Ctrl-D ends")
    try:
        counts = answer_lines(extractor, sys.stdin.buffer, sys.stdout.buffer, **how)
    except BrokenPipeError:
        # Who read the answers has gone; what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if counts.bad:
        raise typer.Exit(3)


def _default_model() -> str:
    """The weights of the repository; a package installed without it has the newest that `make run` left."""
    if all((WEIGHTS / name).exists() for name in (CARD, "adapter_model.safetensors")):
        return str(WEIGHTS)
    trained = folder(runs_dir() / "mini", "joint", MIXTURE, seed=0).parent
    cards = sorted(trained.glob(f"seed-*/model/{CARD}"), key=lambda path: path.stat().st_mtime)
    if not cards:
        _fail(f"{shown(WEIGHTS)} is not there and {shown(trained)} holds no trained model with a {CARD}: "
              "make run trains one, or name one with --model")
    return str(cards[-1].parents[1])


def _called(model: str) -> str:
    """As a page names it: a folder without where it lies, any other by its id."""
    return shown(Path(model)) if Path(model).is_dir() else model


def _print(extraction: Extraction) -> None:
    text = json.dumps(extraction.to_json(), ensure_ascii=False, indent=1)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    if extraction.pieces > 1:
        _say(f"the text is longer than what the model reads at once: cut into {extraction.pieces} pieces; "
             "relations across a cut are lost")


def _summarise(counts: Counts, out: Path | None, html: Path | None) -> None:
    done = f", {counts.resumed} of them before" if counts.resumed else ""
    where = f" in {out}.errors.jsonl" if out else ""
    bad = f"; {counts.bad} bad lines{where}" if counts.bad else ""
    print(f"{out or html}: {counts.good} texts{done}{bad}", file=sys.stderr)
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
