"""The measurements' result files (results/bench, training, memory, extract and others) as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median
from typing import Any

from giellm_utils.core.artifacts import Score
from giellm_utils.core.calibration_report import CalibrationReport, Temperature, temperatures_line
from giellm_utils.core.calibration_report import FOLDER as CALIBRATION
from giellm_utils.core.chaos_record import ChaosFile, CLOSE, CONFIDENCES, DIGITS, KINDS
from giellm_utils.evaluation.score import COMPARED
from giellm_utils.evaluation.seeds import t_interval
from giellm_utils.reporting.plan_tables import memory_table, plan_table
from giellm_utils.reporting.tables import MISSING, rows_to_markdown

#: What a system's speed is given as a multiple of: the letter in its title -> its key in the result file.
BASES = {"(b)": "sorted_batches", "(a)": "one_at_a_time"}
#: Short heads for the many columns of one table, in the order of COMPARED.
SHORT = dict(zip(COMPARED, ("TL %", "WL %", "ALL %", "F1 %", "format %", "invented %", "cut %"), strict=True))


def factors(result: Mapping[str, Any], system: str) -> dict[str, str]:
    """How many times as fast as each of BASES `system` is: {"(b)": "4.1", "(a)": "12.3"}.

    Bases that were not measured are left out.
    """
    speeds = {name: s["items_per_second"] for name, s in result["systems"].items()}
    ratios = {letter: speeds[system] / speeds[base] for letter, base in BASES.items() if base in speeds}
    # 0.15 in one decimal would be a third off.
    return {letter: f"{ratio:,.1f}" if ratio >= 1 else f"{ratio:.2f}" for letter, ratio in ratios.items()}


def decoding_table(result: Mapping[str, Any]) -> str:
    """The ways of decoding of one file of results/bench, under a line on what was measured."""
    rows = []
    for name, system in result["systems"].items():
        times, scores = factors(result, name), (system["scores"].get(m) or {"value": None} for m in SHORT)
        rows.append((system["title"], f"{system['items_per_second']:.2f}", *(times.get(b) for b in BASES),
                     f"{system['tokens_per_second']:.0f}", f"{system['steps_per_item']:.1f}",
                     f"{system['forward_passes_per_item']:.2f}",
                     *(None if s["value"] is None else f"{100 * s['value']:.1f}" for s in scores)))
    flips = result["argmax_flips"]
    by = f" ({result['instructions']})" if "instructions" in result else ""
    return (f"{result['source']}. Run `{result['run']}`: {result['items']} texts of {result['split']}, "
            f"joint, {result['dtype']} on {result['device']}{by}, {result['threads']} threads, batch "
            f"{result['batch_size']}; the argmax of the allowed rows differs from the full output layer's in "
            f"{flips['flips']} of {flips['choices']} choices.\n\n"
            + rows_to_markdown(("system", "items/s", *(f"× {b}" for b in BASES), "tokens/s", "steps/item",
                                "passes/item", *SHORT.values()), rows))


def by_total(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The formats of a file of results/token_costs, the cheapest first."""
    return sorted(result["formats"].values(), key=lambda f: f["total"]["value"])


def token_table(result: Mapping[str, Any]) -> str:
    """The formats of one file of results/token_costs, the cheapest first, under a line on what was
    measured."""
    def said(score: Mapping[str, float], digits: int) -> str:
        return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"

    rows = [(f["title"], f["offers"], f"{f['calls']['value']:g}", said(f["tokens_in"], 1),
             said(f["tokens_out"], 1), said(f["total"], 1), said(f["times_joint"], 2))
            for f in by_total(result)]
    return (f"{result['source']}. Means a text over {result['n']} sentences, summed over its calls, with "
            "95 % bootstrap intervals over sentences; text class and all entities, gold answers. The peers' "
            "text-class part is ours where a format has none (UIE, InstructUIE, YAYI-UIE, IEPile, GoLLIE), "
            "instruction wording is ours throughout; one tokenizer for all.\n\n"
            + rows_to_markdown(("format", "labels in the prompt", "calls", "tokens in", "tokens out",
                                "tokens, in + out", "× ours, joint"), rows))


