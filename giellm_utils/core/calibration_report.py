"""Calibration: what `giellm calibrate` writes to results/calibration. Shares (0 to 1), not per cent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from giellm_utils.core.artifacts import Artifact, Score

#: Folder below results/.
FOLDER = "calibration"
#: Temperatures looked among: what fits only beyond them has nothing to tell right from wrong by.
COLDEST, HOTTEST = 0.05, 20.0
#: Temperatures of one task, by what is said.
Temperatures = dict[Literal["label", "words"], Annotated[float, Field(ge=COLDEST, le=HOTTEST)]]
#: A confidence of exactly 0 or 1 has no logit.
_EDGE = 1e-6
#: So near to the end of the range a temperature was not found, but ran into it.
_BESIDE = 1.01


def at_temperature(confidence: float, temperature: float) -> float:
    """A confidence at a temperature: its logit divided by it."""
    sure = min(max(confidence, _EDGE), 1 - _EDGE)
    return 1 / (1 + math.exp(-math.log(sure / (1 - sure)) / temperature))


class Bin(Artifact):
    """What was said with a confidence in [low, high), the last bin's end included: how many, their mean
    confidence and the share that is right, None where there are none."""

    low: float
    high: float
    n: int
    confidence: float | None
    right: float | None


class Temperature(Artifact):
    """One number t, at which a confidence p becomes 1 / (1 + exp(-logit(p) / t)); above 1 it takes
    confidences towards a half. On dev `value` is fitted on one half of the documents and measured on the
    other, `whole` fitted on all of them and measured by nothing there: it is what a released card says.
    Elsewhere `value` is such a one, given, and measured on all."""

    value: float
    #: Documents of each half; 0 and all where the temperature was given.
    fitted: int
    measured: int
    #: Expected calibration error of what is measured, as it is and with the temperature.
    before: Score
    after: Score
    #: Mean negative log-likelihood of right and wrong there, in nats.
    loss_before: float
    loss_after: float
    #: None in reports of before it was made, and where the temperature was given.
    whole: float | None = None


class Reliability(Artifact):
    """How far confidences agree with what is right. `n`: things said, in `documents`; `right`: the share that
    is; `confidence`: their mean; `gap`: the mean less the share; `error`: expected calibration error, the
    distance of confidence and share averaged over the bins by what they hold. All at the temperature that was
    given, where one was."""

    n: int
    documents: int
    right: Score
    confidence: Score
    gap: Score
    error: Score
    bins: list[Bin]
    #: None where a half holds nothing, and off dev where none was given.
    temperature: Temperature | None


class TaskCalibration(Artifact):
    """Of one dataset: the text label, and words (right: label and span as in gold). None where the system
    said nothing of the kind."""

    documents: int
    label: Reliability | None
    words: Reliability | None

    @property
    def helpful(self) -> Temperatures:
        """The temperatures of all documents, where that of one half lowered the loss of the other and neither
        ran into an end of the range."""
        both = (("label", self.label), ("words", self.words))
        found = {what: said.temperature for what, said in both if said}
        return {what: t.whole for what, t in found.items()
                if t and t.whole and t.loss_after < t.loss_before
                and all(_BESIDE * COLDEST < value < HOTTEST / _BESIDE for value in (t.value, t.whole))}


def temperatures_line(temperatures: Mapping[str, Temperatures]) -> str:
    """Temperatures in words: `scnm words 2.17; tcree label 1.20, words 1.80`."""
    return "; ".join(f"{task} " + ", ".join(f"{what} {t:.2f}" for what, t in found.items())
                     for task, found in temperatures.items() if found)


class CalibrationReport(Artifact):
    """results/calibration/RUN.json: RUN-CONDITION off joint, RUN-SPLIT off dev; its end is
    -temperatures where confidences were taken at some."""

    run: str
    condition: str
    source: str
    split: str
    seed: int
    resamples: int
    #: Of the model (systems.fingerprints.weights_of), None where it was not kept.
    weights: str | None = None
    #: At which confidences were taken, by task, before any of this was measured.
    temperatures: dict[str, Temperatures] = Field(default_factory=dict)
    tasks: dict[str, TaskCalibration]
