"""TODO"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure

from giellm_utils.reporting.figures.style import BLUE, PAPER, RED, canvas


def loss_curves(history: pd.DataFrame, source: str) -> Figure:
    """Training and dev loss of every job, one panel each.

    `history`: columns job, step, loss, dev_loss (NaN where not measured); loss in nats a target token.
    """
    jobs = list(dict.fromkeys(history["job"]))
    columns = min(3, len(jobs))
    rows = math.ceil(len(jobs) / columns)
    with canvas(max(3.9 * columns, 6.4), 2.7 * rows + 1.1, "Loss on the target, nats a token", source) as fig:
        for i, job in enumerate(jobs):
            ax = fig.add_subplot(rows, columns, i + 1, title=job, yscale="log")
            ax.grid(axis="y")
            run = history[history["job"] == job].sort_values("step")
            train, dev = run.dropna(subset="loss"), run.dropna(subset="dev_loss")
            # A loss of zero (a label learnt by heart) has no place on a log axis.
            loss = train["loss"].clip(lower=1e-4)
            ax.plot(train["step"], loss, color=BLUE, lw=0.8, alpha=0.35)
            smooth = loss.rolling(max(1, len(loss) // 15), center=True, min_periods=1).median()
            ax.plot(train["step"], smooth, color=BLUE, lw=1.8, label="train (running median)")
            dev_loss = dev["dev_loss"].clip(lower=1e-4)
            ax.plot(dev["step"], dev_loss, color=RED, lw=1.2, marker="o", ms=4.5, label="dev")
            if len(dev):
                best = dev_loss.idxmin()
                ax.text(0.98, 0.97, f"best dev {dev_loss[best]:.3g}, step {dev['step'][best]:,}", ha="right",
                        va="top", fontsize=8.5, color="#B84A00", transform=ax.transAxes,
                        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})
            ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            ax.yaxis.set_minor_locator(ticker.NullLocator())
            ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
            ax.set_xlabel("step")
            if i == 0:
                ax.legend(loc="lower left", fontsize=8.5, frameon=True, edgecolor="none", facecolor=PAPER)
    return fig