def training_table(result: Mapping[str, Any]) -> str:
    """The ways of training of one file of results/training, under a line on what was measured."""
    ways = result["ways"]
    base = ways.get("trainer", {}).get("sequences_per_second")
    # Before there were epochs, all was seen once.
    epochs = result.get("epochs", 1)
    timed = "The last epoch is timed." if epochs > 1 else "The first steps are not timed."
    rows = [(w["title"], f"{w['sequences_per_second']:.2f}",
             f"{w['sequences_per_second'] / base:.1f}" if base else None,
             f"{w['useful_tokens_per_second']:.0f}", f"{w['ceiling_tflops']:.2f}",
             f"{100 * w['share_of_ceiling']:.0f}", f"{w['peak_gib']:.1f}", f"{w['held_out_loss']:.3f}",
             f"{merged:.3f}" if (merged := w.get("held_out_loss_merged")) else None)
            for w in ways.values()]
    return (f"{result['source']}. {result['model']}, LoRA, joint: {result['sequences']} sequences of "
            f"{result['mean_tokens']:.0f} tokens, {epochs} epoch{'s' * (epochs > 1)}, batch "
            f"{result['batch_size']}, {result['processors']} cores, {result['instructions']}. Ceiling: a "
            "bf16 product of the model's shapes, measured before each way; share: 4 FLOPs a weight of the "
            "body and token, as if none "
            f"were left out, padding and output layer not counted. {timed} "
            f"Loss: of {result['held_out']} held-out texts over the whole vocabulary, one seed; with the "
            "adapter apart, and merged as it is decoded.\n\n"
            + rows_to_markdown(("way", "sequences/s", "× (a)", "tokens/s", "ceiling TFLOP/s", "share %",
                                "peak GiB", "loss", "loss, merged"), rows))


def dev_loss_table(result: Mapping[str, Any]) -> str:
    """The levers of one file of results/dev-loss: losses over seeds, and differences from the recipe."""
    seeds, recipe, rows = [str(seed) for seed in result["seeds"]], result["levers"].get("recipe"), []

    def apart(name: str, losses: Mapping[str, float], over: str) -> str:
        if not recipe or name == "recipe":
            return MISSING
        found = [losses[seed] - recipe["losses"][over][seed] for seed in seeds]
        if len(found) == 1:
            return f"{found[0]:+.4f}"
        return "{:+.4f} [{:+.4f}, {:+.4f}]".format(mean(found), *t_interval(found))

    for name, lever in result["levers"].items():
        cells = [(", ".join(f"{losses[seed]:.4f}" for seed in seeds), apart(name, losses, over))
                 for over, losses in lever["losses"].items()]
        rows.append((lever["title"], *(cell for pair in cells for cell in pair)))
    return (f"{result['source']}. {result['model']} in {result['dtype']}, LoRA, joint: {result['texts']} "
            f"texts, {result['epochs']} epochs, batch 8, {result['processors']} cores. Mean loss a target "
            f"token of the {result['dev']} dev texts, adapter merged, at seeds {', '.join(seeds)}, once over "
            "the whole vocabulary and once over the rows that a grammar could allow; differences are paired "
            "by seed, with Student's t over them.\n\n"
            + rows_to_markdown(("what", "loss, whole vocabulary", "against the recipe",
                                "loss, allowed rows", "against the recipe"), rows))


def first_answer_table(result: Mapping[str, Any]) -> str:
    """The parts of a first answer of one file of results/extract, and the whole command."""
    def said(seconds: Sequence[float]) -> tuple[str, str]:
        return f"{median(seconds):.2f}", f"{min(seconds):.2f} to {max(seconds):.2f}"

    rows = [(result["titles"][name], *said(seconds)) for name, seconds in result["parts"].items()]
    rows.append(("**the whole command**, timed from outside", *said(result["command"])))
    return (f"`{result['model']}` ({result['source']}), task {result['task']}, a text of "
            f"{result['characters']} characters, {len(result['command'])} times, each in a new process with "
            f"warm caches; {result['processors']} processors.\n\n"
            + rows_to_markdown(("part", "median, s", "from, to"), rows))


