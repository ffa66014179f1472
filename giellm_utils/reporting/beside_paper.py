"""Every system of the paper beside what was measured here: printed, ours with its interval, the difference,
what the cell stands on, and the command that fills it.

Ours come from committed results alone: runs (results/<run>/) and rows of results/systems/. The data here
stand in for the paper's, and most models for its models, so that a difference says how far apart two
numbers are and never by itself which system is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Provenance, Score, ScoresFile, SystemScores
from giellm_utils.core.markup import Html
from giellm_utils.core.sources import METHODS
from giellm_utils.data.registry import TASKS
from giellm_utils.reporting import html
from giellm_utils.reporting.published import ACCURACIES, Accuracy, LEVELS, PaperLevel, SYSTEMS
from giellm_utils.reporting.results import RunResults, system_rows
from giellm_utils.reporting.tables import MISSING, rows_to_markdown, score_cell
from giellm_utils.systems import registry

#: What is read as the paper's WL: an exact match on SCNM and TCREE, a share of words on SCPOS
#: (published.INFERRED).
EXACT, SHARE = ({"TL": "tl", "WL": wl, "ALL": "all"} for wl in ("wl_exact", "wl_words"))
#: Data from the best to the least like the paper's: names of SystemResult.source.
_BY_WORTH = ("mmm-", "authors-", "open", "")
#: The embedded corpus and users' own data.
WORST = _BY_WORTH.index("")
#: A value must not part from its interval in a narrow column.
SPACE = "\N{NO-BREAK SPACE}"
#: Floors of a run that stand in the table; always_empty has no text label and says what majority says.
_FLOORS = ("majority", "lexicon")


@dataclass(frozen=True)
class Road:
    """How the cells of one of the paper's systems are filled.

    `same`: what is that very system (folders below results/systems, base models of runs, in one of
    `formats` where there are any). `formats` of runs and first letters of such folders, `stands_in`: what
    takes its place here. `commands` may hold {task}.
    `tasks`: those that the paper scored it on; `impossible`: task -> why no command fills the cell.
    """

    needs: tuple[str, ...]
    commands: tuple[str, ...]
    same: tuple[str, ...]
    formats: tuple[str, ...] = ()
    stands_in: tuple[str, ...] = ()
    tasks: tuple[str, ...] = tuple(TASKS)
    impossible: Mapping[str, str] = field(default_factory=dict)


def _weights(model: str) -> str:
    return (f"giellm evaluate --model ganchengguang/{model} --format giellm-card --profile authors-mmm "
            "--task {task}")


_SCPOS = tuple(name for name in TASKS if name.startswith("scpos"))
ROADS: dict[str, Road] = {
    "SLG Framework": Road(
        ("Hub",), ("giellm evaluate --system slg --profile slg-t5-ja --task {task}",),
        ("slg-t5-ja", "sonoisa/t5-base-japanese"), ("slg",), ("slg",),
        impossible={"tcree": "its format for relations and events is not published"}),
    "USA-7B": Road(
        ("Hub", "GPU"), ("giellm evaluate --model ganchengguang/USA-7B-instruction-incontext-learning "
                         "--profile usa-7b --task {task}",),
        ("usa-7b-instruction-incontext-learning",), ("usa",), ("usa",), _SCPOS),
    "GPT-3.5-Turbo": Road(
        ("key", "Hub"),
        ("GIELLM_API_MODEL=gpt-3.5-turbo giellm in-context --profile authors-mmm --task {task}",),
        ("in-context-gpt-3.5-turbo",), (), ("in-context",)),
    "GIELLM-7B": Road(
        ("Hub", "GPU"), (_weights("GIELLM-7B"), "giellm run --profile giellm-7b"),
        ("giellm-7b", "meta-llama/Llama-2-7b-hf"), ("giellm", "giellm-card")),
    "GIELLM-13B": Road(
        ("Hub", "GPU"), (_weights("GIELLM-13b"), "giellm run --profile giellm-13b"),
        ("giellm-13b", "meta-llama/Llama-2-13b-hf")),
    "GIELLM-13B-JP": Road(
        ("Hub", "GPU"), (_weights("GIELLM-13B-jpllm"), "giellm run --profile giellm-13b-jp"),
        ("giellm-13b-jpllm", "llm-jp/llm-jp-13b-v1.0"))}


@dataclass(frozen=True)
class Ours:
    """One measurement of ours. `names`: what Road.same may call it; `format`: of a run, "" of a row;
    `entry`: its name in systems.registry; `mixed`: datasets of a run, all learned by one model, 0 of what
    learns none or each alone; `command`: what makes it; `run`: of a trained model, its run."""

    task: str
    system: str
    title: str
    data: str
    worth: int
    scores: SystemScores
    names: tuple[str, ...]
    format: str = ""
    entry: str = ""
    mixed: int = 0
    command: str = ""
    run: str = ""

    @property
    def key(self) -> tuple[int, int, int]:
        """Sorts the better first: the data, then one model for many datasets, as the paper's, then the number
        of documents."""
        return self.worth, -self.mixed, -self.scores.n

    def score(self, level: PaperLevel) -> Score | None:
        metrics = SHARE if self.task.startswith("scpos") else EXACT
        return self.scores.all.get(metrics[level])


@dataclass(frozen=True)
class Line:
    """One row: a system of the paper ("" for one of ours alone), what was measured, how to fill it; `title`:
    of one of ours that was not."""

    task: str
    system: str
    ours: Ours | None
    status: str
    commands: tuple[str, ...] = ()
    paper: dict[PaperLevel, Accuracy] = field(default_factory=dict)
    title: str = ""

    def cell(self, level: PaperLevel) -> str:
        """Printed, ours with its interval and the difference in points, a line each."""
        found, score = self.paper.get(level), self.ours and self.ours.score(level)
        printed = None if found is None else found.value
        mark = " (?)" if found and found.note else ""
        lines = [MISSING if printed is None else f"{printed:.2f}{mark}", score_cell(score)]
        if printed is not None and score and score.value is not None:
            lines.append(f"Δ {100 * score.value - printed:+.1f}")
        return MISSING if set(lines) == {MISSING} else "\n".join(lines).replace(" ", SPACE)

    @property
    def named(self) -> str:
        """Whose row it is: the paper's system, or one of ours."""
        if self.ours and self.ours.run and not self.system:
            return f"{self.ours.title} (run {self.ours.run})"
        return self.system or (self.ours.title if self.ours else self.title)

    def rests_on(self, notes: dict[str, int]) -> str:
        """The status, and by the number of a note what was measured and on how many documents."""
        if self.ours is None:
            return self.status
        said = f"{self.ours.title} · {self.ours.data}" if self.system else self.ours.data
        number, n = notes.setdefault(said, len(notes) + 1), f"n = {self.ours.scores.n:,}"
        return f"{self.status} ({number}), {n.replace(' ', SPACE)}"


