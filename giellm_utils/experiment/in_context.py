"""A model behind an API, asked in context about one dataset, and its row of results/systems/.

Answers are kept in runs/in-context/<model>/<source>.<task>.jsonl as they come; the row is written when
every document has one. The same command asks only what is still lacking.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from giellm_utils.core.paths import runs_dir
from giellm_utils.core.system_result import ApiCost
from giellm_utils.experiment.profile import Profile
from giellm_utils.experiment.system_row import Answered, Asked
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.answer_log import AnswerLog
from giellm_utils.inference.asking import Asking, Outcome
from giellm_utils.inference.budget import Estimate, estimate, Price
from giellm_utils.inference.chat import Endpoint, Question, Reply
from giellm_utils.systems.in_context import InContext, InContextConfig, system_name


@dataclass(frozen=True)
class Prepared:
    """A system with its demonstrations drawn, the requests for `asked`, and the open log of answers."""

    system: InContext
    asked: Asked
    log: AnswerLog
    price: Price | None

    @property
    def questions(self) -> list[Question]:
        """One request a document."""
        return self.system.questions(self.asked.test)

    def lacking(self) -> dict[str, Question]:
        """The requests without an answer, by their hash."""
        by_hash = {q.hash(self.system.endpoint): q for q in self.questions}
        return {h: q for h, q in by_hash.items() if h not in self.log.answers}

    def estimate(self) -> Estimate:
        """What the requests without an answer may take; an answer is taken to be as long as the mean
        target of the demonstrations, 1 token a character, while no answer has been measured."""
        shown = self.system.demonstrations
        mean = sum(len(self.system.fmt.target(r)) for r in shown) // len(shown)
        return estimate(list(self.lacking().values()), self.log.lines, self.price, mean)


def log_path(endpoint: Endpoint, asked: Asked) -> Path:
    """Where the answers of one model about one dataset are kept."""
    return runs_dir() / "in-context" / system_name(endpoint.model) / f"{asked.source}.{asked.task.name}.jsonl"


def prepare(profile: Profile, asked: Asked, endpoint: Endpoint, config: InContextConfig, log: AnswerLog,
            price: Price | None) -> Prepared:
    """Draw the demonstrations. Raises ConfigError, FormatError for a format that is not the task's."""
    def kept(questions: Sequence[Question]) -> Mapping[str, Reply]:
        return log.answers

    system = InContext(make_format(profile.format.name, asked.task), endpoint, config, kept)
    system.fit(asked.train)
    return Prepared(system, asked, log, price)


def ask(prepared: Prepared, asking: Asking) -> tuple[Outcome, float | None]:
    """Ask what is lacking; returns what became of it and the seconds, None where answers were there already.

    Raises ApiError where the server answers nothing.
    """
    start = time.monotonic()
    outcome = asking.run(prepared.questions)
    return outcome, None if outcome.counts["kept"] else time.monotonic() - start


def answered(prepared: Prepared, seconds: float | None) -> Answered:
    """The answers in the log, read both ways; documents without one count as wrong."""
    system, records = prepared.system, prepared.asked.test
    lacking = prepared.lacking()
    return Answered(
        system.name, "in-context", system.title, system.level, system.predict(records), system.settings, 0.0,
        seconds, lenient=system.predict_leniently(records),
        unanswered=sum(q.hash(system.endpoint) in lacking for q in prepared.questions), cost=_cost(prepared))


def _cost(prepared: Prepared) -> ApiCost:
    """Of the requests of these documents, those that brought no answer among them."""
    wanted = {q.hash(prepared.system.endpoint) for q in prepared.questions}
    lines = [line for line in prepared.log.lines if line.hash in wanted]
    dollars = None if prepared.price is None else sum(prepared.price(x.input, x.output) for x in lines)
    timed = all(x.seconds is not None for x in lines)
    return ApiCost(requests=len(lines), input_tokens=sum(x.input for x in lines),
                   output_tokens=sum(x.output for x in lines), measured=all(x.measured for x in lines),
                   dollars=dollars, seconds=round(sum(x.seconds for x in lines), 2) if timed else None)
