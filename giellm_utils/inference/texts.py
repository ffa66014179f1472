"""Texts as tokenizers take them."""

from __future__ import annotations

import re

_SURROGATES = re.compile("[\ud800-\udfff]")


def tokenizable(text: str) -> str:
    """`text` with a replacement character for every lone surrogate, which no tokenizer takes."""
    return _SURROGATES.sub("\ufffd", text)