# -- what was measured -----------------------------------------------------------------------------------


def measured(results: Path) -> list[Ours]:
    """Every run's joint model and floors, and every row of results/systems, the better first."""
    found = [ours for path in sorted(results.glob("*/provenance.json")) for ours in _of_run(path.parent)]
    found += [Ours(r.task, r.system, r.title, r.provenance.title, _worth(r.source), r.scores, (r.system,),
                   entry=r.entry, command=r.command)
              for r in system_rows(results) if r.level == "joint" and r.task in TASKS]
    return sorted(found, key=lambda o: o.key)


def _of_run(folder: Path) -> Iterable[Ours]:
    results = RunResults(folder)
    scores, trainings = results.scores, results.trainings
    if not scores or not trainings:
        return
    model, fmt = trainings[0], results.format
    profile = results.manifest(artifacts.CONVERT).get("profile")
    command = f"giellm run --profile {profile}" if profile else ""
    written = "" if fmt == "giellm" else f", format {fmt}"
    for task, systems in scores.tasks.items():
        data = results.provenance[task]
        base = (task, data.title, _worth(_source(data)))
        for name, found in systems.items():
            if task in TASKS and name == "joint":
                yield Ours(task, name, f"{model.model}, {METHODS[model.method]}{written}", *base[1:], found,
                           (model.base,), fmt, name, len(scores.tasks), command, folder.name)
            elif task in TASKS and name in _FLOORS:
                yield Ours(task, name, registry.title(name), *base[1:], found, (name,),
                           entry=name, command=command)


def _source(data: Provenance) -> str:
    """What SystemResult.source would say of a run's data; a Hub dataset by the YAML among its files."""
    names = [f.name.removesuffix(".yaml") for f in data.files if f.name.endswith(".yaml")]
    if names:
        return names[0]
    return "embedded" if data.source == "embedded mini corpus" else "open"


def _worth(source: str) -> int:
    return next(i for i, start in enumerate(_BY_WORTH) if source.startswith(start))


def is_the_papers(ours: Ours) -> bool:
    """Whether it was scored on the authors' own data."""
    return ours.worth < _BY_WORTH.index("open")


# -- the table -------------------------------------------------------------------------------------------


def lines(found: Sequence[Ours], tasks: Iterable[str] = tuple(TASKS)) -> list[Line]:
    """The rows of `tasks`: the paper's systems in its order, then those of ours that it has not, what was not
    run here last."""
    made: list[Line] = []
    for task in tasks:
        mine, used = [o for o in found if o.task == task], []
        for system in SYSTEMS:
            line = _line(task, system, mine)
            used += [line.ours] if line.ours else []
            made.append(line)
        others = _others(mine, used)
        made += [Line(task, "", o, _own_status(o), (o.command,) if o.command else ()) for o in others]
        made += _not_run(task, {o.entry for o in mine})
    return made


def _not_run(task: str, measured_here: set[str]) -> list[Line]:
    """The registered systems that could not be run here, each with what it needs and its command."""
    return [Line(task, "", None, "needs " + " and ".join(e.needs), (e.command.format(task=task),),
                 title=e.title)
            for name, e in registry.entries().items()
            if e.needs and name not in measured_here and e.applies(TASKS[task])]


