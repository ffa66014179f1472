"""What model libraries print about themselves and no user needs to see, silenced where it arises."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def progress_bars(shown: bool) -> Iterator[None]:
    """transformers' bars on or off inside, as before afterwards."""
    before = logging.is_progress_bar_enabled()
    _switch(shown)
    try:
        yield
    finally:
        _switch(before)


def _switch(shown: bool) -> None:
    (logging.enable_progress_bar if shown else logging.disable_progress_bar)()


@contextmanager
def peft_wrapping() -> Iterator[None]:
    """Around every making of a PeftModel: peft 0.21 asks each base model for `is_gradient_checkpointing`,
    which transformers 5.23 deprecates. It answers the same, so nothing of ours can avoid the call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated",
                                category=FutureWarning)
        yield
