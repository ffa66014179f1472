"""TODO"""

from __future__ import annotations

from collections.abc import Mapping

import llguidance.hf
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.schema import Level
from giellm_utils.formats.giellm import Converter
from giellm_utils.formats.grammar import build_grammar

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
    """Grammars of one task for one tokenizer.

    `tokenizer`: a fast transformers tokenizer (5 s for Gemma's 262,144 tokens, so pass on
    `constraint.tokenizer` when a second task needs one). `vocabulary`: rows of the model's output
    layer where they are more than the tokenizer's tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast | LLTokenizer, converter: Converter,
                 max_items: Mapping[str, int] | int, vocabulary: int | None = None) -> None:
        self.tokenizer = tokenizer if isinstance(tokenizer, LLTokenizer) else llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=vocabulary)
        self.converter = converter
        self.max_items = max_items

    def matcher(self, text: str, level: Level) -> OutputMatcher:
        """A matcher at the start of an output for `text`; raises GrammarError with the library's reason."""
        grammar = build_grammar(self.converter, level, text, max_items=self.max_items)
        return OutputMatcher(self.tokenizer, grammar)


def constraints(tokenizer: PreTrainedTokenizerFast, converters: Mapping[str, Converter],
                max_items: Mapping[str, Mapping[str, int] | int], vocabulary: int) -> dict[str, OutputConstraint]:
    """The grammars of several tasks over one tokenizer; `max_items` by task, `vocabulary` the rows of the
    model's output layer."""
    found: dict[str, OutputConstraint] = {}
    shared: PreTrainedTokenizerFast | LLTokenizer = tokenizer
    for name, converter in converters.items():
        found[name] = OutputConstraint(shared, converter, max_items[name], max(vocabulary, len(tokenizer)))
        shared = found[name].tokenizer
    return found
