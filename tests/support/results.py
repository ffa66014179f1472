"""Typed result records with made-up numbers, and small runs on disk that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import (
    Composition,
    Confusion,
    Decodings,
    DecodingScores,
    DecodingsFile,
    Difference,
    Effect,
    Example,
    HistoryRow,
    LabelScores,
    MreFile,
    Provenance,
    ProvenanceFile,
    Score,
    Scores,
    ScoresFile,
    SystemScores,
    TokenCosts,
    TokensFile,
    Training,
    TrainingsFile,
)
from giellm_utils.core.files import write_jsonl
from giellm_utils.core.system_result import Machine, result_path, SystemResult
from giellm_utils.evaluation.score import COMPARED

LEVELS = ("joint", "text", "words")


def share(value: float | None, n: int = 75) -> Score:
    if value is None:
        return Score(value=None, low=None, high=None, n=n)
    return Score(value=value, low=max(0, value - 0.08), high=min(1, value + 0.08), n=n)


def system(scores: Scores, *, n: int = 75, n_empty_gold: int = 9, **more) -> SystemScores:
    """A system with the same scores over all documents and over those with gold words."""
    return SystemScores(n=n, n_empty_gold=n_empty_gold, all=scores, with_words=scores,
                        **{"empty_gold": {}, **more})


def systems() -> dict[str, SystemScores]:
    """One task's systems: three trained ones and the two floors."""
    words = {m: share(v) for m, v in (("wl_exact", .44), ("wl_set", .46), ("wl_words", .7), ("f1", .71))}
    floor = {m: share(.09) for m in ("wl_exact", "wl_set", "wl_words")} | {"f1": share(0)}
    confusion = Confusion(labels=["社会", "文芸"], matrix=[[30, 4, 0], [2, 38, 1]])
    labels = label_scores(["人名", "地名"])
    return {
        "joint": system({"tl": share(.87), "all": share(.38), **words}, confusion=confusion,
                        per_word_label=labels),
        "text": system({"tl": share(.88), "all": None, **dict.fromkeys(words)}),
        "words": system({"tl": None, "all": None, **words}, per_word_label=labels),
        "majority": system({"tl": share(.65), "all": share(.06), **floor}),
        "always_empty": system({"tl": None, **floor})}


def scores(*tasks: str) -> ScoresFile:
    return ScoresFile(split="test", seed=42, tasks={task: systems() for task in tasks})


def label_scores(labels: list[str]) -> dict[str, LabelScores]:
    return {label: LabelScores(precision=share(.5), recall=share(.2), f1=share(.3 + .04 * i), support=5 + i)
            for i, label in enumerate(labels)}


def composition(texts: list[str], words: list[str]) -> Composition:
    return Composition(splits={"train": 172, "dev": 19, "test": 64},
                       text_labels={t: {"train": 30 + i, "dev": i, "test": 12} for i, t in enumerate(texts)},
                       word_labels={w: 40 - i for i, w in enumerate(words)},
                       lengths=[*range(18, 70), *[40] * 9], items_per_text=[0, 0, 1, 1, 1, 2, 3, 5])


def costs(*tasks: str) -> TokensFile:
    return TokensFile({task: {level: TokenCosts(prompt=[50, 60 + k, 41], target=[t, t + 9, 3], budget=64)
                              for level, t in zip(LEVELS, (28, 3, 24), strict=True)}
                       for k, task in enumerate(tasks)})


def training(condition: str, task: str = "scnm", seed: int = 42, **changes) -> Training:
    return Training(**{
        "condition": condition, "task": task, "seed": seed, "model": "tiny model from scratch (tests only)",
        "base": "scratch", "method": "lora", "dtype": "float32", "device": "cpu", "processes": 1,
        "batch_size": 4, "sequences": 1510, "target_tokens": 9000, "steps": 128, "planned_steps": 128,
        "stopped_by_minutes": False, "resumed_from_step": 0, "seconds": 90.0, "new_tokens": 0,
        "trainable_parameters": 1000, "final_loss": 0.4, "mean_loss_of_this_process": 0.5, **changes})


def history(*conditions: str, steps: int = 60, dev: bool = True, seed: int = 42) -> list[HistoryRow]:
    return [HistoryRow(condition=c, task="scnm", seed=seed, step=step, seconds=step,
                       loss=0.3 + 5 * 0.9 ** step,
                       dev_loss=0.4 + 5 * 0.9 ** step if dev and step % 20 == 0 else None)
            for c in conditions for step in range(1, steps + 1)]


def effect(task: str, metric: str = "tl", difference: float | None = .02, low: float | None = -.03,
           high: float | None = .07, verdict: str = "undecided") -> Effect:
    return Effect(task=task, metric=metric, single_level="text" if metric == "tl" else "words", joint=.5,
                  single=None if difference is None else .5 - difference, difference=difference, low=low,
                  high=high, p_value=None, mcnemar_p=None, n=75, verdict=verdict)


