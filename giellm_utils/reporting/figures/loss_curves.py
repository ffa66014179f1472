"""Training and dev loss of every training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.core.artifacts import HistoryRow
from giellm_utils.reporting.figures.style import BLUE, canvas, PAPER, RED
from giellm_utils.reporting.results import RunResults

READS = ("history.jsonl",)
#: A loss of zero (a label learnt by heart) has no place on a log axis.
LEAST = 1e-4


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    if history := results.history:
        yield "loss-curves", loss_curves(history, results.source())


def loss_curves(history: Sequence[HistoryRow], source: str) -> Figure:
    """Loss in nats a target token by step, one panel a training; a panel is named by its condition, and by
    its task and seed where the condition was trained more than once."""
    runs: dict[tuple[str, str, int], list[HistoryRow]] = {}
    for row in history:
        runs.setdefault((row.condition, row.task, row.seed), []).append(row)
    alone = len({condition for condition, *_ in runs}) == len(runs)
    columns = min(3, len(runs))
    rows = math.ceil(len(runs) / columns)
    with canvas(max(3.9 * columns, 6.4), 2.7 * rows + 1.1, "Loss on the target, nats a token", source) as fig:
        for i, ((condition, task, seed), found) in enumerate(runs.items()):
            title = condition if alone else f"{condition} · {task} · seed {seed}"
            ax = fig.add_subplot(rows, columns, i + 1, title=title, yscale="log")
            _curve(ax, found)
            if i == 0:
                # Losses fall, so above them on the right is room, under the best step of dev.
                ax.legend(loc="upper right", bbox_to_anchor=(1, 0.9), fontsize=8.5, frameon=True,
                          edgecolor="none", facecolor=PAPER)
    return fig


def _curve(ax: Axes, history: Sequence[HistoryRow]) -> None:
    """One training: the loss, its running median, dev where it was measured and its best step."""
    ax.grid(axis="y")
    run = pd.DataFrame({"step": [row.step for row in history],
                        "loss": pd.Series([row.loss for row in history], dtype=float),
                        "dev_loss": pd.Series([row.dev_loss for row in history], dtype=float)})
    run = run.sort_values("step")
    train, dev = run.dropna(subset="loss"), run.dropna(subset="dev_loss")
    loss = train["loss"].clip(lower=LEAST)
    ax.plot(train["step"], loss, color=BLUE, lw=0.8, alpha=0.35)
    smooth = loss.rolling(max(1, len(loss) // 15), center=True, min_periods=1).median()
    ax.plot(train["step"], smooth, color=BLUE, lw=1.8, label="train (running median)")
    dev_loss = dev["dev_loss"].clip(lower=LEAST)
    if len(dev):
        ax.plot(dev["step"], dev_loss, color=RED, lw=1.2, marker="o", ms=4.5, label="dev")
        best = dev_loss.idxmin()
        ax.text(0.98, 0.97, f"best dev {dev_loss[best]:.3g}, step {dev['step'][best]:,}", ha="right",
                va="top", fontsize=8.5, color="#B84A00", transform=ax.transAxes,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    ax.set_xlabel("step")
