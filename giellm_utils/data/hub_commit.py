"""Which commit of a Hub dataset is read: found once, written down, and the same ever after.

The Hub takes a commit by its 40 digits only; what is known of a dataset may be the first few, as its
pages show them. The first load looks them up in the dataset's history and writes commit and files into
`$GIELLM_CACHE_DIR/hub/`; later loads ask nothing that stands there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Artifact
from giellm_utils.core.paths import cache_dir
from giellm_utils.data.hub_files import HubError, is_pattern

FULL = 40


class Resolved(Artifact):
    """One commit of one dataset: `wanted` as the YAML names it (first digits; empty: the newest), its
    `files`, and how many commits were `newer` when it was looked up."""

    repo: str
    wanted: list[str]
    commit: str
    newer: int | None
    files: list[str]


def lock_file(repo: str, wanted: Sequence[str]) -> Path:
    """Where the commit of `repo` is written down."""
    name = "-".join([repo.replace("/", "--"), *(w[:12] for w in wanted)])
    return cache_dir() / "hub" / f"{name}.json"


def known(repo: str, wanted: Sequence[str], names: Sequence[str]) -> Resolved | None:
    """What the YAML says in full or an earlier load wrote down; None where neither does. Asks nothing."""
    if (path := lock_file(repo, wanted)).exists():
        return artifacts.read(path, Resolved)
    if is_full(wanted) and not any(map(is_pattern, names)):
        return Resolved(repo=repo, wanted=list(wanted), commit=wanted[0], newer=None, files=list(names))
    return None


def is_full(wanted: Sequence[str]) -> bool:
    """Whether `wanted` is one whole commit."""
    return len(wanted) == 1 and len(wanted[0]) == FULL


def resolve(repo: str, wanted: Sequence[str], names: Sequence[str]) -> Resolved:
    """The commit of `repo` that begins with one of `wanted`, the newest such; the newest of all for none.

    Written down the first time, and said; a whole commit with the `names` of its files is taken as it is.
    Raises HubError where the Hub or the commit cannot be had.
    """
    if found := known(repo, wanted, names):
        return found
    from huggingface_hub import HfApi

    api, newer = HfApi(), None
    with _one_sentence(repo, " or ".join(wanted) or "main"):
        if is_full(wanted):
            commit = wanted[0]
        else:
            history = [c.commit_id for c in api.list_repo_commits(repo, repo_type="dataset")]
            newer = _position(repo, history, wanted)
            commit = history[newer]
        files = api.list_repo_files(repo, repo_type="dataset", revision=commit)
    found = Resolved(repo=repo, wanted=list(wanted), commit=commit, newer=newer, files=sorted(files))
    artifacts.write(lock_file(repo, wanted), found)
    later = f"; {newer} newer commits are left aside" if newer else ""
    print(f"{repo}: {' or '.join(wanted) or 'the newest commit'} is commit {commit}{later}; written down. "
          f'To pin it for others, write revision: "{commit}"')
    return found


def _position(repo: str, history: list[str], wanted: Sequence[str]) -> int:
    """Where in `history` (newest first) the first commit stands that `wanted` names."""
    places = [i for i, commit in enumerate(history) if not wanted or commit.startswith(tuple(wanted))]
    if places:
        return places[0]
    newest = f'its newest is {history[0]}; if that is what you want, write revision: "{history[0]}"'
    raise HubError(f"{repo} has no commit that begins with {' or '.join(wanted)} ("
                   f"{newest if history else 'its history is empty'})")


def download(found: Resolved, names: Sequence[str]) -> Path:
    """The folder of a snapshot that holds `names`, from the Hub client's cache or downloaded into it."""
    from huggingface_hub import snapshot_download

    if set(found.commit) == {"0"}:
        raise HubError(f"{found.repo} at {found.commit}: that is the placeholder of a template; put in the "
                       "dataset's own name and commit")
    with _one_sentence(found.repo, found.commit):
        return Path(snapshot_download(found.repo, repo_type="dataset", revision=found.commit,
                                      allow_patterns=[re.sub(r"([*?[])", r"[\1]", n) for n in names]))


def cached(found: Resolved, name: str) -> Path | None:
    """Where the Hub client's cache has a file; None where it has not."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(found.repo, name, repo_type="dataset", revision=found.commit)
    return Path(path) if isinstance(path, str) else None


@contextmanager
def _one_sentence(repo: str, revision: str):
    """What goes wrong with the Hub, as HubErrors."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RepositoryNotFoundError:
        raise HubError(f"the Hub has no dataset {repo}, or it is gated or private; check the name, "
                       "accept its terms on its page and log in with `hf auth login`") from None
    except RevisionNotFoundError:
        raise HubError(f"{repo} has no commit {revision}; correct `revision`") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        raise HubError(f"{repo} at {revision} cannot be had from the Hub ({type(error).__name__}) and is not "
                       "in its cache; check the network, or download it elsewhere and name its `folder`"
                       ) from None
