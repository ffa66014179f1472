"""Many requests to a server that misbehaves: each answered once, or accounted for; nothing asked twice."""

from __future__ import annotations

from collections import Counter
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from giellm_utils.inference.answer_log import AnswerLog
from giellm_utils.inference.asking import Asking, Outcome, Patience
from giellm_utils.inference.budget import Budget, Limit
from giellm_utils.inference.chat import ApiError, ChatClient, Endpoint, MOST_CHARACTERS, Question
from support.openai_server import Behaviour, OpenAIServer, Reply

QUICK = Patience(attempts=4, first=0.01, longest=3)


def question(name: str, tokens: int = 20) -> Question:
    return Question("chat", (("user", name),), {"max_tokens": tokens})


def ask(path: Path, names: list[str], behaviour: Behaviour, *, limit: Limit = Limit(), workers: int = 4,
        patience: Patience = QUICK, timeout: float = 0.6) -> tuple[Outcome, OpenAIServer, AnswerLog]:
    with OpenAIServer(behaviour) as server, AnswerLog(path) as log:
        client = ChatClient(Endpoint(server.url, "m", "k"), timeout)
        asking = Asking(client, log, Budget(limit, None, log.lines), workers=workers, patience=patience)
        return asking.run([question(n) for n in names]), server, log


def test_a_server_that_misbehaves_in_every_way(tmp_path, show):
    """One text each: the fault at first, then an answer; and two that never have one."""
    faults = {
        "fine": None, "429 after 1 s": Reply(status=429, headers={"Retry-After": "1"}),
        "429 by date": Reply(status=429, headers={"Retry-After": formatdate(time() + 1, usegmt=True)}),
        "429 bare": Reply(status=429), "500": Reply(status=500), "503": Reply(status=503),
        "cut": Reply("a" * 200, cut=True), "malformed": Reply(raw='{"choices": [{"mess'),
        "no choice": Reply(raw="{}"), "silent": Reply("late", wait=1.0)}
    always = {"always 500": Reply(status=500), "refused": Reply(status=400, message="too long")}

    def behave(name: str, before: int) -> Reply:
        if name in always:
            return always[name]
        if name == "100 kB":
            return Reply("あ" * 34_000)
        slow = 0.3 if name == "slow" else 0.0
        return Reply(f"answer to {name}", wait=slow) if before or faults[name] is None else faults[name]

    names = [*faults, "100 kB", "slow", *always]
    faults["slow"] = None
    outcome, server, log = ask(tmp_path / "a.jsonl", [*names, *names], behave)
    show(f"misbehaving server: {dict(outcome.counts)}; {len(names)} questions given twice each")
    # 12 answered; of these 9 at the second attempt; one given up after four attempts, one refused at once.
    assert outcome.counts == {"kept": 0, "asked": 12 + 9 + 4 + 1, "answered": 12, "repeated": 9 + 3,
                              "lost": 1, "refused": 1}
    assert outcome.counts["asked"] == server.asked.total()
    assert server.asked == Counter({**{name: 2 if fault else 1 for name, fault in faults.items()},
                                    "100 kB": 1, "always 500": 4, "refused": 1})
    endpoint = Endpoint("http://127.0.0.1/v1", "m", "k")
    replies = {n: log.answers.get(question(n).hash(endpoint)) for n in names}
    assert replies["cut"].text == "answer to cut" and replies["silent"].text == "answer to silent"
    assert len(replies["100 kB"].text) == MOST_CHARACTERS and replies["100 kB"].finish == "length"
    assert replies["always 500"] is None and replies["refused"] is None
    assert sorted(outcome.lost.values()) == ["127.0.0.1 answered 400: too long",
                                             "127.0.0.1 answered 500: made to fail"]
    # What may have been paid for without an answer stands in the log: cut, malformed, no choice, silent.
    assert sum(line.text is None for line in log.lines) == 4


