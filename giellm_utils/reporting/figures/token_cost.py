"""Tokens that one text costs, read in and written out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from giellm_utils.core.artifacts import TokensFile
from giellm_utils.reporting.figures.style import canvas, FAINT, GREY, ORANGE, SKY
from giellm_utils.reporting.results import RunResults

READS = ("tokens.json",)


def draw(results: RunResults) -> Iterator[tuple[str, Figure]]:
    yield "token-cost", token_cost(results.tokens, results.source())


def token_cost(costs: TokensFile, source: str) -> Figure:
    """Mean tokens in and out of one text, by task and level, with the longest text's total."""
    rows = [(task, level, c) for task, levels in costs.items() for level, c in levels.items()]
    with canvas(9.5, 0.29 * len(rows) + 1.9, "Tokens a text costs: read in and written out", source) as fig:
        ax = fig.add_subplot(xlabel="tokens a text (mean; the tick marks the longest text)")
        longest = max(max(np.add(c.prompt, c.target)) for _, _, c in rows)
        ticks, y = [], -0.35
        for i, (task, level, cost) in enumerate(rows):
            y += 1.35 if i and task != rows[i - 1][0] else 1.0 if i else 0.35
            name = f"{task}  {level}" if i == 0 or task != rows[i - 1][0] else level
            ticks.append((y, name))
            into, out = np.mean(cost.prompt), np.mean(cost.target)
            top = max(np.add(cost.prompt, cost.target))
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
