"""Many requests, some at once: each asked until it is answered, none twice, all held to a limit.

The one place where requests are repeated: on 408, 409, 425, 429, 5xx, a broken connection, silence and
answers that cannot be read; after the time that the server asks for, else after one that doubles, with
jitter.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tenacity import (
    retry_if_exception_type,
    RetryCallState,
    Retrying,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential_jitter,
    wait_random,
)

from giellm_utils.inference.answer_log import AnswerLog
from giellm_utils.inference.budget import Budget, LimitReached
from giellm_utils.inference.chat import ApiError, ChatClient, Passing, Question, Refused, Reply

#: So many refusals before any answer, and the run stops: it is not the texts that the server will not take.
REFUSALS = 5


@dataclass(frozen=True)
class Patience:
    """`attempts` for one request in all; `first` wait in seconds, doubled each time up to `longest`, and up
    to `first` seconds of jitter. A server that asks to wait longer than `longest` stops the run."""

    attempts: int = 6
    first: float = 1.0
    longest: float = 120.0


@dataclass
class Outcome:
    """What became of the requests. `lost`: question hash -> why it has no answer; `limit_reached`: the
    rest was not asked, for it could have passed the limit."""

    #: "asked": requests sent; "answered"; "repeated": sent again after a fault; "lost": given up;
    #: "refused": not taken by the server; "kept": answered in an earlier run.
    counts: Counter[str] = field(default_factory=Counter)
    lost: dict[str, str] = field(default_factory=dict)
    limit_reached: bool = False


class Asking:
    """Asks questions of one client and keeps every answer in `log`. `workers`: requests at once."""

    def __init__(self, client: ChatClient, log: AnswerLog, budget: Budget, *, workers: int = 4,
                 patience: Patience = Patience(), progress: Callable[[int, int], Any] | None = None) -> None:
        self.client, self.log, self.budget, self.workers = client, log, budget, workers
        self.patience, self.progress = patience, progress
        self._stop, self._lock = threading.Event(), threading.Lock()

    def run(self, questions: Sequence[Question]) -> Outcome:
        """Ask what has no answer in the log; questions that are the same are asked once.

        Raises ApiError where the server will answer nothing; what it answered before is kept.
        """
        by_hash = {q.hash(self.client.endpoint): q for q in questions}
        open_ = [h for h in by_hash if h not in self.log.answers]
        outcome = Outcome(Counter(kept=len(by_hash) - len(open_)))
        self._stop.clear()
        with ThreadPoolExecutor(self.workers) as pool:
            jobs = [pool.submit(self._one, hash, by_hash[hash], outcome) for hash in open_]
            try:
                for done, job in enumerate(as_completed(jobs), 1):
                    job.result()
                    if self.progress:
                        self.progress(done, len(jobs))
            finally:  # an ApiError, or Ctrl-C: nothing more is sent, what is under way comes in
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        return outcome

    def _one(self, hash: str, question: Question, outcome: Outcome) -> None:
        """Ask one question until it is answered, refused or given up."""
        if self._stop.is_set():
            return
        patience = self.patience
        retrying = Retrying(
            retry=retry_if_exception_type(Passing), wait=self._wait, sleep=sleep_using_event(self._stop),
            stop=stop_after_attempt(patience.attempts) | stop_when_event_set(self._stop), reraise=True)
        try:
            for attempt in retrying:
                with attempt:
                    self._once(hash, question, attempt.retry_state.attempt_number > 1, outcome)
        except LimitReached:
            outcome.limit_reached = True
            self._stop.set()
        except Refused as error:
            self._count(outcome, "refused")
            outcome.lost[hash] = str(error)
            if outcome.counts["refused"] >= REFUSALS and not outcome.counts["answered"]:
                self._stop.set()
                raise ApiError(f"{error}; it refused the first {REFUSALS} requests") from None
        except Passing as error:
            if not self._stop.is_set():
                self._count(outcome, "lost")
                outcome.lost[hash] = str(error)
        except ApiError:
            self._stop.set()
            raise

    def _once(self, hash: str, question: Question, again: bool, outcome: Outcome) -> None:
        most = question.most_tokens
        with self.budget.hold(most) as take:
            if self._stop.is_set():
                return
            self._count(outcome, "asked", *(["repeated"] if again else []))
            sent = time.monotonic()
            try:
                reply = self.client.ask(question)
            except Passing as error:
                if error.billed:
                    self.log.append(hash, None, most, False, time.monotonic() - sent)
                    take(most)
                if error.wait is not None and error.wait > self.patience.longest:
                    raise ApiError(f"{error}; the server asks to wait {error.wait:.0f} s: "
                                   "give the same command then") from None
                raise
            charged, measured = _charged(reply, most)
            self.log.append(hash, reply, charged, measured, time.monotonic() - sent)
            take(charged)
            self._count(outcome, "answered")

    def _wait(self, state: RetryCallState) -> float:
        """Seconds before the next attempt."""
        patience, error = self.patience, state.outcome.exception()
        if isinstance(error, Passing) and error.wait is not None:
            # Not all of those that were sent away come back in one moment.
            return error.wait + wait_random(0, patience.first)(state)
        return wait_exponential_jitter(patience.first, patience.longest, jitter=patience.first)(state)

    def _count(self, outcome: Outcome, *names: str) -> None:
        with self._lock:
            outcome.counts.update(names)


def _charged(reply: Reply, most: tuple[int, int]) -> tuple[tuple[int, int], bool]:
    """The tokens of an answer as the server says, else the most that they can be."""
    if reply.input_tokens is None or reply.output_tokens is None:
        return most, False
    return (reply.input_tokens, reply.output_tokens), True
