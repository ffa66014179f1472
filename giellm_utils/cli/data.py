"""`giellm data`: check and clean a dataset of your own, audit sheets, leakage, what the datasets hold.

Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

data_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False,
                       help="Datasets: check and clean your own, audit, leakage, list.")
console = Console(highlight=False, soft_wrap=True)
warnings = Console(highlight=False, soft_wrap=True, stderr=True)


class Source(str, Enum):
    embedded = "embedded"
    open = "open"
    auto = "auto"


SourceOption = Annotated[Source, typer.Option(help="embedded (mini corpus), open (real corpora) or auto.")]


@data_app.command()
def check(file: Annotated[Path, typer.Argument(help="The JSONL file.")],
          task: Annotated[str, typer.Option("--task", help="The task YAML.")],
          write: Annotated[Path | None, typer.Option(
              "--write", help="A new file for what is left without doubles, leaks and faulty lines.")] = None,
          overwrite: Annotated[bool, typer.Option(
              "--overwrite", help="Replace an existing --write file.")] = False) -> None:
    """Print every fault of FILE as file:line: field: message (exit code 2), or one line of counts.

    With --write, test is kept; of the other lines go those that repeat a text or stand, exactly or nearly,
    in test. Lines with other faults are listed and left out.
    """
    from giellm_utils.data.checker import read_records
    from giellm_utils.data.registry import get_task

    if write is not None:
        _write_clean(file, task, write, overwrite)
        return
    records, faults = read_records(get_task(task), file)
    for fault in faults:
        console.print(fault.shown(file), markup=False)
    if any(fault.repeated for fault in faults):
        warnings.print(f"to drop lines whose text stands twice: giellm data check {file} --task {task} "
                       "--write CLEAN.jsonl", markup=False)
    if faults:
        raise typer.Exit(2)
    console.print(f"{file}: {_counts(records)}, no fault", markup=False)


def _write_clean(file: Path, task: str, out: Path, overwrite: bool) -> None:
    from giellm_utils.core.files import write_text
    from giellm_utils.data.checker import UserDataError
    from giellm_utils.data.cleaning import clean
    from giellm_utils.data.leakage import THRESHOLD
    from giellm_utils.data.registry import get_task

    if out.exists() and file.exists() and out.samefile(file):
        raise UserDataError(f"--write {out} is the file to be checked; choose another name")
    if out.exists() and not overwrite:
        raise UserDataError(f"{out} exists; choose another name or add --overwrite to replace it")
    found = clean(get_task(task), file)
    for fault in found.faults:
        console.print(fault.shown(file), markup=False)
    if not found.records:
        raise UserDataError(f"{file}: no line is left to write, so {out} was not written")
    write_text(out, "".join(line.decode("utf-8") + "\n" for line in found.lines))
    console.print(f"{file}: {found.total} lines, {found.total - len(found.lines)} dropped", markup=False)
    for count, what in ((found.doubles, "doubles: their text stands in a line that stays"),
                        (found.leaks, "leaks: train or dev, and their text stands in test"),
                        (found.near, f"near leaks: train or dev, {THRESHOLD} % or more like a test text"),
                        (found.faulty, "with other faults" + (", listed above" if found.faulty else ""))):
        console.print(f"{count:7} {what}", markup=False)
    console.print(f"{out}: {_counts(found.records)}, no fault", markup=False)


def _counts(records) -> str:
    from giellm_utils.data.dataset import SPLITS

    splits = ", ".join(f"{s} {sum(r.split == s for r in records)}" for s in SPLITS)
    return f"{len(records)} records ({splits}), {sum(len(r.words) for r in records)} words"


@data_app.command()
def audit(dataset: Annotated[str, typer.Argument(
              help="A task's name, or the path of a task YAML or Hub YAML.")],
          out: Annotated[Path, typer.Option("--out", help="The sheet (.xlsx).")],
          source: SourceOption = Source.embedded,
          score: Annotated[bool, typer.Option("--score", help="Score the filled-in sheet.")] = False,
          items: Annotated[int, typer.Option("--items", min=1, help="Rows of a new sheet.")] = 100,
          seed: Annotated[int, typer.Option(help="Which random rows.")] = 42,
          overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing sheet.")] = False,
          ) -> None:
    """Write an audit sheet of random items for a human to tick, or score it once filled in."""
    from giellm_utils.data.audit import audit_sheet
    from giellm_utils.data.registry import load_dataset

    if score:
        _score_sheet(dataset, out)
        return
    loaded = load_dataset(dataset, source.value)
    rows = audit_sheet(loaded, out, items, seed, overwrite=overwrite)
    console.print(f"{out}: {rows} of {len(loaded.records)} records of {loaded.task.name} "
                  f"({loaded.provenance.licence}: the sheet holds their texts and falls under it); "
                  f"fill in columns E and F, then: giellm data audit {dataset} --out {out} --score",
                  markup=False)


def _score_sheet(dataset: str, sheet: Path) -> None:
    from giellm_utils.data.audit import AuditError, score_audit
    from giellm_utils.data.registry import get_task

    result, name = score_audit(sheet), get_task(dataset).name
    if result["dataset"] != name:
        raise AuditError(f"{sheet} is an audit of {result['dataset']}, not of {name}; name the right one")
    console.print(f"{result['dataset']}: {result['items']} items audited", markup=False)
    for what in ("label", "words", "both"):
        if (part := result[what]) is None:
            console.print(f"  {what:6} not audited")
        else:
            console.print(f"  {what:6} {part['yes']} of {part['of']} correct: {part['agreement']:.1%} "
                          f"[{part['low']:.1%}, {part['high']:.1%}]", markup=False)
    if result["wrong"]:
        console.print(f"  judged wrong: {', '.join(result['wrong'])}", markup=False)


@data_app.command()
def leakage(source: SourceOption = Source.embedded,
            task: Annotated[list[str] | None, typer.Option(
                "--task", help="Also a dataset of your own: its task YAML or Hub YAML (repeatable).")] = None,
            json_: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False) -> None:
    """Count test texts that stand in the training data of any dataset of that source, exactly or nearly."""
    from giellm_utils.data.leakage import leakage as count
    from giellm_utils.data.registry import get_task, load_dataset, TASKS

    names = {name: name for name in TASKS}
    for yaml in task or ():
        # A Hub YAML may hold another edition of a task of ours.
        own = get_task(yaml).name
        names[f"{own} ({yaml})" if own in names else own] = yaml
    report = count([load_dataset(name, source.value) for name in names.values()], list(names))
    if json_:
        print(json.dumps(report, ensure_ascii=False, indent=1))
        return
    table = Table(title="test texts with a twin in train or dev: exact / near", title_justify="left")
    table.add_column("trained on")
    for name in names:
        table.add_column(f"test of {name}", justify="right")
    cells = {(p["train"], p["test"]): f"{p['exact']} / {p['near']}" for p in report["pairs"]}
    for train in names:
        table.add_row(train, *(cells[train, test] for test in names))
    table.add_section()
    tests = {p["test"]: p["test_texts"] for p in report["pairs"]}
    table.add_row("test texts", *(str(tests[name]) for name in names))
    within = {row["dataset"]: row for row in report["within"]}
    table.add_row("within, any split", *(f"{within[n]['exact']} / {within[n]['near']}" for n in names))
    console.print(table, report["definition"], sep="\n")


@data_app.command()
def describe(out: Annotated[Path, typer.Option(
                 help="Folder of rules.json and statistics.json.")] = Path("results/corpus")) -> None:
    """Count what the six datasets hold and what the word rules find; needs the open corpora."""
    from giellm_utils.experiment.benchmarks.corpus import write_reports

    for path in write_reports(out):
        console.print(str(path), markup=False)
    console.print("to bring the tables of docs/ up to date: giellm tables")


@data_app.command("list")
def list_() -> None:
    """The datasets of the package: labels, parts, Instruction Words, the paper's training size."""
    from giellm_utils.data.registry import TASKS

    for task in TASKS.values():
        console.print(f"[bold]{task.name}[/bold]  {task.title}, {task.paper_train} training texts "
                      "in the paper")
        console.print(f"  text labels: {', '.join(task.text_labels)}", markup=False)
        for part in task.parts:
            console.print(f"  {part.instruction} ({part.shape}): {', '.join(part.labels)}", markup=False)
        console.print(f"  published: {task.published}", markup=False)