def effects(*tasks: str) -> list[Effect]:
    return [effect(task, *more) for task in tasks for more in (
        ("tl",), ("wl_exact", -.09, -.14, -.04, "lower"), ("f1", .07, .02, .12, "higher"))]


def example(**changes) -> Example:
    """Five words found and written, with their places."""
    text = "入来院朔は鹿児島県を旅し、緑風環境党の党首と『硝子の畦道』について三ツ池小学校で語り合った。"
    words = (("入来院朔", "人名"), ("鹿児島県", "地名"), ("緑風環境党", "政治的組織名"),
             ("硝子の畦道", "製品名"), ("三ツ池小学校", "施設名"))
    prompt, prompt_spans = text, []
    for piece in ("<社会>", "<文芸>", "<学問>", "<技術>", "<自然>", "固有表現抽出"):
        prompt_spans.append((len(prompt), len(prompt) + len(piece)))
        prompt += piece
    output, item_spans = "<文芸>固有表現抽出", []
    for surface, label in words:
        output += ":"
        item_spans.append((len(output), len(output) + len(label) + 1 + len(surface), label))
        output += f"{label};{surface}"
    return Example(**{
        "task": "scnm", "text": text, "label": "文芸", "prompt": prompt, "output": output,
        "spans": [(text.index(s), text.index(s) + len(s), label) for s, label in words], "label_span": (0, 4),
        "item_spans": item_spans, "prompt_spans": prompt_spans, **changes})


def provenance(*tasks: str, redistributable: bool = True) -> ProvenanceFile:
    return ProvenanceFile({task: Provenance(
        source="embedded mini corpus",
        title=f"{task.upper()}, embedded mini corpus (machine-written, stand-in)",
        files=[], licence="CC0 1.0", attribution="made", note="", redistributable=redistributable)
        for task in tasks})


def decodings(condition: str, *tasks: str) -> DecodingsFile:
    both = {how: DecodingScores(items_per_second=speed, scores={m: share(.5) for m in COMPARED})
            for how, speed in (("free", None), ("constrained", 9.8))}
    difference = {"tl": Difference(value=.0, low=-.1, high=.1, n=75, p_value=1.0, verdict="undecided")}
    return DecodingsFile(split="test", seed=42,
                         tasks={t: {condition: Decodings(**both, difference=difference)} for t in tasks})


def write_run(folder: Path, *tasks: str, flat: bool = True, redistributable: bool = True,
              leave_out: tuple[str, ...] = ()) -> Path:
    """A run with every result file (but `leave_out`): as in results/ (flat) or as in runs/."""
    composed = composition(["社会", "文芸"], ["人名", "地名"])
    made: Mapping = {
        "provenance.json": provenance(*tasks, redistributable=redistributable),
        "composition.json": artifacts.CompositionFile(dict.fromkeys(tasks, composed)),
        "tokens.json": costs(*tasks), "trainings.json": TrainingsFile([training(c) for c in LEVELS]),
        "scores.json": scores(*tasks), "decodings.json": decodings("joint", *tasks),
        "example.json": example(task=tasks[0]),
        "mre.json": MreFile(effects=effects(*tasks), error_independence={})}

    def place(name: str) -> Path:
        return folder / name if flat else folder / artifacts.FILES[name][0] / name

    for name, record in made.items():
        if name not in leave_out:
            artifacts.write(place(name), record)
    if "history.jsonl" not in leave_out:
        write_jsonl(place("history.jsonl"), [r.model_dump(exclude_none=True) for r in history(*LEVELS)])
    return folder


def system_row(results: Path, name: str, source: str, task: str = "scnm", tl: float = 0.5, n: int = 50,
               **changes) -> None:
    """A row of results/systems/."""
    made = system({"tl": share(tl), "wl_exact": share(.2), "wl_words": share(.4), "all": share(.1)}, n=n)
    data = provenance(task)[task].model_copy(update={"title": f"data {source}"})
    machine = Machine(system="Linux", processor="x", processors=2, accelerators=[], load=None)
    artifacts.write(result_path(results, name, source, task), SystemResult(**{
        "system": name, "entry": name, "title": name.title(), "task": task, "source": source,
        "provenance": data, "split": "test", "level": "joint", "n_train": 9, "n_test": n, "scores": made,
        "documents": f"{task}.csv", "fit_seconds": 1, "predict_seconds": 1, "machine": machine,
        "command": "giellm …", "git": "0", "date": "2026-11-25T00:00:00+00:00", "seed": 42, "resamples": 9,
        "settings": {}, **changes}))
