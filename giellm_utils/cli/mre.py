"""`giellm mre`: the experiment's queue, and what is computed from its cells and before it.

Only `run` loads a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TYPE_CHECKING

import typer

from giellm_utils.core import artifacts, paths
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.mre_report import MreReport
from giellm_utils.core.settings import ConfigError

if TYPE_CHECKING:
    from giellm_utils.experiment.grid import Grid

mre_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False,
                      help="The experiment on the Mutual Reinforcement Effect: planning and analysis.")
CellsOption = Annotated[Path | None, typer.Option(
    help=r"Folder of cells: TASK/CONDITION\[/ARM]/seed-N.json.gz; default: results/NAME of the experiment.")]
COVERAGE, POWER, BOUND = (Path("results/mre") / f"{name}.json" for name in ("coverage", "power", "bound"))
ExperimentOption = Annotated[str, typer.Option("--experiment", "-e",
                                               help="Name in configs/experiments, or a YAML file.")]
OutOption = Annotated[Path, typer.Option(help="Where the report goes.")]
#: Test texts of a probe.
PROBED = 500
#: What a design can see is said for so many documents and, by a look's variances, so many seeds.
DOCUMENTS, SEEDS = [4343, 1000], [3, 5]
SeedOption = Annotated[int, typer.Option(help="Of what is drawn at random.")]


@mre_app.command()
def analyse(experiment: ExperimentOption = "mre",
            look: Annotated[str | None, typer.Option(
                help="A look that the experiment plans; default: the last that is due.")] = None,
            cells: CellsOption = None,
            margin: Annotated[float | None, typer.Option(
                min=0, help="Equivalence margin in points; only with --partial another than the "
                "experiment's.")] = None,
            resamples: Annotated[int, typer.Option(min=10, help="Of the bootstrap over documents.")] = 2000,
            partial: Annotated[bool, typer.Option(
                "--partial", help="A look that is not planned: all cells that stand, and the seeds that both "
                "sides have. It is a look at test all the same; needs --out.")] = False,
            seed: SeedOption = 42,
            out: Annotated[Path | None, typer.Option(
                help="Where the report goes, FILE-probes.json and FILE-observed.json beside it; default: "
                "analysis.json, probes.json and observed.json beside the cells.")] = None) -> None:
    """Differences between conditions with their intervals and tests, from committed cells; probes, and what
    a design sees with the variances found, too."""
    from giellm_utils.evaluation import power, trials
    from giellm_utils.evaluation.probing import summarise
    from giellm_utils.experiment import looks
    from giellm_utils.experiment.grid import load_grid

    loaded = load_grid(experiment)
    there = cells or home(loaded)
    planned = there / "analysis.json"
    if partial and (look or not out or out.resolve() == planned.resolve()):
        raise ConfigError("--partial takes all that stands and never the place of a planned look: leave out "
                          "--look, and name another file with --out")
    if not partial and margin not in (None, loaded.margin):
        raise ConfigError(f"experiment {loaded.name} planned a margin of {loaded.margin:g} points; leave "
                          "--margin out")
    due = looks.standing(loaded, there) if partial else looks.due(loaded, there, look)
    # Before anything is shown: probes that cannot be summarised are no reason to have looked.
    probes = summarise(due.probes).model_copy(update={"look": due.name, "partial": partial})
    found = trials.analyse(due.cells, margin=(loaded.margin if margin is None else margin) / 100,
                           resamples=resamples, partial=partial, seed=seed)
    found = found.model_copy(update={"look": due.name, "stages": due.stages})
    # Before anything is written: files of one look, or of none.
    seen = None if partial else power.report(due.cells, DOCUMENTS, SEEDS, margin=found.margin, whole=False)
    for line in said(found, len(due.cells)):
        typer.echo(line)
    path = artifacts.write(out or planned, found)
    typer.echo(paths.shown(path))
    prefix = "" if path.name == planned.name else f"{path.stem}-"
    if due.probes or path.with_name(f"{prefix}probes.json").exists():
        typer.echo(paths.shown(artifacts.write(path.with_name(f"{prefix}probes.json"), probes)))
    if seen:
        typer.echo(paths.shown(artifacts.write(path.with_name(f"{prefix}observed.json"), seen)))


def home(experiment: Grid) -> Path:
    """Where the cells of an experiment are."""
    return Path("results") / experiment.name


def said(found: MreReport, cells: int) -> Iterator[str]:
    """The primary tests of a look in lines, and what it lacks."""
    primary = [e for e in found.effects if e.role == "primary"]
    look = "a look that is not planned" if found.partial else f"look {found.look}"
    yield (f"{look}, at {cells} cells; {len(primary)} of {found.planned} planned tests made, Holm over "
           f"{found.planned}")
    for e in primary:
        yield (f"{e.task:12} {e.metric:3} {e.a} - {e.b}: {100 * e.value:+.2f} [{100 * e.low:+.2f}, "
               f"{100 * e.high:+.2f}], Holm p {e.holm_p:.3g}, equivalence p {e.tost_holm_p:.3g}: {e.verdict}")
    yield from (f"not compared: {line}" for line in found.missing)
    yield from (f"left out: {line}" for line in found.left_out)


@mre_app.command()
def coverage(repetitions: Annotated[int, typer.Option(min=10, help="Experiments a case.")] = 1000,
             resamples: Annotated[int, typer.Option(min=10, help="Of the bootstraps.")] = 300,
             seed: SeedOption = 42,
             out: OutOption = COVERAGE) -> None:
    """How often each kind of interval holds the truth, simulated on data of the experiment's shape."""
    from giellm_utils.evaluation import coverage as simulation

    found = simulation.report(simulation.shapes(), repetitions=repetitions, resamples=resamples, seed=seed,
                              show=typer.echo)
    typer.echo(paths.shown(artifacts.write(out, found)))


