"""Grammars at work: which tokens may come next in one output, for one tokenizer (llguidance)."""

from __future__ import annotations

from collections.abc import Mapping

import llguidance.hf
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.schema import Level
from giellm_utils.formats.base import Format

#: llguidance's default fuel refuses a text of 100,000 characters (50,000 still compile).
_LIMITS = LLParserLimits(initial_lexer_fuel=200_000_000, step_lexer_fuel=20_000_000,
                         max_grammar_size=50_000_000)


class GrammarError(GiellmError, RuntimeError):
    """A grammar that does not compile, or a token it does not allow; the message says which."""


class OutputMatcher:
    """Where one output stands in its grammar. Tokens are ids of the model's tokenizer."""

    def __init__(self, tokenizer: LLTokenizer, grammar: str) -> None:
        self._tokenizer = tokenizer
        self._matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(self._matcher.get_error().strip())

    def allowed_mask(self) -> NDArray[np.bool_]:
        """[vocabulary] True where a token may come next; the end of sequence where it may end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(bits, count=self._tokenizer.vocab_size, bitorder="little").view(np.bool_)

    def allowed_ids(self) -> NDArray[np.intp]:
        """Ascending ids of the tokens that may come next."""
        return np.flatnonzero(self.allowed_mask())

    def consume(self, token: int) -> None:
        """Take `token`; raises GrammarError, for good, where the grammar does not allow it."""
        if not self._matcher.consume_token(int(token)):
            raise GrammarError(f"token {token} is not allowed here: {self._matcher.get_error().strip()}")

    def forced_tokens(self) -> list[int]:
        """Tokens that must come next whatever the model says (not yet consumed); often none."""
        return self._matcher.compute_ff_tokens()

    def is_complete(self) -> bool:
        """Whether the output may end here."""
        return self._matcher.is_accepting()

    def is_finished(self) -> bool:
        """Whether nothing but the end of sequence can follow, or it was consumed."""
        return self._matcher.is_stopped()


class OutputConstraint:
    """Grammars of one task's format for one tokenizer.

    Each part holds at most `max_items` items (of its kind). `tokenizer`: a fast transformers tokenizer
    (llguidance reads its vocabulary for seconds, so pass on `constraint.tokenizer` when a second task
    needs one). `vocabulary`: rows of the model's output layer where they are more than the tokenizer's
    tokens. Raises FormatError for a format without a grammar and for a part without a bound.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast | LLTokenizer, fmt: Format,
                 max_items: Mapping[str, int] | int, vocabulary: int | None = None) -> None:
        fmt.grammar(fmt.levels[0], "", max_items)
        self.tokenizer = tokenizer if isinstance(tokenizer, LLTokenizer) else llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=vocabulary)
        self.fmt, self.max_items = fmt, max_items

    def matcher(self, text: str, level: Level) -> OutputMatcher:
        """A matcher at the start of an output for `text`; raises GrammarError with the library's reason."""
        return OutputMatcher(self.tokenizer, self.fmt.grammar(level, text, self.max_items))


def constraints(tokenizer: PreTrainedTokenizerFast, formats: Mapping[str, Format],
                max_items: Mapping[str, Mapping[str, int] | int],
                vocabulary: int) -> dict[str, OutputConstraint]:
    """The grammars of several tasks over one tokenizer; `max_items` by task, `vocabulary` the rows of the
    model's output layer. Raises FormatError as OutputConstraint does."""
    found: dict[str, OutputConstraint] = {}
    shared: PreTrainedTokenizerFast | LLTokenizer = tokenizer
    for name, fmt in formats.items():
        found[name] = OutputConstraint(shared, fmt, max_items[name], max(vocabulary, len(tokenizer)))
        shared = found[name].tokenizer
    return found
