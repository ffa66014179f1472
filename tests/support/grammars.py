"""All that a grammar accepts, found by walking it."""

from __future__ import annotations

from llguidance import LLTokenizer

from giellm_utils.inference.matcher import OutputMatcher

#: One token a byte, so that a path of tokens is a byte string.
BYTES = LLTokenizer("byte")


def accepted(matcher: OutputMatcher) -> set[str]:
    """Every output `matcher` accepts, by walking all allowed bytes; the language is finite."""
    inner, found, stack = matcher.matcher, set(), []

    def walk() -> None:
        ids = matcher.allowed_ids().tolist()
        assert ids, "a dead end: nothing may follow, not even the end"
        assert (BYTES.eos_token in ids) == matcher.is_complete()
        if matcher.is_complete():
            found.add(bytes(stack).decode("utf-8"))
        for token in ids:
            if token != BYTES.eos_token:
                matcher.consume(token)
                stack.append(token)
                walk()
                stack.pop()
                assert inner.rollback(1)

    walk()
    return found
