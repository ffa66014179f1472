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
    elif len(provenance) <= 2:
        data = "; ".join(p.title for p in provenance.values())
    else:
        served = sorted({p.source for p in provenance.values()})
        stand_in = " (machine-written, stand-in)" if "embedded mini corpus" in served else ""
        data = f"{len(provenance)} datasets, {' and '.join(served)}{stand_in}"
    return " · ".join([data, *sorted({f"{t.model} · {METHODS[t.method]}" for t in trainings})])