@mre_app.command()
def tails(repetitions: Annotated[int, typer.Option(min=10, help="Experiments a case.")] = 4000,
          seed: SeedOption = 42,
          out: OutOption = Path("results/mre/tails.json")) -> None:
    """How often the primary tests are wrong at the levels that Holm asks for, simulated likewise."""
    from giellm_utils.evaluation import tails as simulation

    found = simulation.report(simulation.shapes(), repetitions=repetitions, seed=seed, show=typer.echo)
    typer.echo(paths.shown(artifacts.write(out, found)))


@mre_app.command()
def power(pilot: Annotated[Path, typer.Option(help="Folder of cells scored on dev.")],
          experiment: ExperimentOption = "mre",
          documents: Annotated[list[int] | None, typer.Option(
              min=2, help="Test documents; again for another. Default: 4343 and 1000.")] = None,
          seeds: Annotated[list[int] | None, typer.Option(min=2, help="Default: 3, 5, 10.")] = None,
          margin: Annotated[float | None, typer.Option(
              min=0, help="Equivalence margin in points that the chance of \"no effect\" is of; default: the "
              "experiment's.")] = None,
          out: OutOption = POWER) -> None:
    """The smallest difference that the experiment can see, from a pilot on dev."""
    from giellm_utils.evaluation import power as planning
    from giellm_utils.experiment.cells import read_cells
    from giellm_utils.experiment.grid import load_grid

    wanted = load_grid(experiment).margin if margin is None else margin
    found = planning.report(read_cells(pilot), documents or DOCUMENTS, seeds or [*SEEDS, 10],
                            margin=wanted / 100)
    for o in found.outcomes:
        typer.echo(f"{o.task} {o.metric}: sd of documents {100 * o.document_sd:.1f}, of seeds "
                   f"{100 * o.seed_sd:.2f} (at most {100 * o.seed_sd_high:.2f}), rest "
                   f"{100 * o.residual_sd:.1f}")
        for d, high in zip(o.as_measured, o.at_upper_limit, strict=True):
            typer.echo(f"  {d.documents} documents, {d.seeds} seeds: {100 * d.single:.2f} points alone, "
                       f"{100 * d.first:.2f} first of {found.planned}, margin {100 * d.margin:.2f}; at "
                       f"the upper limit {100 * high.single:.2f}, {100 * high.first:.2f}, "
                       f"{100 * high.margin:.2f}; \"no effect\" within {100 * found.margin:g} is concluded "
                       f"in {100 * d.no_effect:.0f} of 100 alone, {100 * d.no_effect_first:.0f} first of "
                       f"{found.planned}")
    typer.echo(paths.shown(artifacts.write(out, found)))


