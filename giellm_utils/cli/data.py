"""`giellm data`: check a dataset of your own, write and score audit sheets, count leakage, list tasks.

Heavy imports wait until a command needs them.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from giellm_utils.data.dataset import Dataset

data_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False,
                       help="Datasets: check your own, audit, leakage, list.")
console = Console(highlight=False, soft_wrap=True)


class Source(str, Enum):
    embedded = "embedded"
    open = "open"
    auto = "auto"


SourceOption = Annotated[Source, typer.Option(help="embedded (mini corpus), open (real corpora) or auto.")]


def _dataset(name: str, source: Source) -> Dataset:
    """A dataset by its task's name, or the user's by the path of its task YAML."""
    from giellm_utils.data.fetch import SourceError
    from giellm_utils.data.registry import TASKS, load_dataset
    from giellm_utils.data.own import load_user_dataset

    if name.endswith((".yaml", ".yml")):
        return load_user_dataset(name)
    if name not in TASKS:
        raise SourceError(f"no dataset {name!r}; choose one of {', '.join(TASKS)} or the path of a task YAML")
    return load_dataset(name, source.value)


@data_app.command()
def check(file: Annotated[Path, typer.Argument(help="The JSONL file.")],
          task: Annotated[Path, typer.Option("--task", help="The task YAML.")]) -> None:
    """Print every fault of FILE as file:line: field: message (exit code 2), or one line of counts."""
    from giellm_utils.data.checker import SPLITS, read_records
    from giellm_utils.data.own import load_task

    records, faults = read_records(load_task(task), file)
    for fault in faults:
        console.print(fault.shown(file), markup=False)
    if faults:
        raise typer.Exit(2)
    splits = ", ".join(f"{s} {sum(r.split == s for r in records)}" for s in SPLITS)
    console.print(f"{file}: {len(records)} records ({splits}), {sum(len(r.words) for r in records)} words, "
                  "no fault", markup=False)


@data_app.command()
def audit(dataset: Annotated[str, typer.Argument(help="A task's name or the path of a task YAML.")],
          out: Annotated[Path, typer.Option("--out", help="The sheet (.xlsx).")],
          source: SourceOption = Source.embedded,
          score: Annotated[bool, typer.Option("--score", help="Score the filled-in sheet.")] = False,
          items: Annotated[int, typer.Option("--items", min=1, help="Rows of a new sheet.")] = 100,
          seed: Annotated[int, typer.Option(help="Which random rows.")] = 42,
          overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing sheet.")] = False,
          ) -> None:
    """Write an audit sheet of random items for a human to tick, or score it once filled in."""
    from giellm_utils.data.audit import audit_sheet, score_audit, AuditError

    loaded = None if score else _dataset(dataset, source)
    if loaded is not None:
        rows = audit_sheet(loaded, out, items, seed, overwrite=overwrite)
        console.print(f"{out}: {rows} of {len(loaded.records)} records of {loaded.task.name} "
                      f"({loaded.provenance['licence']}: the sheet holds their texts and falls under it); "
                      "fill in columns E and F, then: "
                      f"giellm data audit {dataset} --out {out} --score", markup=False)
        return
    result = score_audit(out)
    name = _task_name(dataset)
    if result["dataset"] != name:
        raise AuditError(f"{out} is an audit of {result['dataset']}, not of {name}; name the right one")
    console.print(f"{result['dataset']}: {result['items']} items audited", markup=False)
    for what in ("label", "words", "both"):
        if (part := result[what]) is None:
            console.print(f"  {what:6} not audited")
        else:
            console.print(f"  {what:6} {part['yes']} of {part['of']} correct: {part['agreement']:.1%} "
                          f"[{part['low']:.1%}, {part['high']:.1%}]", markup=False)
    if result["wrong"]:
        console.print(f"  judged wrong: {', '.join(result['wrong'])}", markup=False)


def _task_name(dataset: str) -> str:
    from giellm_utils.data.own import load_task

    return load_task(dataset).name if dataset.endswith((".yaml", ".yml")) else dataset


@data_app.command()
def leakage(source: SourceOption = Source.embedded,
            task: Annotated[list[str] | None, typer.Option(
                "--task", help="Also a dataset of your own: its task YAML (repeatable).")] = None,
            json_: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False) -> None:
    """Count test texts that stand in the training data of any dataset, exactly or nearly."""
    import json

    from giellm_utils.data.leakage import leakage as count
    from giellm_utils.data.registry import TASKS

    report = count([_dataset(name, source) for name in (*TASKS, *(task or []))])
    if json_:
        print(json.dumps(report, ensure_ascii=False, indent=1))
        return
    names = [row["dataset"] for row in report["within"]]
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
