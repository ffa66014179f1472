"""Calibration: what `giellm calibrate` writes to results/calibration. Shares (0 to 1), not per cent."""

from __future__ import annotations

from giellm_utils.core.artifacts import Artifact, Score

#: Folder below results/.
FOLDER = "calibration"


class Bin(Artifact):
    """What was said with a confidence in [low, high), the last bin's end included: how many, their mean
    confidence and the share that is right, None where there are none."""

    low: float
    high: float
    n: int
    confidence: float | None
    right: float | None


class Temperature(Artifact):
    """One number t, fitted on one half of the documents and measured on the other: a confidence p becomes
    1 / (1 + exp(-logit(p) / t)). Above 1 it takes confidences towards a half."""

    value: float
    #: Documents of each half.
    fitted: int
    measured: int
    #: Expected calibration error of the measured half, as it is and with the temperature.
    before: Score
    after: Score
    #: Mean negative log-likelihood of right and wrong there, in nats.
    loss_before: float
    loss_after: float


class Reliability(Artifact):
    """How far confidences agree with what is right. `n`: things said, in `documents`; `right`: the share that
    is; `confidence`: their mean; `gap`: the mean less the share; `error`: expected calibration error, the
    distance of confidence and share averaged over the bins by what they hold."""

    n: int
    documents: int
    right: Score
    confidence: Score
    gap: Score
    error: Score
    bins: list[Bin]
    #: None where a half holds nothing, and off dev, where nothing is fitted.
    temperature: Temperature | None


class TaskCalibration(Artifact):
    """Of one dataset: the text label, and words (right: label and span as in gold). None where the system
    said nothing of the kind."""

    documents: int
    label: Reliability | None
    words: Reliability | None


class CalibrationReport(Artifact):
    """results/calibration/RUN.json: RUN-CONDITION off joint, RUN-SPLIT off dev."""

    run: str
    condition: str
    source: str
    split: str
    seed: int
    resamples: int
    tasks: dict[str, TaskCalibration]
