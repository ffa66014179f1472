"""What training takes of one device's memory, part by part, beside what the device has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giellm_utils.core.plan_record import GIB, Option, Plan, PlanFile
from giellm_utils.reporting.figures.style import BLUE, canvas, GREEN, GREY, INK, ORANGE, PAPER, RED, SKY
from giellm_utils.reporting.plan_tables import COMPUTED, gib, grouped, GROUPS, way

#: Folder below results/ whose files this draws.
FOLDER = "plan"
#: Of each of GROUPS: colour, that of a letter on it, and the letter, which says again what the colour does.
LOOKS = dict(zip(GROUPS, ((BLUE, PAPER, "W"), (ORANGE, INK, "G"), (GREEN, PAPER, "O"), (SKY, INK, "A"),
                          (RED, PAPER, "L"), (GREY, INK, "T")), strict=True))
#: Bars end at so many times the device's memory, with an arrow where they go on.
SHOWN = 1.45


def draw(result: Mapping[str, Any]) -> Figure:
    """The ways that our training takes on one machine, by profile. `result`: a file of results/plan."""
    return memory_figure(PlanFile.model_validate(result).plans)


def memory_figure(plans: Sequence[Plan], source: str = COMPUTED) -> Figure:
    """One bar a way and profile, stacked by part, with the device's memory as a line.

    All plans are for one machine. Ways that our training refuses are left out, and so is training on one
    device where there are several.
    """
    machine, rows = plans[0], list(_rows(plans))
    room = machine.capacity / GIB
    checkpoints = "with" if machine.own.checkpointing else "without"
    said = (f"{source} · {machine.dtype}, {machine.batch} a device, up to {machine.longest} tokens, "
            f"{checkpoints} gradient checkpointing · giellm plan")
    height = 0.29 * len(rows) + 0.1 * len(plans) + 0.3
    with canvas(11, height + 1.6,
                f"What training takes of one device of {machine.devices}", said) as fig:
        fig.get_layout_engine().set(w_pad=0.13)
        ax = fig.add_subplot(xlabel="GiB of one device when a step holds most")
        ax.set_xlim(0, SHOWN * room)
        y, ticks, bold = -0.4, [], set()
        for plan, option in rows:
            if option is None:
                y += 1.25
                ax.text(0.006, y, f"{plan.profile}: {plan.model}", fontsize=9.5, fontweight="bold",
                        va="center", transform=ax.get_yaxis_transform())
                continue
            y += 1.0
            _bar(ax, y, option, room)
            ticks.append((y, way(option)))
            if option == plan.own:
                bold.add(len(ticks) - 1)
        ax.axvline(room, color=INK, lw=1.4, ls="--")
        ax.text(room, 1.004, f"{gib(machine.capacity)} GiB usable", transform=ax.get_xaxis_transform(),
                ha="center", va="bottom", fontsize=8.5, color=INK)
        ax.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
        for i in bold:
            ax.get_yticklabels()[i].set_fontweight("bold")
        ax.set_ylim(y + 0.7, 0)
        legend(ax, 1 + 0.27 / height)
    return fig


def _rows(plans: Sequence[Plan]) -> Iterator[tuple[Plan, Option | None]]:
    """A plan's header (None), then its ways."""
    for plan in plans:
        yield plan, None
        for option in plan.options:
            alone = plan.count > 1 and option.strategy == "one"
            if option.checkpointing == plan.own.checkpointing and not option.refused and not alone:
                yield plan, option


def _bar(ax: Axes, y: float, option: Option, room: float) -> None:
    left, edge = 0.0, SHOWN * room
    for head, size in grouped(option.memory).items():
        colour, ink, letter = LOOKS[head]
        ax.barh(y, size, left=left, color=colour, height=0.74, edgecolor=PAPER, lw=0.6)
        right = min(left + size, edge)
        middle = (left + right) / 2
        if abs(middle - room) < 0.06 * edge:  # the number would stand on the line: to its wider side
            middle = (left + room) / 2 if room - left > right - room else (room + right) / 2
        if right - left > 0.058 * edge:
            ax.text(middle, y, f"{letter} {size:.1f}", ha="center", va="center", fontsize=8, color=ink)
        elif right - left > 0.02 * edge:
            ax.text(middle, y, letter, ha="center", va="center", fontsize=8, color=ink)
        left += size
    ax.annotate(f"{gib(option.memory.total)}{' →' if left > edge else ''}", (min(left, edge), y), (6, 0),
                textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False,
                fontweight="normal" if option.fits else "bold", color=INK if option.fits else RED)


def legend(ax: Axes, above: float) -> None:
    """The parts by colour and letter, in one line at `above` (1 is the axes' upper edge)."""
    handles = [ax.barh(0, 0, color=colour, label=f"{letter}  {head}")
               for head, (colour, _, letter) in LOOKS.items()]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, above), ncols=len(handles),
              fontsize=8.5, handlelength=1, columnspacing=1.2, borderaxespad=0.1)
