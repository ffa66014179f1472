"""The one line at the foot of every figure and table: which data, which model, how it was trained."""

from __future__ import annotations

from collections.abc import Sequence

from giellm_utils.core.artifacts import ProvenanceFile, Training

#: How a method of training is called.
METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning"}


def source_line(provenance: ProvenanceFile, trainings: Sequence[Training] = (),
                task: str | None = None) -> str:
    """Of one task or of all that `provenance` holds; data that stand in for others are called so."""
    if task:
        data = provenance[task].title
    elif len(provenance) > 2 and {p.source for p in provenance.values()} == {"embedded mini corpus"}:
        data = f"{len(provenance)} datasets, embedded mini corpus (machine-written, stand-in)"
    else:
        data = "; ".join(p.title for p in provenance.values())
    return " · ".join([data, *models(trainings)])


def models(trainings: Sequence[Training]) -> list[str]:
    """The parts of that line that say what was trained and how, and what was cut short."""
    return [*sorted({f"{t.model} · {METHODS[t.method]}" for t in trainings}),
            *(cut_short(t) for t in trainings if t.stopped_by_minutes)]


def cut_short(training: Training) -> str:
    """Of a training that the clock stopped: what no number of its run may be shown without."""
    return (f"training of {training.condition} stopped by training.minutes after {training.steps} of "
            f"{training.planned_steps} steps")