def chaos_table(result: Mapping[str, Any]) -> str:
    """The targets of one file of results/chaos, under a line on what was killed."""
    found, rows = ChaosFile.model_validate(result), []
    for name in found.unbroken:
        lives = [life for life in found.lives if life.target == name and life.kills]
        kills = [k for life in lives for k in life.kills]
        rows.append((name, len(kills), *(sum(k.victim == v for k in kills) for v in ("command", "child")),
                     len(lives), sum(k.left for k in kills),
                     f"{max((k.seconds for k in kills if k.victim == 'command'), default=0):.1f}",
                     *(sum(len(getattr(life.faults, kind)) for life in lives) for kind in KINDS)))
    return (f"Profile `{found.profile}`, {found.processors} processors, one thread a start. SIGKILL at a "
            "random moment, of the command or of one of its children, and the same command again until it "
            "ends; the end is compared with that of a start that nobody killed: rows and files must be the "
            f"same, weights and losses to {CLOSE:g}, scores to {DIGITS} digits, confidences of a text to "
            f"{CONFIDENCES:g}.\n\n"
            + rows_to_markdown(("what was killed", "kills", "of the command", "of a child",
                                "ends compared", "processes alive 60 s after", "longest end of children, s",
                                *KINDS), rows))


def calibration_table(result: Mapping[str, Any]) -> str:
    """Datasets and levels of one file of results/calibration, under a line on what was measured."""
    report = CalibrationReport.model_validate(result)

    def said(score: Score, sign: str = "") -> str:
        return "{:{s}.1f} [{:{s}.1f}, {:{s}.1f}]".format(
            *(100 * v for v in (score.value, score.low, score.high)), s=sign)

    def temperature(t: Temperature) -> tuple[str | None, ...]:
        if t.fitted:
            return (f"{t.value:.2f}", said(t.before), said(t.after), f"{t.whole:.2f}" if t.whole else None)
        return f"{t.value:.2f}", said(t.before), f"{t.loss_before:.3f}", f"{t.loss_after:.3f}"

    rows = [(task, level, f"{found.n:,}", said(found.right), said(found.confidence), said(found.gap, "+"),
             said(found.error), *(temperature(found.temperature) if found.temperature else [None] * 4))
            for task, both in report.tasks.items()
            for level, found in (("text label", both.label), ("words", both.words)) if found]
    documents = ", ".join(f"{both.documents:,} of {task}" for task, both in report.tasks.items())
    at = temperatures_line(report.temperatures)
    fitted = report.split == "dev"
    head = ("dataset", "level", "n", "right", "mean confidence", "gap", "ECE", "temperature",
            *(("ECE of the other half", "with the temperature", "temperature of all") if fitted
              else ("ECE without it", "loss without it", "loss with it")))
    wide = len(head) if fitted or at else 7
    return (f"{report.source}. Run `{report.run}`, {report.condition}, documents of {report.split}: "
            f"{documents}{f'; confidences at temperatures fitted on dev: {at}' if at else ''}. Per cent "
            "with 95 % bootstrap intervals over documents; gap: mean confidence less the share that is "
            "right. Expected calibration error (ECE) over ten bins of equal width"
            + ("; the temperature is fitted on one half of the documents, the two columns behind it are of "
               "the other; the last is fitted on all, and measured by nothing here" if fitted else "")
            + ("; loss: of right and wrong, in nats a label or word" if at else "")
            + ".\n\n" + rows_to_markdown(head[:wide], [row[:wide] for row in rows]))


#: Folder below results/ -> the table of one of its files.
TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "bench": decoding_table, "token_costs": token_table, "training": training_table, "plan": plan_table,
    "dev-loss": dev_loss_table,
    CALIBRATION: calibration_table, "memory": memory_table, "extract": first_answer_table,
    "chaos": chaos_table}
