"""Every claim of the paper beside what was done here and what was found.

The paper's numbers are those of published.py, ours are read from results/; none is typed here. Ours stand
on other data and another model, so a row says what the same question gave here, and never that a number of
the paper was met.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Effect, Score
from giellm_utils.core.conditions import MIXTURE
from giellm_utils.core.files import read_json
from giellm_utils.core.mre_report import BoundReport, MreReport
from giellm_utils.core.plan_record import PlanFile
from giellm_utils.data.registry import TASKS
from giellm_utils.reporting import published
from giellm_utils.reporting.beside_paper import is_the_papers, measured, Ours, ROADS, WORST
from giellm_utils.reporting.mre_tables import FOLDER, interval, points
from giellm_utils.reporting.mre_titles import condition_title, p_text, task_title, verdict
from giellm_utils.reporting.plan_tables import gib, way
from giellm_utils.reporting.published import accuracy_table, GIELLM_SYSTEMS, LEVELS, SIZES, TRAINING
from giellm_utils.reporting.results import RunResults
from giellm_utils.reporting.tables import rows_to_markdown, score_cell
from giellm_utils.reporting.titles import metric_title
from giellm_utils.systems import registry

NAME = "claims"
NOT_YET = "not measured yet"
#: Machines of results/plan that are shown: the paper's, and one device of it.
MACHINES = ("8xA800-80GB", "1xA800-80GB")
#: Our runs: one model of all six datasets as the paper's, and those that stand beside it.
SIX, ALONE, TWO, SLG, USA = "open-six", "open-scnm", "weights", "scnm-slg-gemma", "usa-gemma"
SMALL = "mini"
HEAD = ("claim of the paper", "what we did", "what we found", "status, deviations")
LEGEND = (
    "Per cent with 95 % bootstrap intervals over documents (those of the experiment: as they say); "
    "differences in points. TL, WL and ALL of ours are read as in the table cell by cell: WL of SCPOS is the "
    "share of gold words that are found, which ALL, where all words are exact, does not build on. Of a run "
    "the scores of free decoding are shown, where there are any. *Apart*: the two intervals do not overlap, "
    "which is no paired test; n may differ between the two (of few texts a score can be 0 with an interval "
    "of no width). The paper's cells stand under the levels that we infer where its headers are shifted.")

#: Dataset -> one system of ours on it.
ByTask = Mapping[str, Ours]


@dataclass(frozen=True)
class Row:
    """One claim. `found` has a line a finding, and none where nothing was measured; `state` says how far the
    claim was followed, where something was."""

    claim: str
    did: str
    found: Sequence[str]
    state: str
    deviations: str

    @property
    def cells(self) -> tuple[str, ...]:
        state = self.state if self.found else NOT_YET
        return (self.claim, self.did, "<br>".join(self.found) or NOT_YET, f"**{state}**: {self.deviations}")


class Evidence:
    """What the rows are made from: one folder of results."""

    def __init__(self, results: Path) -> None:
        self.results = results

    @cached_property
    def _measured(self) -> list[Ours]:
        return measured(self.results)

    def run(self, name: str) -> ByTask:
        """The joint model of a run."""
        return {o.task: o for o in self._measured if o.run == name}

    def system(self, entry: str) -> ByTask:
        """A system that is no training of ours, on the open data, where it was scored on the most texts."""
        found: dict[str, Ours] = {}
        for ours in self._measured:
            if ours.entry == entry and not ours.run and not is_the_papers(ours) and ours.worth < WORST:
                found.setdefault(ours.task, ours)
        return found

    def results_of(self, name: str) -> RunResults | None:
        folder = self.results / name
        return RunResults(folder) if (folder / "provenance.json").exists() else None

    def path(self, *parts: str) -> Path | None:
        """A file of results, None where it is not there."""
        path = self.results.joinpath(*parts)
        return path if path.exists() else None


def table(results: Path) -> str:
    """One row a claim, and how to read them."""
    evidence = Evidence(results)
    return rows_to_markdown(HEAD, [make(evidence).cells for make in ROWS]) + f"\n{LEGEND}\n"


# -- the Mutual Reinforcement Effect ---------------------------------------------------------------------


def _reinforcement(evidence: Evidence) -> Row:
    joint, text, words = published.MRE
    analysis = _analysis(evidence)
    tasks = dict.fromkeys(task_title(e.task) for e in (analysis.effects if analysis else ())
                          if e.role == "primary")
    state = "under way" if not analysis else ("looked at before it is whole, on stand-in data"
                                              if analysis.partial else "compared on stand-in data")
    return Row(
        f"The two levels reinforce each other (MRE). TCREE: joint TL {joint.tl:.2f}, WL {joint.wl:.2f}, ALL "
        f"{joint.all:.2f}; {text.training} TL {text.tl:.2f}, so joint {points((joint.tl - text.tl) / 100)}; "
        f"{words.training} WL {words.wl:.2f}, so joint {points((joint.wl - words.wl) / 100)}",
        "The experiment of PROTOCOL.md: joint against each level alone, paired by seed, intervals over "
        f"documents and seeds, on open stand-ins ({'; '.join(tasks) or 'SCNM and TCREE first'}). Beside it "
        f"the trainings of `{SMALL}` and what gold alone lets one level tell of the other",
        [*_trials(evidence), *_small(evidence), *_bound(evidence)],
        state,
        f"what `{SMALL}` says is one seed on machine-written texts and decides nothing. TCREE's labels are "
        "ours, the model is small and trained with LoRA; the paper's joint row was most likely measured on "
        "SLG (inferred). Not pre-registered; an earlier run was looked at once and is lost (PROTOCOL.md)")


def _analysis(evidence: Evidence) -> MreReport | None:
    path = evidence.path(FOLDER, "analysis.json")
    return artifacts.read(path, MreReport) if path else None


def _trials(evidence: Evidence) -> Iterator[str]:
    if not (found := _analysis(evidence)):
        yield "Experiment: nothing compared before stages i and ii are whole (`giellm mre status`)"
        return
    primary = [e for e in found.effects if e.role == "primary"]
    for e in primary:
        yield (f"{task_title(e.task)}, {metric_title(e.metric)}, joint minus {condition_title(e.b)}, "
               f"{len(e.seeds)} seeds: {points(e.value)} {interval(e.low, e.high)} (over documents and "
               f"seeds, alone), Holm p of a difference {p_text(e.holm_p)}, of none beyond "
               f"±{100 * found.margin:g} {p_text(e.tost_holm_p)}, over {found.planned} planned, "
               f"{len(primary)} made: {verdict(e)}")


def _small(evidence: Evidence) -> Iterator[str]:
    """TCREE's differences on the embedded corpus, and how many of the other datasets' went which way."""
    run = evidence.results_of(SMALL)
    effects = [e for e in (run.mre.effects if run and run.mre else ())
               if e.metric in ("tl", "wl_exact") and e.difference is not None]
    yield from (f"`{SMALL}`, {_effect(e)}" for e in effects if e.task == "tcree")
    others = [e for e in effects if e.task != "tcree"]
    if others:
        counted = ", ".join(f"{n} {said}" for said, n in Counter(e.verdict for e in others).most_common())
        yield f"`{SMALL}`, TL and WL of the other {len({e.task for e in others})} datasets: {counted}"


def _effect(e: Effect) -> str:
    return (f"{task_title(e.task)}, {metric_title(e.metric)}: joint {100 * e.joint:.1f}, "
            f"{registry.title(e.single_level)} {100 * e.single:.1f}, {points(e.difference)} "
            f"{interval(e.low, e.high)}, {e.verdict}, n = {e.n}")


def _bound(evidence: Evidence) -> Iterator[str]:
    if path := evidence.path(FOLDER, "bound.json"):
        gains = {t.task: t.gain for t in artifacts.read(path, BoundReport).tasks}
        yield ("Gold words add to a plain classifier of the text: " + "; ".join(
            f"{task_title(task)} {points(gain.value)} {interval(gain.low, gain.high)}"
            for task, gain in gains.items() if task in ("scnm", "tcree")))


# -- against other systems -------------------------------------------------------------------------------


def _best_of_all(evidence: Evidence) -> Row:
    best = accuracy_table("printed").idxmax().isin(GIELLM_SYSTEMS)
    crf, six = evidence.system("crf"), evidence.run(SIX)
    lines = [f"`{SIX}` against {registry.title(entry)}: {said}" for entry in ("crf", "majority")
             if (said := _against(six, evidence.system(entry)))]
    named = {f"`{SIX}`": six, registry.title("crf"): crf, f"`{TWO}`": evidence.run(TWO),
             f"`{SLG}`": evidence.run(SLG)}
    lines += [f"ALL, {TASKS[task].title}: " + "; ".join(
        f"{name} {score_cell(found[task].score('ALL'))} (n = {found[task].scores.n:,})"
        for name, found in named.items() if task in found) for task in six]
    return Row(
        f"“{published.CLAIM}” Of the {len(best)} columns as printed in what is held here, a GIELLM model is "
        f"best in {best.sum()} (our count; one of them may set WL beside ALL)",
        f"One small model on all six open datasets (`{SIX}`) beside a CRF with logistic regression, a floor, "
        "and other models of ours, on test sentences of the same split (of SCNM's a part, the CRF all)",
        lines, "not done as such, a stand-in only",
        "no system of the paper was run, and nothing on its data. On SCPOS the words are made by rule from a "
        "lexicon, which the look-up in that lexicon therefore finds in full: no rival, and left out here")


def _slg(evidence: Evidence) -> Row:
    return _rival(
        evidence, "SLG Framework",
        "SLG's format on the small model, trained on SCNM alone, its first token forced; the same test "
        f"sentences as `{SIX}` and `{ALONE}` in GIELLM's format",
        {f"`{SIX}`, six datasets": evidence.run(SIX), f"`{ALONE}`, SCNM alone": evidence.run(ALONE),
         f"`{SLG}`, SCNM alone": evidence.run(SLG)},
        "done for SCNM with a stand-in",
        "the format is SLG's, its T5 is not; the recipes differ. Not done on SCPOS and TCREE: its T5 cannot "
        "be had here, and its format for TCREE is not published")


def _usa(evidence: Evidence) -> Row:
    return _rival(
        evidence, "USA-7B", "USA's format on the small model, trained on the four SCPOS sets alone",
        {f"`{SIX}`": evidence.run(SIX), f"`{USA}`": evidence.run(USA)}, "done with a stand-in",
        "the format is USA's, its model is not; the recipes differ, and its one Instruction Word does not "
        "say which parts of speech are meant")


def _chat(evidence: Evidence) -> Row:
    return _rival(
        evidence, "GPT-3.5-Turbo", "The base model without training, in context with examples from train",
        {f"`{SIX}`": evidence.run(SIX), "in context": evidence.system("in-context")},
        "not done with the paper's model, a stand-in only",
        "there is no key here; the stand-in is far smaller and answered few texts")


def _rival(evidence: Evidence, system: str, did: str, ours: Mapping[str, ByTask], state: str,
           deviations: str) -> Row:
    """A system of the paper against its best GIELLM, and what stands for both here; the last of `ours` (title
    -> scores) stands for `system`."""
    other = list(ours.values())[-1]
    lines = [f"`{SIX}` against the stand-in: {said}"] if (said := _against(evidence.run(SIX), other)) else []
    lines += [f"TL / WL / ALL, {TASKS[task].title}: " + "; ".join(
        f"{name} {_three(found[task])}" for name, found in ours.items() if task in found)
        for task in TASKS if task in other]
    return Row(f"GIELLM against {system}: {_printed(system)}", did, lines, state,
               f"{deviations}. The paper's own needs {_needs(system)}")


def _printed(system: str) -> str:
    """In how many cells that both have at one level the best GIELLM is above, and the others."""
    cells = accuracy_table("inferred")
    best, theirs = cells.loc[list(GIELLM_SYSTEMS)].max().dropna(), cells.loc[system].dropna()
    both = best.index.intersection(theirs.index)
    below = [f"{task} {level} ({best[task, level]:.2f} against {theirs[task, level]:.2f})"
             for task, level in both if best[task, level] <= theirs[task, level]]
    return (f"the best of its models is above in {len(both) - len(below)} of the {len(both)} cells that both "
            "have" + (f", not in {', '.join(below)}" if below else ""))


def _against(a: ByTask, b: ByTask) -> str:
    """How often `a` is above `b` and below it, and how often with intervals apart; "" without any pair."""
    both = [(a[t].score(level), b[t].score(level)) for t in a if t in b for level in LEVELS]
    pairs = [(x, y) for x, y in both if _known(x) and _known(y)]
    if not pairs:
        return ""
    above, below = (sum(sign * (x.value - y.value) > 0 for x, y in pairs) for sign in (1, -1))
    higher, lower = sum(x.low > y.high for x, y in pairs), sum(x.high < y.low for x, y in pairs)
    return f"above in {above} of {len(pairs)} scores ({higher} apart), below in {below} ({lower} apart)"


def _known(score: Score | None) -> bool:
    return score is not None and score.value is not None


def _three(ours: Ours) -> str:
    return " / ".join(score_cell(ours.score(level)) for level in LEVELS) + f" (n = {ours.scores.n:,})"


def _needs(system: str) -> str:
    return " and ".join(ROADS[system].needs)


# -- one model, one format -------------------------------------------------------------------------------


def _one_model(evidence: Evidence) -> Row:
    alone, run, analysis = evidence.run(ALONE), evidence.results_of(SIX), _analysis(evidence)
    mixed = analysis and any(e.arm == MIXTURE for e in analysis.effects)
    lines = [f"{t.model}: {t.sequences:,} sequences, {t.steps:,} steps"
             for t in (run.trainings if run and run.trainings else ())]
    lines += [f"TL / WL / ALL, {TASKS[task].title}: {_three(ours)}"
              + (f"; alone (`{ALONE}`) {_three(alone[task])}" if task in alone else "")
              for task, ours in evidence.run(SIX).items()]
    return Row(
        f"One model does all {len(SIZES)} datasets, trained on {sum(s.train for s in SIZES):,} sequences "
        "mixed",
        f"The same mix of open stand-ins in one training (`{SIX}`)", lines, "done on stand-in data",
        "one seed; set against training on one dataset alone for SCNM only, and by another recipe. What a "
        "level gains in such a mix (stage vii of PROTOCOL.md): "
        + ("in results/mre" if mixed else "not done yet"))


def _format(evidence: Evidence) -> Row:
    words = {part.instruction for task in TASKS.values() for part in task.parts}
    known = defaultdict(list)
    for task in TASKS.values():
        known[task.published].append(task.title)
    return Row(
        "Every task is written as text to text (Format Converter), and an Instruction Word says what to "
        f"extract; seen are {', '.join(published.INSTRUCTION_WORDS)}",
        "The formats of GIELLM, its model cards, SLG, USA and OIELLM. Property tests read targets back "
        "exactly: in GIELLM's format of any text (tests/formats/test_giellm.py), in the others of texts "
        "without their marks (tests/formats/test_published.py)",
        [f"Instruction Words of our format: {len(words)}, published among them: "
         f"{len(words & set(published.INSTRUCTION_WORDS))}",
         *(f"Published of {', '.join(titles)}: {said}" for said, titles in known.items())],
        "built",
        "the templates of the other tasks, the escape rule and the canonical order are ours, inferred from "
        "SCNM's, and were never held against the authors' code")


def _follows(evidence: Evidence) -> Row:
    theirs = published.FORMAT_ACCURACY
    return Row(
        f"Outputs keep to the format. SLG's Constraint Mechanism: format accuracy {theirs.free:.2f} before, "
        f"{theirs.constrained:.2f} with it ({theirs.source}); of GIELLM no number is held here",
        "Format accuracy of free decoding, with SLG's forced first token, and under a grammar that admits "
        "only well-formed outputs",
        [line for name in (SIX, USA, SLG, TWO) for line in _well_formed(evidence, name)],
        "measured on stand-in data",
        "another model than SLG's T5, and SLG's format was not decoded without its forced token, so what the "
        "token gains is not known here")


def _well_formed(evidence: Evidence, name: str) -> Iterator[str]:
    """The dataset of a run with the lowest format accuracy, by each way of decoding."""
    run = evidence.results_of(name)
    if not run or not run.decodings:
        return
    parameters = run.manifest(artifacts.EVALUATE).get("parameters", {})
    forced = parameters.get("generation.first_token") == "forced"
    titles = {"free": "first token forced" if forced else "free", "constrained": "under the grammar"}
    for decoding, title in titles.items():
        found = {task: made.scores for task, conditions in run.decodings.tasks.items()
                 if (made := getattr(conditions.get("joint"), decoding, None))}
        known = {task: scores for task, scores in found.items() if _known(scores.get("format_accuracy"))}
        if known:
            worst = min(known, key=lambda task: known[task]["format_accuracy"].value)
            lowest = f", the lowest of {len(known)} datasets" if len(known) > 1 else ""
            yield (f"`{name}`, {title}: {score_cell(known[worst]['format_accuracy'])} on "
                   f"{TASKS[worst].title}{lowest} (cut off by the limit of new tokens: "
                   f"{score_cell(known[worst].get('truncated'))})")


# -- models and data -------------------------------------------------------------------------------------


def _bases(evidence: Evidence) -> Row:
    best = accuracy_table("printed").loc[list(GIELLM_SYSTEMS)].idxmax().value_counts()
    lines = [f"Planned, {p.profile} on {p.devices}: {way(p.own)} {'fits' if p.own.fits else 'does not fit'}, "
             f"{gib(p.own.memory.total)} of {gib(p.capacity)} GiB a device, {p.effort.flops:.2g} FLOPs"
             for machine in MACHINES if (path := evidence.path("plan", f"{machine}.json"))
             for p in artifacts.read(path, PlanFile).plans]
    said = ", ".join(f"{name} ({base}) in {best.get(name, 0)}" for name, base in TRAINING.bases.items())
    return Row(
        f"Three base models, fully fine-tuned on {TRAINING.devices} × {TRAINING.device}, {TRAINING.epochs} "
        f"epochs, learning rate {TRAINING.learning_rate:g}, batch {TRAINING.batch_size} a device. Of "
        f"{best.sum()} printed columns the best of the three is {said} (our count)",
        "Profiles that train them so (`giellm-7b`, `giellm-13b`, `giellm-13b-jp`), and a plan of what that "
        "needs", lines, "not done",
        f"needs {_needs(GIELLM_SYSTEMS[0])}, as do the published weights; the plan is computed, and nothing "
        "of it was run")


def _sizes(evidence: Evidence) -> Row:
    path = evidence.path("corpus", "statistics.json")
    datasets = read_json(path)["datasets"] if path else {}
    ours = {s.task: datasets[s.task]["open"]["splits"] for s in SIZES if s.task in datasets}
    other = [TASKS[s.task].title for s in SIZES if s.task in ours and ours[s.task]["test"] != s.test]
    return Row(
        "Sequences of train / test: " + "; ".join(
            f"{TASKS[s.task].title} {s.train:,} / {s.test:,} ({s.text})" for s in SIZES),
        "Open corpora under our layers, train with dev cut to the paper's sizes",
        [f"{TASKS[task].title}: {splits['train'] + splits['dev']:,} / {splits['test']:,}"
         for task, splits in ours.items()],
        "stand-ins",
        "SCNM has the paper's sentences in our split, with classes that a machine assigned; the others have "
        "other texts and labels"
        + (f". Another size of test: {', '.join(other)}; the paper itself probably scored a part only "
           "(published.py, INFERRED)" if other else "") + ". The authors' files need the Hub")


#: In the order of the table.
ROWS: tuple[Callable[[Evidence], Row], ...] = (
    _reinforcement, _best_of_all, _slg, _usa, _chat, _one_model, _format, _follows, _bases, _sizes)
