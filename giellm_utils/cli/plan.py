"""`giellm plan`: what a profile's trainings need on a machine, before anything is downloaded or started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from giellm_utils.core.plan_record import METHODS, Option, PARTS, Plan, PlanFile, STRATEGIES
from giellm_utils.core.settings import parse_override

if TYPE_CHECKING:
    from giellm_utils.training.planning.hardware import Hardware

#: Heads of the table's columns, in the order of PARTS.
HEADS = ("weights", "grads", "AdamW", "copies", "gathered", "activ.", "loss", "temp.", "frame")
#: The table needs this many columns, also where output goes to a file.
console = Console(highlight=False, width=max(118, Console().width))


def plan(profile: Annotated[list[str], typer.Option("--profile", "-p", help="Repeatable.")],
         devices: Annotated[str, typer.Option(help="8xA800-80GB, 1x24GB, or cpu for this machine.")] = "cpu",
         set_: Annotated[list[str] | None, typer.Option(
             "--set", help="Change a profile key: training.method=lora.")] = None,
         sequences: Annotated[int | None, typer.Option(
             min=1, help="How many are trained on, where the data are not here.")] = None,
         tokens: Annotated[int | None, typer.Option(min=2, help="Mean tokens of a sequence.")] = None,
         longest: Annotated[int | None, typer.Option(min=2, help="Tokens of the longest one.")] = None,
         utilisation: Annotated[float, typer.Option(min=0.01, max=1, help="Share of their speed.")] = 0.3,
         tflops: Annotated[float | None, typer.Option(help="Of one device, where it is not known.")] = None,
         html: Annotated[Path | None, typer.Option(help="Also write them as a page of HTML.")] = None,
         json_: Annotated[bool, typer.Option("--json", help="The plans as JSON.")] = False,
         out: Annotated[Path | None, typer.Option(help="Also write them as a result file.")] = None) -> None:
    """Memory, batch, machine and hours of a training. Exit code 0: each profile fits; 1: one does not.

    No weights are loaded and nothing is downloaded for the models of the paper.
    """
    from giellm_utils.core import artifacts
    from giellm_utils.experiment.plan import work_of
    from giellm_utils.experiment.profile import load_profile
    from giellm_utils.training.plan import make_plan

    plans, machine = [], _machine(devices, tflops)
    for name in profile:
        loaded = load_profile(name, dict(parse_override(s) for s in set_ or ()))
        work, assumed = work_of(loaded, count=sequences, tokens=tokens, longest=longest)
        plans.append(make_plan(loaded.name, loaded.model, loaded.training, work, machine, assumed=assumed,
                               utilisation=utilisation))
    found = PlanFile(plans=plans)
    if out:
        if out.exists():
            artifacts.read(out, PlanFile)  # raises for what is no plan: that is not written over
        artifacts.write(out, found)
    if html:
        from giellm_utils.reporting.plan_page import write_page

        write_page(html, plans)
    if json_:
        print(found.model_dump_json(indent=1))
    else:
        for each in plans:
            _show(each)
    raise typer.Exit(0 if all(p.own.fits for p in plans) else 1)


def _machine(devices: str, tflops: float | None) -> Hardware:
    """The machine of --devices, at a speed that was given or, of this CPU, is measured now."""
    from giellm_utils.training.planning import hardware

    found = hardware.parse(devices)
    if tflops is None and found.cpu:
        from giellm_utils.experiment.benchmarks.training import ceiling

        tflops = round(ceiling(1024, 4096, 512) / 1e12, 2)
    return found._replace(tflops=tflops or found.tflops)


def _show(plan: Plan) -> None:
    from giellm_utils.reporting.plan_tables import gib, verdict

    own = plan.own
    console.print(f"[bold]{plan.profile}[/bold]: {escape(plan.model)}, {plan.parameters / 1e9:.2f} billion "
                  f"parameters, {plan.dtype}, on {plan.devices} ({gib(plan.capacity)} GiB usable a device)")
    console.print(f"batch {plan.batch} a device, longest sequence {plan.longest} tokens, "
                  f"{plan.longest_targets} of them with loss")
    table = Table(title="GiB of one device when a step holds most", title_justify="left", box=None,
                  padding=(0, 1, 0, 0))
    for column in ("method", "shared by"):
        table.add_column(column, no_wrap=True)
    for column in (*HEADS, "sum", "fits", "batch", "on"):
        table.add_column(column, justify="right", no_wrap=True)
    for option in plan.options:
        if option.checkpointing == own.checkpointing:
            table.add_row(*_cells(option), style="bold" if option == own else None)
    console.print(table)
    other = "without" if own.checkpointing else "with"
    console.print(f"{other} gradient checkpointing: " + "; ".join(
        f"{METHODS[o.method]} {STRATEGIES[o.strategy]} {gib(o.memory.total)} "
        f"(batch {o.largest_batch or '–'})"
        for o in plan.options if o.checkpointing != own.checkpointing))
    console.print(verdict(plan), markup=False)
    for sentence in plan.assumed:
        console.print(f"assumed: {sentence}", style="dim", markup=False)


def _cells(option: Option) -> list[str]:
    from giellm_utils.reporting.plan_tables import fits, gib

    parts = [gib(getattr(option.memory, part)) for part in PARTS]
    return [METHODS[option.method], STRATEGIES[option.strategy], *parts, gib(option.memory.total),
            fits(option), str(option.largest_batch or "–"), option.smallest or "–"]