def _line(task: str, system: str, mine: Sequence[Ours]) -> Line:
    road = ROADS[system]
    paper = {c.inferred: c for c in ACCURACIES if (c.system, c.task) == (system, task)}
    if task not in road.tasks:
        return Line(task, system, None, "not in the paper", (), paper)
    same = [o for o in mine if set(o.names) & set(road.same)
            and (not o.format or not road.formats or o.format in road.formats)]
    near = [o for o in mine if o not in same and (o.format in road.formats and o.format
                                                  or o.system.startswith(road.stands_in or ("\0",)))]
    ours = next(iter([*same, *near]), None)
    needs = " needs " + " and ".join(road.needs)
    if reason := road.impossible.get(task):
        return Line(task, system, None, f"not possible: {reason}", (), paper)
    if ours is None:
        status = needs.strip()
    elif not same:
        status = f"the paper's{needs}; here a stand-in model{'' if is_the_papers(ours) else ' and data'}"
    else:
        status = "measured here" if is_the_papers(ours) else "stand-in data"
    return Line(task, system, ours, status, tuple(c.format(task=task) for c in road.commands), paper)


def _others(mine: Sequence[Ours], used: Sequence[Ours]) -> list[Ours]:
    """Our systems that stand beside none of the paper's, each once, on its best data; and every model that we
    trained on that data, whatever it stands beside."""
    taken = {o.system for o in used}
    best: dict[str, Ours] = {}
    for ours in mine:
        if ours.system not in taken and not ours.run:
            best.setdefault(ours.system, ours)
    runs = [o for o in mine if o.run]
    return [*(o for o in runs if o.worth == min(r.worth for r in runs)),
            *(best[name] for name in registry.ordered(best))]


def _own_status(ours: Ours) -> str:
    return "measured here" + ("" if is_the_papers(ours) else ", stand-in data")


HEAD = ("dataset", "system", *(f"{level}: paper, ours, Δ" for level in LEVELS), "status", "command")
LEGEND = (
    "Per cent; in each cell the paper's printed value, ours with its 95 % bootstrap interval over documents, "
    "and ours minus the paper's in points. WL is the exact match of all words on SCNM and TCREE, the share "
    "of words on SCPOS (inferred; the paper does not say). (?): its header is inferred, "
    "`reporting/published.py` says from what. Ours stand on other data and, where the status says so, on "
    "another model: beside the paper, not against it. What needs the Hub, a GPU or a key was not run here. "
    "The command fills the cell, with `giellm tables` after it and, for a run, `giellm publish RUN` between. "
    "A key stands in `GIELLM_API_KEY`, and `--stop-at-dollars` holds a limit. `giellm run` of the paper's "
    "own models trains them on the open data here. Of our runs the scores of free decoding are shown, where "
    "there are any; under the grammars: docs/results.md, Free against constrained decoding.")


def _rows(found: Sequence[Line]) -> tuple[list[tuple[str, ...]], list[str]]:
    """The cells of every line in the order of HEAD, and the numbered notes that they name."""
    notes: dict[str, int] = {}
    rows = [(TASKS[line.task].title, line.named, *(line.cell(level) for level in LEVELS),
             line.rests_on(notes), "\n".join(line.commands) or MISSING) for line in found]
    return rows, [f"({number}) {said}." for said, number in notes.items()]


def markdown(results: Path, tasks: Iterable[str] = tuple(TASKS)) -> str:
    """The table of `tasks` for documents."""
    def shown(cells: tuple[str, ...]) -> list[str]:
        *cells, commands = cells
        code = MISSING if commands == MISSING else "\n".join(f"`{c}`" for c in commands.split("\n"))
        return [c.replace("\n", "<br>") for c in (*cells, code)]

    rows, notes = _rows(lines(measured(results), tasks))
    return (rows_to_markdown(HEAD, map(shown, rows)) + f"\n{LEGEND}\n"
            + "".join(f"\n{note}\n" for note in notes))


def view(results: Path, tasks: Iterable[str] = tuple(TASKS), run: ScoresFile | None = None,
         data: Mapping[str, Provenance] | str = "this run's data") -> Html:
    """The table of `tasks` for a notebook; with `run`, that run's joint model as the last row of each dataset
    that it has. `data`: what that run was scored on, by task or the title of all of it."""
    tasks = [t for t in tasks if t in TASKS]
    found = lines(measured(results), tasks)
    for task in tasks if run else ():
        if joint := run.tasks.get(task, {}).get("joint"):
            title = data if isinstance(data, str) else data[task].title
            ours = Ours(task, "this run", "this run, joint", title, 0, joint, ())
            at = max(i for i, line in enumerate(found) if line.task == task) + 1
            found.insert(at, Line(task, "", ours, "this notebook"))
    rows, notes = _rows(found)
    return html.text_table(HEAD, rows, [LEGEND.replace("`", ""), *notes], code=len(HEAD) - 1)
