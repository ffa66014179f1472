"""ChaosFile: what SIGKILLs at random moments did to commands that were started again, as it is committed."""

from __future__ import annotations

from typing import Literal

from giellm_utils.core.artifacts import Artifact

#: What the end of a resumed command may differ by from an unbroken one's: weights and losses (a sum in other
#: orders); confidences, which are written with four digits; and the digits to which scores are held.
CLOSE, CONFIDENCES, DIGITS = 1e-4, 2.5e-4, 3
#: The kinds of Faults, in the order in which tables show them.
KINDS = ("lost", "doubled", "different", "litter")


class Kill(Artifact):
    """What one SIGKILL did, or that the command ended before it came (victim None)."""

    after: float
    victim: Literal["command", "child"] | None
    #: Exit code of the command; None where it had to be killed for it hung.
    returncode: int | None
    #: Processes alive at the kill besides the victim, and those of them that did not end by themselves.
    others: int = 0
    left: int = 0
    #: Until the last of them had ended.
    seconds: float = 0.0


class Faults(Artifact):
    """How the end of a broken run differs from that of an unbroken one; empty where it does not."""

    lost: list[str] = []
    doubled: list[str] = []
    different: list[str] = []
    litter: list[str] = []


class Life(Artifact):
    """One folder from its start to its end, killed in between; `seed` drew the moments and the victims, the
    code was that of `git`."""

    seed: int
    git: str
    target: str
    life: int
    kills: list[Kill]
    #: Exit code of the last start, which nobody killed.
    returncode: int | None
    faults: Faults

    @property
    def is_clean(self) -> bool:
        """Whether it ended as an unbroken one and no process outlived a kill."""
        return not any(self.faults.model_dump().values()) and not any(k.left for k in self.kills)


class ChaosFile(Artifact):
    """results/chaos/PROFILE.json. `unbroken`: seconds of each target's start that nobody kills."""

    profile: str
    processors: int
    system: str
    packages: dict[str, str]
    unbroken: dict[str, float]
    lives: list[Life]
