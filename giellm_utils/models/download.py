"""Weights of a Hub model, brought into the Hub's own cache; what was cut off goes on, also after a kill.

huggingface_hub resumes within a process only: since 2.x a partial file is the process's own and goes with
it. So the weight files, which are nearly all of a model, are fetched here and put where its client looks
for finished ones; the rest is left to it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from filelock import FileLock

from giellm_utils.core.files import sha256
from giellm_utils.models.spec import ModelError

#: Names by which transformers and peft find weights.
WEIGHTS = re.compile(r"(adapter_)?model(-\d+-of-\d+)?\.safetensors")


def is_reachable() -> bool:
    """Whether the Hub answers at all. Its client tries for over a minute before it says that it does not."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # the Hub's client raises over a dozen kinds
        return False
    return True


def fetch_weights(repo: str, revision: str | None = None) -> None:
    """Download the safetensors of a Hub model that its cache lacks.

    Does nothing for a model that the Hub does not show: who loads it then says why. Raises ModelError for a
    download that is cut off for good or comes damaged.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        info = HfApi().model_info(repo, revision=revision, timeout=30)
    except Exception:  # as above
        return
    for name in (file.rfilename for file in info.siblings or ()):
        if WEIGHTS.fullmatch(name) and not isinstance(
                try_to_load_from_cache(repo, name, revision=info.sha), str):
            _fetch(repo, name, info.sha)


def _fetch(repo: str, name: str, commit: str) -> None:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, name, revision=commit)
    facts = get_hf_file_metadata(url)
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    blob = folder / "blobs" / facts.etag
    part = blob.with_name(blob.name + ".part")
    blob.parent.mkdir(parents=True, exist_ok=True)
    # Every process of a training comes here; the first downloads.
    with FileLock(str(part) + ".lock"):
        if blob.exists():
            return
        try:
            with part.open("ab") as file:
                if there := file.tell():
                    print(f"{repo}, {name}: goes on after {_mb(there)} of {_mb(facts.size)}", flush=True)
                http_get(url, file, resume_size=there, headers=build_hf_headers(), expected_size=facts.size,
                         displayed_filename=name)
        except Exception as error:
            raise ModelError(f"{repo}, {name}: the download was cut off after {_mb(part.stat().st_size)} of "
                             f"{_mb(facts.size)} ({type(error).__name__}); the same command goes on from "
                             "there") from error
        # The tag of a large file is its SHA-256.
        if len(facts.etag) == 64 and sha256(part) != facts.etag:
            part.unlink()
            raise ModelError(f"{repo}, {name}: what came is damaged and was removed; run the same command "
                             "again")
        os.replace(part, blob)


def _mb(count: int | None) -> str:
    return "an unknown size" if count is None else f"{count / 1e6:.1f} MB"