@mre_app.command()
def choose(cells: Annotated[Path, typer.Option(
               help="Folder of cells scored on dev.")] = Path("results/mre-dev"),
           out: OutOption = Path("results/mre-dev/choice.json")) -> None:
    """The learning rate of each condition, from cells of mre-dev: trained without dev, scored on it."""
    from giellm_utils.evaluation import choose as choosing
    from giellm_utils.experiment.cells import read_cells

    found = choosing.choose(read_cells(cells))
    for c in found.choices:
        tried = ", ".join(f"{t.value:g}: {100 * t.score:.1f}" for t in c.tried)
        typer.echo(f"{c.condition}: {found.key} {c.value:g} ({tried}; {c.cells} cells each)")
    typer.echo(paths.shown(artifacts.write(out, found)))


@mre_app.command()
def bound(tasks: Annotated[list[str] | None, typer.Option(
              "--task", help="A dataset; again for another. Default: all of the experiment.")] = None,
          out: OutOption = BOUND) -> None:
    """How far each level is predictable from the other in gold alone, on the open datasets."""
    from giellm_utils.core.mre_report import BoundReport
    from giellm_utils.evaluation import bound as gold
    from giellm_utils.experiment.trial_data import NAMES, trial_dataset

    found = []
    for name in tasks or NAMES:
        data = trial_dataset(name)
        found.append(gold.bound(name, data.split("train", "dev"), data.split("test")))
        typer.echo(f"{name}: " + ", ".join(
            f"{p.source} {100 * p.accuracy:.1f}" for p in found[-1].text_label))
        gain = found[-1].gain
        typer.echo(f"  gold words add {100 * gain.value:+.1f} [{100 * gain.low:+.1f}, "
                   f"{100 * gain.high:+.1f}]")
        if w := found[-1].word_labels:
            typer.echo(f"  bits a word label {w.bits:.2f}, given the class {w.bits_given_class:.2f}; most "
                       f"frequent label right {100 * w.accuracy:.1f}, {100 * w.accuracy_given_class:.1f}")
    typer.echo(paths.shown(artifacts.write(out, BoundReport(folds=gold.FOLDS, seed=gold.SEED, tasks=found))))


@mre_app.command()
def run(experiment: ExperimentOption = "mre",
        stage: Annotated[list[str] | None, typer.Option(
            "--stage", help="Its cells alone; again for another. Default: all, in order.")] = None,
        at_most: Annotated[int | None, typer.Option(min=1, help="Stop after so many cells.")] = None,
        commit: Annotated[bool, typer.Option("--commit", help="Commit each cell and probe.")] = False,
        probe_texts: Annotated[int, typer.Option(
            min=0, help="Test texts that a joint model is probed on while it is at hand; 0: none.")] = PROBED,
        cells: CellsOption = None) -> None:
    """Work off the experiment's queue, one training at a time; a killed one goes on where it was."""
    from giellm_utils.experiment import grid, probes

    loaded, runs = grid.load_grid(experiment), paths.runs_dir()
    there = cells or home(loaded)

    def then() -> None:
        # A pilot on dev has no probes; and a probe that fails is no reason to stop training.
        if probe_texts and loaded.split == "test":
            try:
                probes.run(loaded, runs, there, probe_texts, typer.echo, commit=commit)
            except GiellmError as error:
                typer.echo(f"not probed: {error}")

    finished = grid.run(loaded, runs, there, stages=stage or (), cells_at_most=at_most, commit=commit,
                        then=then, show=typer.echo)
    typer.echo(f"{finished} cells finished")


@mre_app.command()
def probe(experiment: ExperimentOption = "mre",
          documents: Annotated[int, typer.Option(min=1, help="Test texts of each, by text hash.")] = PROBED,
          cells: CellsOption = None) -> None:
    """Tell every joint model that the queue left in runs/ one level and ask it for the other."""
    from giellm_utils.experiment import grid, probes

    loaded = grid.load_grid(experiment)
    done = probes.run(loaded, paths.runs_dir(), cells or home(loaded), documents, typer.echo)
    typer.echo(f"{done} models probed")


@mre_app.command()
def status(experiment: ExperimentOption = "mre", cells: CellsOption = None) -> None:
    """What the experiment has done, what is left, and about how long that takes."""
    from giellm_utils.experiment import grid

    loaded = grid.load_grid(experiment)
    there = cells or home(loaded)
    found = grid.status(loaded, there)
    for row in grid.progress(loaded, there):
        left = next((a for a in found.left if a.stage.name == row["stage"]), None)
        typer.echo(f"{row['stage']:10} {row['done']} of {row['cells']} cells"
                   + (f"; next {left}" if left else ""))
    if found.seconds_left is not None:
        typer.echo(f"about {found.seconds_left / 3600:.1f} h left, by the cells that are done")
