"""Where raw data comes from: a local folder, a checked download, or the embedded package data.

`fetch` looks in this order: the folder named by GIELLM_DATA_DIR, the user's cache
(GIELLM_CACHE_DIR, by default ~/.cache/giellm), the owner's pinned address. Whatever it returns has
the pinned SHA-256; a wrong or half file never reaches the cache under its own name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import sha256
from giellm_utils.core.paths import cache_dir

ServedBy = Literal["local", "cache", "download"]
#: Seconds to wait for a connection and between two pieces of data.
TIMEOUT = (10.0, 60.0)
#: A broken connection is taken up again this many times, as long as each try brings new bytes.
ATTEMPTS = 4
#: Seconds to wait for another process that is downloading the same file.
LOCK_SECONDS = 600.0
#: Bytes a read; what is read of an unfinished chunk is lost with the connection, so it is small.
CHUNK = 4096


class SourceError(GiellmError, RuntimeError):
    """Raw data that cannot be had or is not what it should be; one sentence, with what to do."""


@dataclass(frozen=True)
class Resource:
    """One raw file of another owner. `path` is relative to GIELLM_DATA_DIR and to the cache."""

    name: str
    path: str
    url: str
    sha256: str
    licence: str
    attribution: str


@dataclass(frozen=True)
class Located:
    """A checked file on this machine and who served it."""

    path: Path
    served_by: ServedBy
    resource: Resource


_STOCKMARK = "5e525c2132c0e87cce890b8b92639a0cf357c1f3"
_JRTE = "fa164496fccfa393cd400cd86b96efeea62d69d2"
RESOURCES: dict[str, Resource] = {resource.name: resource for resource in (
    Resource("stockmark", "stockmark/ner.json",
             f"https://raw.githubusercontent.com/stockmarkteam/ner-wikipedia-dataset/{_STOCKMARK}/ner.json",
             "5796effb85c473aec5b85784545349ed42e408bb0fecdb78f82bc107d53edbe3",
             "CC BY-SA 3.0",
             "Stockmark Inc., ner-wikipedia-dataset v2.0 (sentences of the Japanese Wikipedia)"),
    Resource("jrte", "jrte/pn.tsv",
             f"https://raw.githubusercontent.com/megagonlabs/jrte-corpus/{_JRTE}/data/pn.tsv",
             "7c3ab858d2b4e72563718d80bebc5fd75daf59c91993e712be45f2014c664c1f",
             "CC BY-NC-SA 4.0",
             "Megagon Labs (Recruit), Japanese Realistic Textual Entailment Corpus, sentiment part"),
    # Hashed from a copy: the owner's address was never reached here, its form may differ.
    Resource("lexicon-nouns", "lexicon/pn.csv.m3.120408.trim",
             "http://www.cl.ecei.tohoku.ac.jp/resources/sent_lex/pn.csv.m3.120408.trim",
             "9ce83e61c16b6d191f024f083241f768aa1bd71122f0cefd0277df92e5905598",
             "terms of the owner, not stated in the file",
             "Japanese Sentiment Polarity Dictionary, nouns (Tohoku University; Kobayashi 2005, "
             "Higashiyama 2008)"),
)}


def data_dir() -> Path | None:
    """The local raw-data folder GIELLM_DATA_DIR, or None; raises SourceError if it is no folder."""
    value = os.environ.get("GIELLM_DATA_DIR")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise SourceError(f"GIELLM_DATA_DIR is {value}, which is no folder; correct it or unset it")
    return folder


def embedded(relative: str) -> Path:
    """The path of a file of the package data (`data/assets`), e.g. "mini/scnm.tsv".

    Raises SourceError when the installed package lacks it.
    """
    path = Path(str(resources.files("giellm_utils"))) / "data" / "assets" / relative
    if not path.is_file():
        raise SourceError(f"the package data lacks {relative} (looked at {path}); reinstall giellm_utils")
    return path


def find(name: str) -> Path | None:
    """Where `fetch` would look for the file of resource `name` first, unchecked; None where no file lies.

    Reads nothing and loads nothing down.
    """
    resource, folder = _resource(name), data_dir()
    places = [*([folder / resource.path] if folder else []), _cache_path(resource)]
    return next((path for path in places if path.is_file()), None)


def fetch(name: str, *, url: str | None = None) -> Located:
    """The file of resource `name`, with the right checksum.

    `url` replaces the owner's address (for a mirror). Raises SourceError when a local file has
    another checksum, when the download cannot be finished or brings another file.
    """
    resource, folder = _resource(name), data_dir()
    if folder is not None and (local := folder / resource.path).is_file():
        found = sha256(local)
        if found != resource.sha256:
            raise SourceError(f"{local} has sha256 {found}, not {resource.sha256}: it is another version "
                              f"of {name} or a damaged copy; replace it by {resource.url} or unset "
                              "GIELLM_DATA_DIR")
        return Located(local, "local", resource)

    target = _cache_path(resource)
    if _cached(target, resource):
        return Located(target, "cache", resource)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{target}.lock", timeout=LOCK_SECONDS):
            # Another process may have finished it while this one waited.
            if _cached(target, resource):
                return Located(target, "cache", resource)
            _download(resource, url or resource.url, target)
    except Timeout:
        raise SourceError(f"another process has held {target}.lock for {LOCK_SECONDS:.0f} seconds; "
                          "wait for its download or end it") from None
    return Located(target, "download", resource)


def _resource(name: str) -> Resource:
    if name not in RESOURCES:
        raise SourceError(f"no resource {name!r}; known resources: {', '.join(RESOURCES)}")
    return RESOURCES[name]


def _cache_path(resource: Resource) -> Path:
    return cache_dir() / "sources" / resource.path


def _cached(target: Path, resource: Resource) -> bool:
    return target.is_file() and sha256(target) == resource.sha256


def _how_else(resource: Resource) -> str:
    return (f"try again, or save the file as {resource.path} in a folder of yours and set "
            "GIELLM_DATA_DIR to that folder")


def _download(resource: Resource, url: str, target: Path) -> None:
    """Fetch `url` into `<target>.part`, continuing what is there, check it and move it into place."""
    part = target.with_name(target.name + ".part")
    for attempt in range(ATTEMPTS):
        before = _size(part)
        try:
            _receive(resource, url, part)
            break
        except requests.HTTPError as error:
            raise SourceError(f"{url} answers {error.response.status_code} for {resource.name}; "
                              f"{_how_else(resource)}") from None
        except requests.RequestException as error:
            if _size(part) > before and attempt + 1 < ATTEMPTS:
                continue
            kept = f", {_size(part):,} bytes are kept for the next try" if _size(part) else ""
            raise SourceError(f"{resource.name} cannot be downloaded from {url} "
                              f"({type(error).__name__}{kept}); {_how_else(resource)}") from None
    found = sha256(part)
    if found != resource.sha256:
        part.unlink()
        raise SourceError(f"the download of {resource.name} from {url} has sha256 {found}, not "
                          f"{resource.sha256}, and was deleted; {_how_else(resource)}")
    os.replace(part, target)


def _receive(resource: Resource, url: str, part: Path) -> None:
    have = _size(part)
    # identity: a range of a compressed answer would not continue the uncompressed file.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if have and answer.status_code == 416:
            return  # nothing is left to send: the checksum decides what the part is worth
        answer.raise_for_status()
        resumed = (answer.status_code == 206
                   and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"))
        if answer.status_code == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise requests.ConnectionError("the server sent another range than the one asked for")
        start = have if resumed else 0
        length = answer.headers.get("Content-Length", "")
        with (open(part, "ab" if resumed else "wb") as file,
              tqdm(total=start + int(length) if length.isdigit() else None, initial=start, unit="B",
                   unit_scale=True, desc=f"download {resource.name}") as bar):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
