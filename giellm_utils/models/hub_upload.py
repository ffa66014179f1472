"""A folder's worth of files as one commit on the Hugging Face Hub.

Tried against a local stand-in of the Hub's API only (tests/support/hub.py), never against the real one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from giellm_utils.core.errors import GiellmError
from giellm_utils.models.download import is_reachable

#: The one place that a token is taken from.
TOKEN = "HF_TOKEN"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: What the Hub itself puts into a new repository.
_OWN = {".gitattributes"}


class PushError(GiellmError, RuntimeError):
    """Something that cannot be published; the message says what, why, and what would help."""


class Uploaded(NamedTuple):
    """Where a commit stands, and whether anyone may see it."""

    url: str
    private: bool


def check_repo(repo: str) -> str:
    """`repo` where it is a name as the Hub has them; raises PushError."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise PushError(f"{repo!r} is no name of a repository; write OWNER/NAME in letters, digits, -, _, .")
    return repo


def upload(repo: str, files: Mapping[str, Path | bytes], message: str, *, private: bool,
           replace: bool) -> Uploaded:
    """Commit `files` (path in the repository -> content) to the model repository `repo`, which is made,
    `private` or not, where there is none.

    The token comes from the environment (HF_TOKEN) and from nowhere else. Files that the repository has and
    `files` has not stay as they are. Raises PushError: without token or network, where the Hub refuses or its
    answer to the commit is lost, and where one of `files` is there already and not to be `replace`d.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise PushError(f"{TOKEN} is not set: the Hub wants an access token with the right to write; it is "
                        "taken from the environment alone")
    if not is_reachable():
        raise PushError("the Hub cannot be reached (or HF_HUB_OFFLINE is set): nothing was uploaded")
    api = HfApi(token=token)
    sent = False
    try:
        api.create_repo(check_repo(repo), private=private, exist_ok=True)
        info = api.model_info(repo)
        if private and not info.private:
            raise PushError(f"{repo} is public: give --public to publish there, or another name")
        there = sorted({s.rfilename for s in info.siblings or ()} & set(files) - _OWN)
        if there and not replace:
            raise PushError(f"{repo} holds {', '.join(there)} already: give --replace to commit over "
                            f"{'them' if len(there) > 1 else 'it'} (what is there stays in its history)")
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        sent = True
        # The parent makes a commit fail where someone else was quicker.
        done = api.create_commit(repo, operations, commit_message=message, parent_commit=info.sha)
    except PushError:
        raise
    except Exception as error:  # the Hub's client raises over a dozen kinds
        said = " ".join(str(error).split()).replace(token, "…")[:200]
        said = f"{type(error).__name__}: {said}"
        if sent and not _refused(error):
            raise PushError(f"{repo}: the Hub did not confirm the commit ({said}), which may stand all the "
                            "same: look at the repository before you give the command again") from error
        raise PushError(f"{repo}: the Hub did not take it ({said}); no commit was made, and the same command "
                        "tries again") from error
    return Uploaded(done.commit_url, bool(info.private))


def _refused(error: Exception) -> bool:
    """Whether the Hub itself said no; after a timeout or a fault of its own it may have said yes."""
    return getattr(getattr(error, "response", None), "status_code", 500) < 500
