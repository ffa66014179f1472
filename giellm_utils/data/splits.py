"""The split of the embedded mini corpus: by text alone, so that it never depends on file order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from giellm_utils.core.schema import Split

#: Of every text label's texts: a quarter for test, a tenth of the remainder for dev.
TEST_SHARE, DEV_SHARE = 0.25, 0.10


def text_sha1(text: str) -> str:
    """First 12 hex digits of the SHA-1 of the UTF-8 text, as in the annotation layers."""
    return hashlib.sha1(text.encode("utf-8")).hexdigest()[:12]


def stratified_split(texts: Sequence[str], labels: Sequence[str]) -> list[Split]:
    """A split for each text, stratified by label; texts are ranked by their SHA-1."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        groups[label].append(i)
    splits: list[Split] = ["train"] * len(texts)
    for members in groups.values():
        members.sort(key=lambda i: text_sha1(texts[i]))
        n_test = round(len(members) * TEST_SHARE)
        n_dev = round((len(members) - n_test) * DEV_SHARE)
        for rank, i in enumerate(members):
            splits[i] = "test" if rank < n_test else "dev" if rank < n_test + n_dev else "train"
    return splits
