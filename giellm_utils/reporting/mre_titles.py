"""How the MRE experiment's tasks, conditions and verdicts are called and drawn."""

from __future__ import annotations

from giellm_utils.core.conditions import CONDITIONS, Look
from giellm_utils.core.mre_report import TrialEffect
from giellm_utils.data.registry import TASKS

TASK_TITLES = {"scpos": "SCPOS, mean of the four", "tcree": "TCREE, coupled class",
               "tcree-blind": "TCREE, blind class"}
VERDICTS = {"higher": "better", "lower": "worse", "equivalent": "no effect within the margin",
            "undecided": "undecided"}
#: A look of configs/experiments/mre.yaml -> when it was taken.
LOOKS = {"after-ii": "after stage (ii)", "after-iii": "after stage (iii)",
         "after-curve": "after the learning curve", "after-v": "after stage (v)",
         "after-vii": "after stage (vii)"}
#: For conditions that are not registered here.
PLAIN = Look(colour="#9aa2ab", marker="o")


def task_title(name: str) -> str:
    return TASK_TITLES.get(name) or (TASKS[name].title if name in TASKS else name)


def condition_title(name: str) -> str:
    """Of a condition, of two side by side ("text+words") or of one in another arm ("joint@main")."""
    name, _, arm = name.partition("@")
    title = " + ".join(CONDITIONS[n].title if n in CONDITIONS else n for n in name.split("+"))
    return f"{title}, {arm} arm" if arm else title


def when(look: str) -> str:
    """When a look was taken, in words."""
    return LOOKS.get(look, f"at the look {look}")


def look(name: str) -> Look:
    return CONDITIONS[name].look if name in CONDITIONS else PLAIN


def verdict(effect: TrialEffect) -> str:
    """In words; an effect that is real and yet within the margin is both."""
    small = ", within the margin" if effect.within_margin and effect.verdict in ("higher", "lower") else ""
    return VERDICTS[effect.verdict] + small


def p_text(p_value: float | None) -> str:
    """`0.034`, `< 0.001`; a dash where there is none."""
    return "–" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
