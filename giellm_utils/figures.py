"""Every figure, one function each: plain dicts and DataFrames read from result files in, a Figure out.

Shares (accuracy, F1, differences) come in as numbers in [0, 1] and are drawn in per cent. Every
figure ends with its source line; `save` writes it as PNG and SVG.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure

from giellm_utils.headline import headline
from giellm_utils.plotting import (
    BLUE, FAINT, GREEN, GREY, INK, ORANGE, PAPER, RED, SKY, SPLIT_COLOURS, Row, bars, canvas, dots, save,
    system_rows)
from giellm_utils.views import METRIC_TITLES

__all__ = ["accuracy", "composition", "confusion", "effects", "headline", "loss_curves", "per_label_f1",
           "save", "token_cost"]

METRICS = ("tl", "wl_exact", "wl_set", "wl_words", "all", "f1")
#: How the verdicts of statistics.paired_difference read when a is the joint model.
VERDICTS = {"higher": "joint better", "lower": "joint worse"}
#: Word labels shown in one panel; the rest are summed in one bar.
MOST_LABELS = 32


def composition(task_name: str, stats_of_task: Mapping[str, Any], source: str) -> Figure:
    """What a dataset holds: text labels by split, word labels, text lengths, words per text.

    `stats_of_task`: {"splits": {split: n}, "text_labels": {label: {split: n}}, "word_labels": {label: n},
    "lengths": [characters of each text], "items_per_text": [words of each text]}.
    """
    stats = stats_of_task
    texts = sorted(stats["text_labels"].items(), key=lambda kv: -sum(kv[1].values()))
    words = sorted(stats["word_labels"].items(), key=lambda kv: -kv[1])
    if len(words) > MOST_LABELS:
        rest = words[MOST_LABELS - 1:]
        words = [*words[:MOST_LABELS - 1], (f"{len(rest)} more labels", sum(n for _, n in rest))]
    text_rows = max(0.3 * len(texts), 0.9) + 0.8
    few = len(words) <= len(texts) + 6
    height = text_rows + 3.0 + 0.7 if few else max(text_rows + 4.4, 0.27 * len(words) + 1.6)
    splits = " · ".join(f"{name} {n:,}" for name, n in stats["splits"].items())
    with canvas(11, height, f"{task_name}: {splits}", source) as fig:
        # Many word labels take the whole right side; few of them leave its lower half to the last panel.
        grid = fig.add_gridspec(2, 2, height_ratios=(text_rows, 2.4)) if few else fig.add_gridspec(
            3, 2, height_ratios=(text_rows, 2, 2))
        ax = fig.add_subplot(grid[0, 0], title="Text labels: texts by split")
        bars(ax, [label for label, _ in texts],
              {s: ([n.get(s, 0) for _, n in texts], SPLIT_COLOURS.get(s, GREY)) for s in stats["splits"]})
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8.5, handlelength=1,
                  borderaxespad=0.2, columnspacing=1.2)
        ax = fig.add_subplot(grid[0 if few else slice(None), 1], title="Word labels: words in all splits")
        bars(ax, [label for label, _ in words], {"words": ([n for _, n in words], GREEN)})

        ax = fig.add_subplot(grid[1, 0], title="Length of a text", xlabel="characters", ylabel="texts")
        lengths = np.asarray(stats["lengths"])
        ax.hist(lengths, bins=min(30, max(5, len(set(stats["lengths"])))), color=SKY, edgecolor=PAPER)
        ax.axvline(np.median(lengths), color=INK, lw=1)
        ax.set_ylim(0, ax.get_ylim()[1] * 1.18)
        ax.text(np.median(lengths), 0.98, f"  median {np.median(lengths):.0f}", va="top", fontsize=8.5,
                transform=ax.get_xaxis_transform())
        ax.grid(axis="y")

        place = grid[1, 1] if few else grid[2, 0]
        ax = fig.add_subplot(place, title="Words in a text", xlabel="words", ylabel="texts")
        counts = Counter(stats["items_per_text"])
        columns = ax.bar(list(counts), list(counts.values()), width=0.8,
                         color=[GREY if n == 0 else GREEN for n in counts])
        if len(counts) <= 12:
            ax.bar_label(columns, fontsize=8, color=FAINT, padding=1)
        ax.set_ylim(0, ax.get_ylim()[1] * 1.12)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
        ax.grid(visible=False)
    return fig


def token_cost(costs: Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]], source: str) -> Figure:
    """Mean tokens in and out of one text, by task and level, with the longest text's total.

    `costs`: {task: {level: {"prompt": [tokens of each text], "target": [tokens of each text]}}}.
    """
    rows = [(task, level, c) for task, levels in costs.items() for level, c in levels.items()]
    with canvas(9.5, 0.29 * len(rows) + 1.9, "Tokens a text costs: read in and written out", source) as fig:
        ax = fig.add_subplot(xlabel="tokens a text (mean; the tick marks the longest text)")
        longest = max(max(np.add(c["prompt"], c["target"])) for _, _, c in rows)
        ticks, y = [], -0.35
        for i, (task, level, cost) in enumerate(rows):
            y += 1.35 if i and task != rows[i - 1][0] else 1.0 if i else 0.35
            name = f"{task}  {level}" if i == 0 or task != rows[i - 1][0] else level
            ticks.append((y, name))
            into, out = np.mean(cost["prompt"]), np.mean(cost["target"])
            top = max(np.add(cost["prompt"], cost["target"]))
            ax.plot([into + out, top], [y, y], color=GREY, lw=1)
            ax.plot(top, y, marker="|", ms=9, mew=1.5, color=GREY)
            ax.barh(y, into, color=SKY, height=0.66, label="in (prompt)" if i == 0 else None)
            ax.barh(y, out, left=into, color=ORANGE, height=0.66, label="out (target)" if i == 0 else None)
            ax.text(1.015, y, f"{into:.0f} + {out:.0f}", va="center", fontsize=8.5,
                    transform=ax.get_yaxis_transform())
        ax.set_yticks([y for y, _ in ticks], [name for _, name in ticks])
        ax.set(ylim=(y + 0.6, -0.6), xlim=(0, longest * 1.02))
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9, handlelength=1,
                  borderaxespad=0.2)
        ax.text(1.015, 1.012, "in + out", transform=ax.transAxes, fontsize=8.5, color=FAINT, va="bottom")
    return fig


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


def accuracy(scores: Mapping[str, Any], source: str) -> Figure:
    """Every metric of every system with its 95 % interval, one panel a task.

    `scores`: {"tasks": {task: {system: {"all": {metric: {"value", "low", "high", "n"} or None}}}}}.
    """
    tasks = scores["tasks"]
    panels = {task: [(METRIC_TITLES[m], rows) for m in METRICS if (rows := system_rows(systems, m))]
              for task, systems in tasks.items()}
    columns = min(2, len(panels))
    n_rows = math.ceil(len(panels) / columns)
    lines = max(sum(len(rows) + 1.3 for _, rows in groups) for groups in panels.values())
    title = "Accuracy on test, per cent, with 95 % intervals"
    with canvas(6.6 * columns + 0.4, n_rows * (0.2 * lines + 0.75) + 0.7, title, source) as fig:
        for i, (task, groups) in enumerate(panels.items()):
            sizes = {s["n"] for system in tasks[task].values() for s in system.get("all", {}).values()
                     if s and s.get("n") is not None}
            n = f"  (n = {max(sizes):,})" if sizes else ""
            ax = fig.add_subplot(n_rows, columns, i + 1, title=f"{task}{n}")
            dots(ax, groups)
            ax.set_xlim(-2, 102)
    return fig


def confusion(matrix: Mapping[str, Any], title: str, source: str) -> Figure:
    """Gold text labels (rows) against predicted ones, coloured by share of the row, counts written in.

    `matrix`: {"labels": [...], "matrix": [[counts]]}; a further last column counts texts for which no
    label was predicted, whether "labels" names it or not.
    """
    counts = np.asarray(matrix["matrix"])
    names = list(matrix["labels"])
    names += ["no label"] * (counts.shape[1] - len(names))
    if counts.shape[0] == len(names) and names[-1] == "no label" and not counts[-1].any():
        counts = counts[:-1]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 0.72 * len(names)
    with canvas(max(5.2, size + 1.9), 0.72 * len(counts) + 2.0, title, source) as fig:
        ax = fig.add_subplot(xlabel="predicted", ylabel="gold")
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        # Full-width characters are about 0.14 inch, a cell is 0.72.
        crowded = any(len(name) > 5 for name in names if name != "no label")
        names = [n if crowded else n.replace("no label", "no\nlabel") for n in names]
        ax.set_xticks(range(len(names)), names, rotation=40 if crowded else 0,
                      ha="right" if crowded else "center", rotation_mode="anchor" if crowded else "default")
        ax.tick_params(axis="x", labelcolor=INK)
        ax.set_yticks(range(len(counts)), [f"{n}  ({c:,})" for n, c in zip(names, counts.sum(axis=1),
                                                                          strict=False)])
        for (i, j), count in np.ndenumerate(counts):
            if count:
                ax.text(j, i, f"{count:,}\n{100 * shares[i, j]:.0f} %", ha="center", va="center",
                        fontsize=8.5, color=PAPER if shares[i, j] > 0.55 else INK)
    return fig


def per_label_f1(per_word_label: Mapping[str, Mapping[str, Any]], source: str) -> Figure:
    """F1 with its 95 % interval for each word label, the most frequent on top; P and R beside it.

    `per_word_label`: {label: {"f1": {"value", "low", "high"}, "precision", "recall", "support"}}, where
    precision and recall may be numbers or dicts with "value".
    """
    ranked = sorted(per_word_label.items(), key=lambda kv: -kv[1]["support"])
    rows, marks = [], []
    for label, score in ranked:
        p, r = (v["value"] if isinstance(v, Mapping) else v for v in (score["precision"], score["recall"]))
        value, low, high = (score["f1"].get(k) for k in ("value", "low", "high"))
        value = math.nan if value is None else value
        rows.append(Row(label, value, value if low is None else low, value if high is None else high, BLUE,
                        note=f"   {score['support']:,} gold"))
        marks.append((p, r))
    with canvas(8.6, 0.27 * len(rows) + 1.75, "F1 of each word label, per cent", source) as fig:
        ax = fig.add_subplot(xlim=(-2, 102))
        for y, (p, r) in enumerate(marks):
            for value, (marker, colour) in ((p, ("<", ORANGE)), (r, (">", GREEN))):
                if value is not None:
                    ax.plot(100 * value, y, marker, color=colour, ms=5, alpha=0.9)
        dots(ax, [("", rows)])
        for name, look, colour in (("precision", "<", ORANGE), ("recall", ">", GREEN),
                                   ("F1, 95 % interval", "o-", BLUE)):
            ax.plot([], [], look, color=colour, label=name)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8.5)
    return fig


def effects(effects: Sequence[Mapping[str, Any]], source: str) -> Figure:
    """Joint minus single-level in percentage points; hollow and grey where the verdict is "undecided".

    `effects`: [{"task", "metric", "difference", "low", "high", "verdict"}] with shares in [-1, 1].
    """
    groups: dict[str, list[Row]] = {}
    effects = [e for e in effects if None not in (e["difference"], e["low"], e["high"])]
    for e in effects:
        open_ = e["verdict"] == "undecided"
        verdict = VERDICTS.get(e["verdict"], e["verdict"])
        colour = GREY if open_ else BLUE if e["difference"] > 0 else RED
        groups.setdefault(e["task"], []).append(
            Row(METRIC_TITLES.get(e["metric"], e["metric"]), e["difference"], e["low"], e["high"], colour,
                "o" if open_ or e["difference"] > 0 else "s", open_, f"   {verdict}"))
    height = 0.25 * sum(len(rows) + 1.3 for rows in groups.values()) + 1.6
    with canvas(9, height, "Joint minus single-level model, percentage points", source) as fig:
        ax = fig.add_subplot()
        dots(ax, list(groups.items()), signed=True)
        reach = 108 * max((max(abs(e["low"]), abs(e["high"])) for e in effects), default=0) or 1
        ax.axvline(0, color=INK, lw=1, zorder=1)
        ax.set_xlim(-reach, reach)
        ax.xaxis.set_major_formatter(
            ticker.FuncFormatter(lambda v, _: f"{v:+g}".replace("-", "−") if v else "0"))
        ax.set_xlabel("← joint worse          joint better →\n"
                      "hollow: undecided, the 95 % interval holds zero")
    return fig
