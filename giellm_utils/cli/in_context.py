"""`giellm in-context`: any model behind an API of OpenAI's kind, as a row of results/systems/."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TYPE_CHECKING

import typer
from pydantic import ValidationError

from giellm_utils.cli.evaluate import (
    checked_split,
    ForceOption,
    LimitOption,
    OutOption,
    ProfileOption,
    SetOption,
    SplitOption,
    summary,
    TaskOption,
    this_command,
)
from giellm_utils.core.paths import shown
from giellm_utils.core.settings import ConfigError, parse_override

if TYPE_CHECKING:
    from giellm_utils.experiment.in_context import Prepared
    from giellm_utils.experiment.profile import Profile
    from giellm_utils.experiment.system_row import Answered, Asked
    from giellm_utils.inference.asking import Outcome
    from giellm_utils.inference.budget import Budget, Limit
    from giellm_utils.inference.chat import ChatClient
    from giellm_utils.systems.in_context import InContextConfig

#: Exit codes: documents without an answer, and a limit that was reached.
UNANSWERED, LIMIT_REACHED = 3, 4


def in_context(
        profile: ProfileOption, task: TaskOption, limit: LimitOption = None, split: SplitOption = None,
        shots: Annotated[int, typer.Option(min=1, help="Demonstrations, drawn from train by seed.")] = 5,
        api: Annotated[str, typer.Option(help="chat, or completions (base models).")] = "chat",
        instruction: Annotated[bool, typer.Option(help="Say in words what to do, then the examples.")] = True,
        answer_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 256,
        param: Annotated[list[str] | None, typer.Option(
            "--param", help="A parameter of the API: temperature=1, max_tokens=null.")] = None,
        stop_at_tokens: Annotated[int | None, typer.Option(
            min=1, help="Most tokens, in and out, of all that is kept for this model and dataset.")] = None,
        stop_at_dollars: Annotated[float | None, typer.Option(min=0, help="Most dollars, likewise.")] = None,
        price: Annotated[str, typer.Option(
            help="Dollars for a million tokens, IN,OUT; default: what genai-prices knows.")] = "",
        workers: Annotated[int, typer.Option(min=1, max=64, help="Requests at once.")] = 4,
        timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server may be silent.")] = 60,
        attempts: Annotated[int, typer.Option(min=1, help="For one request, in all.")] = 6,
        estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it may take.")] = False,
        partial: Annotated[bool, typer.Option(
            "--partial", help="Write the row although answers lack; they count as wrong.")] = False,
        set_: SetOption = None,
        out: OutOption = Path("results"),
        force: ForceOption = False) -> None:
    """Ask GIELLM_API_MODEL at GIELLM_API_BASE (key: GIELLM_API_KEY) about a profile's documents.

    Without GIELLM_API_BASE: OpenAI, with OPENAI_API_KEY. Every answer is kept at once; the same command
    goes on where it stopped. Exit code 3: some documents have no answer; 4: a limit was reached.
    """
    from giellm_utils.experiment import system_row
    from giellm_utils.experiment.profile import load_profile
    from giellm_utils.inference.budget import Limit
    from giellm_utils.inference.chat import ChatClient, Endpoint

    client, here = ChatClient(Endpoint.from_environment(), timeout), system_row.machine()
    loaded = load_profile(profile, dict(parse_override(s) for s in set_ or ()))
    config = _config(api=api, shots=shots, seed=loaded.seed, answer_tokens=answer_tokens,
                     instruction=instruction, parameters=dict(parse_override(p) for p in param or ()))
    asked = system_row.select(loaded, task, limit, checked_split(split))
    answered = _ask(client, loaded, asked, config, limit=Limit(stop_at_tokens, stop_at_dollars),
                    price=_price(price), workers=workers, attempts=attempts, only_estimate=estimate,
                    partial=partial)
    path, result = system_row.write_row(asked, answered, out, command=this_command(), machine=here,
                                        force=force)
    for line in [*summary(result), shown(path)]:
        typer.echo(line)


def _ask(client: ChatClient, profile: Profile, asked: Asked, config: InContextConfig, *, limit: Limit,
         price: tuple[float, float] | None, workers: int, attempts: int, only_estimate: bool,
         partial: bool) -> Answered:
    """Say what it may take, ask what is lacking and read the answers; leaves where there is to be no row."""
    from giellm_utils.experiment import in_context as experiment
    from giellm_utils.inference.answer_log import AnswerLog
    from giellm_utils.inference.asking import Asking, Patience
    from giellm_utils.inference.budget import Budget, price_of

    costs = price_of(client.endpoint, price)
    with AnswerLog(experiment.log_path(client.endpoint, asked)) as log:
        prepared = experiment.prepare(profile, asked, client.endpoint, config, log, costs)
        budget = Budget(limit, costs, log.lines)
        for line in _announced(prepared, budget):
            typer.echo(line)
        if only_estimate:
            raise typer.Exit
        asking = Asking(client, log, budget, workers=workers, patience=Patience(attempts),
                        progress=_progress())
        try:
            outcome, seconds = experiment.ask(prepared, asking)
        except KeyboardInterrupt:
            typer.echo("giellm: stopped; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
        typer.echo(_counted(outcome))
        answered = experiment.answered(prepared, seconds)
        if answered.unanswered and not partial:
            _lacking(prepared, outcome, answered.unanswered)
        return answered


def _config(**given: Any) -> InContextConfig:
    from giellm_utils.systems.in_context import InContextConfig

    try:
        return InContextConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None


def _price(given: str) -> tuple[float, float] | None:
    if not given:
        return None
    try:
        tokens_in, tokens_out = map(float, given.split(","))
    except ValueError:
        raise ConfigError(f"--price {given!r}: write dollars for a million tokens, IN,OUT: 0.5,1.5") from None
    if min(tokens_in, tokens_out) < 0:
        raise ConfigError(f"--price {given!r}: a price is not below 0")
    return tokens_in, tokens_out


def _announced(prepared: Prepared, budget: Budget) -> list[str]:
    """What is asked of whom and what it may take, before anything is sent."""
    found, endpoint = prepared.estimate(), prepared.system.endpoint
    documents = len(prepared.asked.test)
    lines = [f"{endpoint.model} at {endpoint.host}: {documents} documents, {found.requests} requests to send",
             f"about {found.likely[0]:,} tokens in and {found.likely[1]:,} out ({found.basis}), "
             f"at most {found.most[0]:,} and {found.most[1]:,} unless some are repeated"]
    if found.most_dollars is None:
        lines.append(f"cost: unknown, no price is known for {endpoint.model} at {endpoint.host}")
    else:
        lines.append(f"cost: about ${found.likely_dollars:.4f}, at most ${found.most_dollars:.4f}")
    if sum(budget.spent):
        lines.append(f"taken before: {budget.spent[0]:,} tokens in and {budget.spent[1]:,} out"
                     + (f", ${budget.dollars:.4f}" if budget.dollars is not None else ""))
    limit = budget.limit
    limits = [f"{limit.tokens:,} tokens"] if limit.tokens is not None else []
    limits += [f"${limit.dollars:g}"] if limit.dollars is not None else []
    return [*lines, f"stops at: {' and '.join(limits) or 'no limit (--stop-at-tokens, --stop-at-dollars)'}"]


def _progress() -> Callable[[int, int], None]:
    """A line that is written over on a terminal, else one for every tenth."""
    live = sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        if live:
            print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done == total or done % max(1, total // 10) == 0:
            print(f"{done} of {total}", file=sys.stderr, flush=True)
    return show


def _counted(outcome: Outcome) -> str:
    return ", ".join(f"{outcome.counts[name]} {name}" for name in
                     ("kept", "asked", "answered", "repeated", "refused", "lost"))


def _lacking(prepared: Prepared, outcome: Outcome, unanswered: int) -> NoReturn:
    """Say why there is no row, and leave."""
    kept = f"what was answered is kept in {shown(prepared.log.path)}"
    if outcome.limit_reached:
        typer.echo("giellm: stopped before the next request could pass the limit; "
                   f"{unanswered} documents have no answer, {kept}: raise the limit to go on", err=True)
        raise typer.Exit(LIMIT_REACHED)
    why = next(iter(outcome.lost.values()), "stopped")
    typer.echo(f"giellm: {unanswered} documents have no answer ({why}); {kept}: the same command asks for "
               "them again, --partial counts them as wrong", err=True)
    raise typer.Exit(UNANSWERED)