def test_a_second_run_asks_only_what_has_no_answer(tmp_path):
    def half(name: str, before: int) -> Reply:
        return Reply(name) if int(name) % 2 else Reply(status=500)

    names = [str(i) for i in range(10)]
    first, _, _ = ask(tmp_path / "a.jsonl", names, half)
    again, server, log = ask(tmp_path / "a.jsonl", names, lambda name, _: Reply(name))
    assert (first.counts["answered"], first.counts["lost"]) == (5, 5)
    assert again.counts == {"kept": 5, "asked": 5, "answered": 5}
    assert set(server.asked) == {"0", "2", "4", "6", "8"} and len(log.answers) == 10


def test_retry_after_is_waited_for(tmp_path):
    def busy(name: str, before: int) -> Reply:
        return Reply("x") if before else Reply(status=429, headers={"Retry-After": "0.4"})

    _, server, _ = ask(tmp_path / "a.jsonl", ["a"], busy)
    assert server.times[1] - server.times[0] >= 0.4


def test_a_server_that_wants_too_long_a_wait_stops_the_run(tmp_path):
    def busy(name: str, before: int) -> Reply:
        return Reply("x") if name == "0" else Reply(status=429, headers={"Retry-After": "3600"})

    path = tmp_path / "a.jsonl"
    with pytest.raises(ApiError, match="asks to wait 3600 s: give the same command then"):
        ask(path, [str(i) for i in range(50)], busy, workers=1)
    with AnswerLog(path) as log:
        assert len(log.answers) == 1


def test_a_server_that_refuses_everything_stops_the_run(tmp_path):
    names = [str(i) for i in range(30)]
    with pytest.raises(ApiError, match="no such parameter; it refused the first 5 requests"):
        ask(tmp_path / "a.jsonl", names, lambda *_: Reply(status=400, message="no such parameter"))
    outcome, *_ = ask(tmp_path / "b.jsonl", names,
                      lambda name, _: Reply("x") if int(name) % 3 == 0 else Reply(status=400), workers=1)
    assert (outcome.counts["answered"], outcome.counts["refused"]) == (10, 20)


def test_a_wrong_key_stops_the_run_at_once(tmp_path):
    servers = []

    def wrong(name: str, before: int) -> Reply:
        servers.append(name)
        return Reply(status=401)

    with pytest.raises(ApiError, match="answered 401"):
        ask(tmp_path / "a.jsonl", [str(i) for i in range(50)], wrong, workers=2)
    assert len(servers) <= 4


def test_no_more_requests_at_once_than_workers(tmp_path):
    names = [str(i) for i in range(12)]
    _, server, _ = ask(tmp_path / "a.jsonl", names, lambda name, _: Reply(name, wait=0.05), workers=3)
    assert 1 < server.most_at_once <= 3 and server.asked.total() == 12


def test_a_limit_is_not_passed_and_what_is_there_stays(tmp_path):
    """A request may take 17 bytes and 20 tokens of answer; 5 are what an answer really takes."""
    names = [str(i) for i in range(40)]
    outcome, server, log = ask(tmp_path / "a.jsonl", names, lambda name, _: Reply("x" * 20),
                               limit=Limit(tokens=100))
    taken = sum(line.input + line.output for line in log.lines)
    assert outcome.limit_reached and not outcome.lost and outcome.counts["lost"] == 0
    assert 100 - 37 < taken <= 100 and len(log.answers) == server.asked.total() == outcome.counts["answered"]
    # The same command again: the limit is on everything that is kept, so nothing more is asked.
    again, server, _ = ask(tmp_path / "a.jsonl", names, lambda name, _: Reply("x" * 20),
                           limit=Limit(tokens=100))
    assert again.limit_reached and not server.asked


def test_without_usage_an_answer_counts_as_the_most_it_can_take(tmp_path):
    outcome, _, log = ask(tmp_path / "a.jsonl", ["0", "1", "2"], lambda *_: Reply("x", usage=False),
                          limit=Limit(tokens=80), workers=1)
    assert outcome.counts["answered"] == 2 and outcome.limit_reached
    assert [(x.input, x.output, x.measured) for x in log.lines] == [(17, 20, False)] * 2
