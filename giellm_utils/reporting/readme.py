"""Result tables of the README, made from results/: `<!-- results:RUN -->` ... `<!-- /results -->` is
replaced, so that no score there is typed by hand; `<!-- table:FILE -->` takes a table that a command
wrote into results/. `python -m giellm_utils.readme`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from giellm_utils.core.files import write_text
from giellm_utils.core.paths import ROOT
from giellm_utils.evaluation.score import COMPARED
from giellm_utils.reporting.results import Results
from giellm_utils.reporting.titles import METRIC_TITLES, SYSTEM_TITLES

METRICS = ("tl", "wl_exact", "all", "f1", "format_accuracy")
_MARKED = re.compile(r"(<!-- (results|effects|decodings|table):(\S+) -->\n)(.*?)(<!-- /\2 -->)", re.S)


def cell(score: dict[str, Any] | None) -> str:
    """`83.8 [75.0, 91.2]`, per cent; a dash where the metric does not apply."""
    if not score or score["value"] is None:
        return "–"
    return f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def results_table(results: Results) -> str:
    """Datasets and systems by METRICS, with the source, the sizes and the training times."""
    scores, trainings = results.read("scores.json"), results.read("trainings.json")
    lines = ["| dataset | system | " + " | ".join(METRIC_TITLES.get(m, m.replace("_", " ")) for m in METRICS) + " | n |",
             "| --- | --- |" + " --- |" * (len(METRICS) + 1)]
    for task, systems in scores["tasks"].items():
        for system, groups in systems.items():
            n = next((v["n"] for v in groups["all"].values() if v and v.get("n")), "–")
            lines.append(f"| {task} | {SYSTEM_TITLES[system]} | "
                         + " | ".join(cell(groups["all"].get(m)) for m in METRICS) + f" | {n} |")
    times = ", ".join(f"{t['job']} {t['sequences']:,} sequences, {t['steps']} steps, {t['seconds'] / 60:.1f} minutes"
                      for t in trainings)
    return "\n".join([*lines, "", f"Per cent with 95 % bootstrap intervals over documents. {results.source()}. "
                      f"Training on {trainings[0]['device'].upper()}, {trainings[0]['dtype']}: {times}.", ""])


def effects_table(results: Results) -> str:
    """Joint minus single level, percentage points, with the verdict."""
    rows = results.read("mre.json")["effects"]
    lines = ["| dataset | metric | against | joint | single | difference | verdict |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for e in rows:
        if e["metric"] in METRICS and e["difference"] is not None:
            lines.append(f"| {e['task']} | {METRIC_TITLES[e['metric']]} | {SYSTEM_TITLES[e['single_level']]} | "
                         f"{100 * e['joint']:.1f} | {100 * e['single']:.1f} | {100 * e['difference']:+.1f} "
                         f"[{100 * e['low']:+.1f}, {100 * e['high']:+.1f}] | {e['verdict']} |")
    return "\n".join([*lines, ""])


def decodings_table(results: Results) -> str:
    """Free against constrained decoding of the joint job."""
    if (decodings := results.read("decodings.json")) is None:
        return "Not measured yet.\n"
    lines = ["| dataset | decoding | " + " | ".join(METRIC_TITLES[m] for m in COMPARED) + " | n | items/s |",
             "| --- | --- |" + " --- |" * (len(COMPARED) + 2)]
    for task, jobs in decodings["tasks"].items():
        for decoding in ("free", "constrained"):
            if found := jobs.get("joint", {}).get(decoding):
                speed = found["items_per_second"]
                lines.append(f"| {task} | {decoding} | " + " | ".join(cell(found[m]) for m in COMPARED)
                             + f" | {found['tl']['n']} | {'–' if speed is None else f'{speed:.1f}'} |")
    training = results.read("trainings.json")[0]
    return "\n".join([*lines, "", f"Per cent with 95 % bootstrap intervals over documents. {results.source()}. "
                      f"Items a second on {training['device'].upper()}, {training['dtype']}.", ""])


def render(document: str, results: Path) -> str:
    """`document` with every marked table made anew from `results`/<run>/."""
    def table(match: re.Match[str]) -> str:
        start, kind, run, _, end = match.groups()
        if kind == "table":
            table = results / run
            return start + (table.read_text(encoding="utf-8").rstrip() if table.exists() else "Not measured yet.") \
                + "\n" + end
        make = {"results": results_table, "effects": effects_table, "decodings": decodings_table}[kind]
        return start + make(Results(results / run)) + end

    return _MARKED.sub(table, document)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    write_text(readme, render(readme.read_text(encoding="utf-8"), ROOT / "results"))
    print("README.md: tables made anew from results/")
