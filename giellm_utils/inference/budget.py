"""What a run of requests may take, in tokens and money: estimated before it starts, held while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from giellm_utils.core.settings import ConfigError
from giellm_utils.inference.answer_log import Line
from giellm_utils.inference.chat import Endpoint, Question

#: Tokens in and out -> US dollars.
Price = Callable[[int, int], float]
Tokens = tuple[int, int]


class LimitReached(Exception):
    """The next request could pass a limit."""


@dataclass(frozen=True)
class Limit:
    """None: no limit. Of everything that the answers on disk have taken, of earlier runs too."""

    tokens: int | None = None
    dollars: float | None = None


def price_of(endpoint: Endpoint, given: tuple[float, float] | None = None) -> Price | None:
    """The price of a model: `given` (dollars for a million tokens in and out), or what genai-prices knows
    of this model at this address; None where it does not know it. Nothing is fetched."""
    if given is not None:
        return lambda tokens_in, tokens_out: (tokens_in * given[0] + tokens_out * given[1]) / 1e6
    from genai_prices import calc_price, Usage

    def price(tokens_in: int, tokens_out: int) -> float:
        usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        return float(calc_price(usage, endpoint.model, provider_api_url=endpoint.base).total_price)

    try:
        price(1, 1)
    except LookupError:
        return None
    return price


@dataclass(frozen=True)
class Estimate:
    """Before a run: requests to send; `most` tokens that they can take in and out, if none is repeated, and
    `likely` ones by `basis`; dollars of both, None where no price is known."""

    requests: int
    most: Tokens
    likely: Tokens
    basis: str
    most_dollars: float | None
    likely_dollars: float | None


def estimate(questions: Sequence[Question], lines: Sequence[Line], price: Price | None,
             likely_output: int) -> Estimate:
    """`questions`: those without an answer yet. `lines`: of the log, whose measured tokens an answer are
    the basis where there are any; else 1 token a character in and `likely_output` out."""
    most = _sum(q.most_tokens for q in questions)
    measured = [line for line in lines if line.measured and line.text is not None]
    if measured:
        likely = tuple(round(len(questions) * sum(n) / len(measured))
                       for n in zip(*((line.input, line.output) for line in measured), strict=True))
        basis = f"mean of {len(measured)} answers"
    else:
        likely = (sum(len(text) for q in questions for text in q.texts), len(questions) * likely_output)
        basis = "1 token a character"

    def dollars(find: Iterable[Tokens]) -> float | None:
        return None if price is None else sum(price(*tokens) for tokens in find)

    return Estimate(len(questions), most, likely, basis, dollars(q.most_tokens for q in questions),
                    dollars([likely]))


class Budget:
    """Tokens and dollars taken so far, and what requests under way may take; safe for threads."""

    def __init__(self, limit: Limit, price: Price | None, lines: Iterable[Line] = ()) -> None:
        """Raises ConfigError for a limit in dollars without a price."""
        if limit.dollars is not None and price is None:
            raise ConfigError("a limit in dollars cannot be held: no price is known for this model at this "
                              "address; give its price, or a limit in tokens")
        self.limit, self._price = limit, price
        self.spent = _sum((line.input, line.output) for line in lines)
        self.dollars = None if price is None else 0.0
        for line in lines:
            self._pay((line.input, line.output))
        self._held: list[Tokens] = []
        self._changed = threading.Condition()

    def _pay(self, tokens: Tokens) -> None:
        if self._price is not None:
            self.dollars += self._price(*tokens)

    @contextmanager
    def hold(self, most: Tokens) -> Iterator[Callable[[Tokens], None]]:
        """Keep `most` free for one request; what it is called with was really taken.

        Waits for requests under way where only they stand in its way. Raises LimitReached.
        """
        with self._changed:
            while not self._fits([*self._held, most]):
                if not self._held:
                    raise LimitReached
                self._changed.wait()
            self._held.append(most)
        try:
            yield self._take
        finally:
            with self._changed:
                self._held.remove(most)
                self._changed.notify_all()

    def _take(self, tokens: Tokens) -> None:
        with self._changed:
            self.spent = _sum([self.spent, tokens])
            self._pay(tokens)

    def _fits(self, held: list[Tokens]) -> bool:
        tokens, dollars = sum(self.spent) + sum(map(sum, held)), self.dollars
        if self.limit.tokens is not None and tokens > self.limit.tokens:
            return False
        if self.limit.dollars is None:
            return True
        return dollars + sum(self._price(*each) for each in held) <= self.limit.dollars


def _sum(tokens: Iterable[Tokens]) -> Tokens:
    pairs = list(tokens)
    return sum(p[0] for p in pairs), sum(p[1] for p in pairs)
