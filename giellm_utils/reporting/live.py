"""Trainings as they go: their lines, and in a notebook one picture of loss and learning rate, drawn anew.

The picture is one output that is updated in place (papermill keeps its last state); in a terminal there
are lines alone.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.core.artifacts import HistoryRow
from giellm_utils.core.conditions import Condition
from giellm_utils.reporting.figures.loss_curves import LEAST
from giellm_utils.reporting.figures.style import STYLE

#: Seconds between two pictures, and the largest share of the time that drawing may take.
EVERY, SHARE = 5.0, 0.05


class Trains(Protocol):
    """What is asked of a systems.finetuned.FineTuned, which loads a model library."""

    name: str
    task: str
    seed: int
    title: str
    condition: Condition
    folder: Path
    coming: Path


class LiveCurves:
    """What experiment.train.run takes as `show`, in a with block that draws a last picture at its end.

    `display`: shows an image and returns what has `update(image)`; a notebook's where there is one.
    """

    def __init__(self, systems: Sequence[Trains], *, every: float = EVERY,
                 display: Callable[[Any], Any] | None = None) -> None:
        self.systems, self.every = systems, every
        self.display = display or notebook_display()
        self.handle: Any = None
        self.began, self.due = time.time(), 0.0

    def __call__(self, line: str) -> None:
        # The picture first, so that the lines under it are one output too.
        if time.monotonic() >= self.due:
            self._draw(new_only=True)
        print(line, flush=True)

    def __enter__(self) -> LiveCurves:
        return self

    def __exit__(self, *_: object) -> None:
        self._draw(new_only=False)

    def _draw(self, *, new_only: bool) -> None:
        if self.display is None:
            return
        start = time.monotonic()
        try:
            picture = image(curves([(s, rows) for s in self.systems if (rows := self._rows(s, new_only))]))
            if self.handle is None:
                self.handle = self.display(picture)
            else:
                self.handle.update(picture)
        except Exception as error:  # no picture is worth a training
            self.display = None
            print(f"the curves are no longer drawn ({type(error).__name__}: {error})")
        cost = time.monotonic() - start
        self.due = time.monotonic() + max(self.every, cost / SHARE)

    def _rows(self, system: Trains, new_only: bool) -> list[HistoryRow]:
        """What `system` logged; with `new_only` nothing of a training that is kept or will be replaced."""
        for folder in (system.coming, system.folder):
            path = folder / "metrics.jsonl"
            if path.exists() and not (new_only and path.stat().st_mtime < self.began - 1):
                return read_growing(path, system)
        return []


def read_growing(path: Path, system: Trains) -> list[HistoryRow]:
    """The whole lines of a metrics.jsonl that another process writes."""
    address = {"condition": system.name, "task": system.task, "seed": system.seed}
    return [HistoryRow(**address, **json.loads(line)) for line in path.read_bytes().split(b"\n")[:-1]]


def curves(trainings: Sequence[tuple[Trains, Sequence[HistoryRow]]]) -> Figure:
    """Loss on the target, nats a token (log axis; dev dashed), and the learning rate, by step."""
    with plt.rc_context(STYLE):
        fig = Figure(figsize=(9, 2.9), layout="constrained")
        loss, rate = fig.subplots(1, 2, width_ratios=(2, 1))
        loss.set(title="loss, nats a target token", xlabel="step", yscale="log")
        rate.set(title="learning rate", xlabel="step")
        for system, rows in trainings:
            look = system.condition.look
            for field, options in (("loss", {"lw": 1.4, "label": system.title}),
                                   ("dev_loss", {"lw": 1.1, "ls": "--", "marker": look.marker, "ms": 4,
                                                 "label": f"{system.title}, dev"})):
                _line(loss, rows, field, color=look.colour, **options)
            _line(rate, rows, "learning_rate", color=look.colour, lw=1.4)
        for axes in (loss, rate):
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
        loss.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        loss.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        loss.yaxis.set_minor_locator(ticker.NullLocator())
        rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        if loss.lines:
            loss.legend(fontsize=8)
        return fig


def _line(axes: Axes, rows: Sequence[HistoryRow], field: str, **options: Any) -> None:
    points = [(row.step, value) for row in rows if (value := getattr(row, field)) is not None]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, [max(v, LEAST) for v in values] if "loss" in field else values, **options)


def image(figure: Figure) -> Any:
    """`figure` as the image that a notebook keeps, about 20 kB."""
    from IPython.display import Image

    buffer = io.BytesIO()
    with plt.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return Image(data=buffer.getvalue(), format="png", alt="Loss and learning rate by step")


def notebook_display() -> Callable[[Any], Any] | None:
    """How this notebook shows an output that can be updated; None where there is no notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display

    return lambda picture: display(picture, display_id=True)
