"""When commands were killed, and whether their ends were those of unbroken ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from giellm_utils.core.chaos_record import ChaosFile
from giellm_utils.reporting.figures.style import BLUE, canvas, INK, ORANGE

#: Folder below results/ whose files this draws.
FOLDER = "chaos"
#: Who was killed -> colour, marker, its place in the row.
VICTIMS = {"command": (BLUE, "o", -0.14), "child": (ORANGE, "^", 0.14)}


def draw(result: Mapping[str, Any]) -> Figure:
    """Every kill at its moment, as a share of an unbroken start's time, a row a target; beside each row how
    many of its ends were clean.

    `result`: a file of results/chaos.
    """
    found = ChaosFile.model_validate(result)
    killed = [life for life in found.lives if life.kills]
    clean, kills = sum(life.is_clean for life in killed), sum(len(life.kills) for life in killed)
    source = (f"profile {found.profile}, toy models from scratch, one thread a start · {found.processors} "
              "processors")
    with canvas(9.6, 0.7 * len(found.unbroken) + 1.6,
                f"{kills} kill{'s' if kills != 1 else ''} at random moments: {clean} of {len(killed)} "
                "ends as if nothing had happened", source) as fig:
        ax = fig.add_subplot()
        for y, (name, seconds) in enumerate(found.unbroken.items()):
            lives = [life for life in killed if life.target == name]
            for victim, (colour, marker, shift) in VICTIMS.items():
                at = [100 * k.after / seconds for life in lives for k in life.kills if k.victim == victim]
                ax.scatter(at, [y + shift] * len(at), color=colour, marker=marker, s=26, alpha=0.75,
                           linewidths=0, label=f"the {victim} was killed" if y == 0 else None)
            ax.annotate(f"{sum(x.is_clean for x in lives)} of {len(lives)} ends clean", (101, y), va="center",
                        fontsize=8.5, color=INK, annotation_clip=False)
        ax.set_yticks(range(len(found.unbroken)),
                      [f"{name}, {seconds:.0f} s" for name, seconds in found.unbroken.items()], fontsize=9)
        ax.set(ylim=(len(found.unbroken) - 0.5, -0.5), xlim=(0, 100),
               xlabel="moment of the kill, per cent of the time of a start that nobody kills")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8.5)
    return fig
