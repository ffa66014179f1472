"""Grammars at work: which tokens may come next in one output, for one tokenizer (llguidance)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.schema import Level
from giellm_utils.formats.base import Format
from giellm_utils.inference.guidance import guidance_tokenizer

#: llguidance's default fuel refuses a text of 100,000 characters (50,000 still compile).
_LIMITS = LLParserLimits(initial_lexer_fuel=200_000_000, step_lexer_fuel=20_000_000,
                         max_grammar_size=50_000_000)


class GrammarError(GiellmError, RuntimeError):
    """A grammar that does not compile, or a token it does not allow; the message says which."""


class OutputMatcher:
    """Where one output stands in its grammar. Tokens are ids of the model's tokenizer."""

    def __init__(self, tokenizer: LLTokenizer, grammar: str) -> None:
        self.vocabulary = tokenizer.vocab_size
        self.matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
        if fault := self.fault():
            raise fault

    def fault(self) -> GrammarError | None:
        """Why this matcher is of no use any more; None as long as it is."""
        return GrammarError(self.matcher.get_error().strip()) if self.matcher.is_error() else None

    def allowed_ids(self) -> NDArray[np.intp]:
        """Ascending ids of the tokens that may come next; the end of sequence where it may end."""
        found, = allowed_ids([self])
        if isinstance(found, GrammarError):
            raise found
        return found

    def consume(self, token: int) -> None:
        """Take `token`; raises GrammarError, for good, where the grammar does not allow it."""
        if not self.matcher.consume_token(int(token)):
            raise GrammarError(f"token {token} is not allowed here: {self.matcher.get_error().strip()}")

    def forced_tokens(self) -> list[int]:
        """Tokens that must come next whatever the model says (not yet consumed); often none."""
        return self.matcher.compute_ff_tokens()

    def is_complete(self) -> bool:
        """Whether the output may end here."""
        return self.matcher.is_accepting()

    def is_finished(self) -> bool:
        """Whether nothing but the end of sequence can follow, or it was consumed."""
        return self.matcher.is_stopped()


@cache
def _executor() -> LLExecutor:
    return LLExecutor(os.cpu_count())


def allowed_ids(matchers: Sequence[OutputMatcher]) -> list[NDArray[np.intp] | GrammarError]:
    """`allowed_ids` of each of `matchers` on all processors; GrammarError for one that
    failed."""
    if not matchers:
        return []
    width = -(-max(m.vocabulary for m in matchers) // 32)
    words = np.zeros((len(matchers), width), dtype=np.uint32)
    _executor().unsafe_compute_mask_ptr([(m.matcher, k) for k, m in enumerate(matchers)], words.ctypes.data,
                                        width * 4, len(matchers))
    # Of 262,144 bits a few dozen are set: look at the words that hold some.
    rows, columns = np.nonzero(words)
    bits = np.unpackbits(words[rows, columns].astype("<u4").view(np.uint8), bitorder="little").reshape(-1, 32)
    word, bit = np.nonzero(bits)
    ids, ends = columns[word] * 32 + bit, np.searchsorted(rows[word], np.arange(1, len(matchers)))
    return [m.fault() or found for m, found in zip(matchers, np.split(ids, ends), strict=True)]


class OutputConstraint:
    """Grammars of one task's format for one tokenizer.

    Each part holds at most `max_items` items (of its kind). `tokenizer`: as guidance_tokenizer takes it, or
    what it made (it takes time, so pass on `constraint.tokenizer` when a second task needs one), as
    `vocabulary`. Raises FormatError for a format without a grammar and for a part without a bound.
    """

    def __init__(self, tokenizer: Any, fmt: Format,
                 max_items: Mapping[str, int] | int, vocabulary: int | None = None) -> None:
        fmt.grammar(fmt.levels[0], "", max_items)
        self.tokenizer = tokenizer if isinstance(tokenizer, LLTokenizer) else guidance_tokenizer(
            tokenizer, vocabulary)
        self.fmt, self.max_items = fmt, max_items

    def matcher(self, text: str, level: Level) -> OutputMatcher:
        """A matcher at the start of an output for `text`; raises GrammarError with the library's reason."""
        return OutputMatcher(self.tokenizer, self.fmt.grammar(level, text, self.max_items))


def constraints(tokenizer: Any, formats: Mapping[str, Format],
                max_items: Mapping[str, Mapping[str, int] | int],
                vocabulary: int) -> dict[str, OutputConstraint]:
    """The grammars of several tasks over one tokenizer; `max_items` by task, `vocabulary` the rows of the
    model's output layer. Raises FormatError as OutputConstraint does."""
    found: dict[str, OutputConstraint] = {}
    shared = tokenizer
    for name, fmt in formats.items():
        found[name] = OutputConstraint(shared, fmt, max_items[name], max(vocabulary, len(tokenizer)))
        shared = found[name].tokenizer
    return found
