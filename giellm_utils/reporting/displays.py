"""What notebook 06 makes anew of the paper's displays beside drawings (figures.illustration) and tables of
numbers (published): converter examples, Instruction Words, and the comparison that shows the effect; and
the design of the experiment for 05.
"""

from __future__ import annotations

from typing import Any

from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.formats.registry import make_format
from giellm_utils.reporting.mre_titles import condition_title
from giellm_utils.reporting.published import MRE
from giellm_utils.reporting.results import RunResults
from giellm_utils.reporting.tables import MISSING

Row = dict[str, Any]
#: Of a prompt, its last characters: the options and the Instruction Word.
_TAIL = 70


def converter_examples(format_name: str = "giellm") -> list[Row]:
    """What the Format Converter makes of one text of each embedded dataset (machine-written): the end of its
    prompt, and the target of every level."""
    rows = []
    for name in TASKS:
        dataset = load_dataset(name, "embedded")
        fmt = make_format(format_name, dataset.task)
        record = min((r for r in dataset.split("test") if r.words), key=lambda r: (len(r.text), r.id))
        prompt = fmt.prompt(record.text, "joint")
        rows.append({"dataset": dataset.task.title, "prompt, its end": prompt[-_TAIL:],
                     **{f"target, {level}": fmt.target(record, level) for level in fmt.levels}})
    return rows


def instruction_words() -> list[Row]:
    """The Instruction Word and the labels of every part of every dataset, and whose words they are."""
    return [{"dataset": task.title, "extracts": part.kind, "Instruction Word": part.instruction,
             "text labels": " ".join(task.text_labels), "word labels": " ".join(part.labels),
             "published": task.published} for task in TASKS.values() for part in task.parts]


def design() -> list[Row]:
    """Every condition: what is asked of each text, and in what else its training differs from joint."""
    def said(value: str, plain: str, meaning: str) -> str:
        return "" if value == plain else meaning.format(value)

    return [{"condition": c.title, "asked": " and ".join(c.levels) + (", apart" if len(c.levels) > 1 else ""),
             "scored": c.scored,
             "differs from joint else": "; ".join(filter(None, (
                 said(c.partner, "gold", "the other level is {}"), said(c.order, "text-first", "{}"),
                 said(c.loss, "tokens", "each level weighs half"),
                 said(c.given, "nothing", "prompt says the other level, at test {}"),
                 said(c.budget, "sequences", "two sequences a text, so twice the steps")))) or MISSING}
            for c in CONDITIONS.values()]


def reinforcement(results: RunResults) -> list[Row]:
    """The paper's comparison on TCREE and this run's, per cent, one row a training.

    Ours where the run has TCREE; WL is the exact match of all words. The paper prints no interval.
    """
    rows = [{"source": "the paper", "training": r.training, "TL": r.tl, "WL": r.wl, "ALL": r.all}
            for r in MRE]
    scores = results.scores.tasks.get("tcree", {}) if results.scores else {}
    for name in ("joint", "text", "words"):
        if name in scores:
            found = scores[name].all
            rows.append({"source": "this run (stand-in data)", "training": condition_title(name), **{
                title: _per_cent(found.get(key))
                for title, key in (("TL", "tl"), ("WL", "wl_exact"), ("ALL", "all"))}})
    return rows


def _per_cent(score: Any) -> float | None:
    return None if score is None or score.value is None else 100 * score.value
