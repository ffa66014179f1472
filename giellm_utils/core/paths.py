"""Where things lie: the repository, the user's cache, runs; and how a path is shown to people."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The weights that come with the repository, the default of `giellm extract`; nothing is trained from them.
WEIGHTS = ROOT / "weights" / "scnm-tcree"


def cache_dir() -> Path:
    """The user's cache: GIELLM_CACHE_DIR, or ~/.cache/giellm. Not created here."""
    return Path(os.environ.get("GIELLM_CACHE_DIR") or Path.home() / ".cache" / "giellm").expanduser()


def runs_dir() -> Path:
    """Where runs live: $GIELLM_RUNS_DIR or runs/ in the repository."""
    return Path(os.environ.get("GIELLM_RUNS_DIR", ROOT / "runs")).resolve()


def shown(path: Path) -> str:
    """A path as people should see it: relative to the repository, or its last three parts."""
    try:
        return str(path.resolve().relative_to(ROOT))
    except ValueError:
        return "/".join(path.parts[-3:])
