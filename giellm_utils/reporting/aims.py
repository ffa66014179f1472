"""What this repository set out to reach, and what committed results say of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

from giellm_utils.core.files import read_json
from giellm_utils.core.plan_record import MemoryFile
from giellm_utils.reporting.plan_tables import TENTH, within
from giellm_utils.reporting.results import RunResults
from giellm_utils.reporting.tables import MISSING, rows_to_markdown, score_cell
from giellm_utils.reporting.titles import metric_title

NAME = "aims"
#: (what, the aim, what was reached, the file it is read from, what stands in the way)
Row = tuple[str, str, str, str, str]


def table(results: Path) -> str:
    """One row an aim: what was aimed at, what was reached, from which file, and what stands in the way."""
    return rows_to_markdown(("what", "aim", "reached", "from", "what stands in the way, or limits it"),
                            [*_training(results), *_decoding(results), *_rest(results)])


def _times(value: float) -> str:
    return f"{value:.1f} ×" if value >= 2 else f"{value:.2f} ×"


def _read(results: Path, name: str) -> Any:
    path = results / name
    return read_json(path) if path.exists() else None


#: What a step is spent on, by the instructions that multiply bf16.
LIMITS = {"AMX": "products of weights that come from memory, and passes (LOG.md, before these were compiled)",
          "AVX512-BF16": "products take most of a step, as fast as they are alone (LOG.md)"}

DECODING = {"AVX512-BF16": "; that is two thirds of what products alone allow (LOG.md)"}


def _training(results: Path) -> Iterator[Row]:
    for path in sorted((results / "training").glob("*.json")):
        found, name = read_json(path), f"training/{path.name}"
        ways, ours, processor = found["ways"], found["ways"]["ours"], found["instructions"]
        speed = {key: way["sequences_per_second"] for key, way in ways.items()}
        yield (f"{processor}: sequences a second against ours without its levers", "4 ×",
               _times(speed["ours"] / speed["ours_dropout"]), name,
               f"{LIMITS.get(processor, 'not looked into')}; products alone would allow "
               f"{_times(speed['ours'] / ours['share_of_ceiling'] / speed['ours_dropout'])}. Without its "
               "levers it has the padding and optimizer of today")
        yield (f"{processor}: share of what a product of these shapes reaches", "30 %",
               f"{100 * ours['share_of_ceiling']:.0f} %", name,
               f"a product alone: {ours['ceiling_tflops']:.2f} TFLOP/s")
        yield (f"{processor}: against transformers' Trainer with its defaults", "6 ×",
               _times(speed["ours"] / speed["trainer"]), name, "sittings differ (LOG.md)")
        yield (f"{processor}: the loss after the same sequences", "the same",
               f"{ours['held_out_loss']:.3f}, Trainer {ways['trainer']['held_out_loss']:.3f}", name,
               f"one seed; {_alike(ways)}{_on_dev(results)}")


def _alike(ways: dict[str, Any]) -> str:
    """Ours without the levers that move the loss, where that was measured."""
    if not (alike := ways.get("ours_alike")):
        return ""
    times = alike["sequences_per_second"] / ways["trainer"]["sequences_per_second"]
    return (f"in random order and over all output rows, as Trainer has it, {alike['held_out_loss']:.3f} at "
            f"{_times(times)} its speed; ")


def _on_dev(results: Path) -> str:
    """What the levers did to the dev loss over seeds."""
    name = "dev-loss/scnm-open.json"
    found = _read(results, name)
    if not found or "recipe" not in found["levers"]:
        return "what the order of batches and dropout do to it over seeds was not measured"
    means = {key: mean(lever["losses"]["rows"].values()) for key, lever in found["levers"].items()}
    said = ", ".join(f"{found['levers'][key]['title']} {value - means['recipe']:+.3f}"
                     for key, value in means.items() if key != "recipe")
    return (f"on dev, against ours, means of {len(found['seeds'])} seeds over the allowed rows: {said} "
            f"({name})")


def _decoding(results: Path) -> Iterator[Row]:
    for path in sorted((results / "bench").glob("*.json")):
        found, name = read_json(path), f"bench/{path.name}"
        if not {"ours", "library_forward"} <= found["systems"].keys():
            continue
        # Files of before it was noted were made on a processor without AMX.
        processor = found.get("instructions", "AVX512-BF16")
        ours, theirs = (found["systems"][key] for key in ("ours", "library_forward"))
        yield (f"{processor}: items a second against decoding through the library's forward", "2.5 ×",
               _times(ours["items_per_second"] / theirs["items_per_second"]), name,
               f"{ours['items_per_second']:.1f} items a second, {theirs['same_output_as_ours']:.1%} of the "
               f"outputs the same{DECODING.get(processor, '')}".replace("%", " %"))
    name = "extract/scnm-tcree.json"
    if found := _read(results, name):
        whole, parts = median(found["command"]), sum(map(median, found["parts"].values()))
        yield ("the first answer of `giellm extract`", "5 s", f"{whole:.2f} s", name,
               f"imports, weights and grammars take most of it; its parts add up to {parts:.2f} s")


def _rest(results: Path) -> Iterator[Row]:
    name = "memory/scnm-open.json"
    if found := _read(results, name):
        cases = MemoryFile.model_validate(found).cases
        models = ", ".join(dict.fromkeys(case.model for case in cases))
        yield (f"planned peak memory within {TENTH} of the measured one", "every case of three models",
               f"{sum(map(within, cases))} of {len(cases)} cases", name,
               f"measured: {models}; the share for holes in the heap was read off these very cases, of which "
               "8 were within it before (LOG.md)")
    name = "mini/manifests.json"
    if found := _read(results, name):
        minutes = sum(stage["seconds"] for stage in found.values()) / 60
        yield ("`make run` on all of the embedded corpus", "10 minutes",
               f"{minutes:.0f} minutes on part of it", name,
               "three trainings of six datasets take most of it")
    yield from _weights(results)
    yield ("the engine of DeepSpeed's ZeRO-3 at toy size", "built where DeepSpeed is installed",
           "trained with, by hand", MISSING,
           "CI has no DeepSpeed and skips its tests; LOG.md has the commands")


def _weights(results: Path) -> Iterator[Row]:
    if not (folder := results / "weights").exists():
        return
    found = RunResults(folder).scores.tasks["scnm"]["joint"].all
    why = ("270 million parameters and 900 sentences to learn from, three recipes of LoRA tried (LOG.md), "
           "the last of which reads each text twice; full fine-tuning, averaged checkpoints, beams and the "
           "model's own labels were not tried")
    for aim, key, limit in (("89 %", "tl", why), ("80 %", "f1", ""), ("55 %", "all", "")):
        yield (f"weights/ on the SCNM test sentences: {metric_title(key)}", aim,
               score_cell(found[key]), "weights/scores.json", limit)
