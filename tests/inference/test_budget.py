"""Estimates before a run, and limits that no request passes; the log of answers on disk."""

from __future__ import annotations

import threading
import time

import pytest

from giellm_utils.core.files import StorageError
from giellm_utils.core.settings import ConfigError
from giellm_utils.inference.answer_log import AnswerLog, Line
from giellm_utils.inference.budget import Budget, estimate, Limit, LimitReached, price_of
from giellm_utils.inference.chat import Endpoint, Question, Reply

OPENAI = Endpoint("https://api.openai.com/v1", "gpt-3.5-turbo-0125", "k")
LOCAL = Endpoint("http://localhost:8000/v1", "gpt-3.5-turbo-0125", "k")


def line(tokens_in: int, tokens_out: int, **changes) -> Line:
    return Line(**{"hash": "h", "text": "t", "finish": "stop", "input": tokens_in, "output": tokens_out,
                   "measured": True, "date": "", **changes})


def test_prices_are_those_of_model_and_address():
    assert price_of(OPENAI)(1_000_000, 1_000_000) == pytest.approx(2.0)  # $0.50 and $1.50
    assert price_of(LOCAL) is None and price_of(Endpoint(OPENAI.base, "no-such-model", "k")) is None
    assert price_of(LOCAL, (1, 10))(1_000_000, 100_000) == pytest.approx(2.0)


def test_an_estimate_is_an_upper_bound_and_a_guess_that_says_so():
    question = Question("chat", (("user", "東京"), ("assistant", "abc")), {"max_tokens": 30})
    found = estimate([question] * 10, [], price_of(OPENAI), likely_output=12)
    assert found.most == (10 * (6 + 3 + 2 * 16), 300) and found.likely == (50, 120)
    assert found.basis == "1 token a character" and found.requests == 10
    assert found.most_dollars == pytest.approx((410 * 0.5 + 300 * 1.5) / 1e6)
    after = estimate([question] * 10, [line(20, 4), line(22, 6), line(999, 999, measured=False)], None, 12)
    assert after.likely == (210, 50) and after.basis == "mean of 2 answers" and after.likely_dollars is None


def test_a_limit_is_held_and_what_was_taken_before_counts():
    budget = Budget(Limit(tokens=100), None, [line(30, 10), line(0, 20, text=None, measured=False)])
    with budget.hold((20, 20)) as take:
        take((15, 5))
    assert sum(budget.spent) == 80
    with pytest.raises(LimitReached), budget.hold((20, 1)):
        pass
    with budget.hold((20, 0)):  # just fits
        pass
    with pytest.raises(ConfigError, match="a limit in dollars cannot be held"):
        Budget(Limit(dollars=1), None)
    paid = Budget(Limit(dollars=2.0), price_of(OPENAI))
    with pytest.raises(LimitReached), paid.hold((0, 1_400_000)):
        pass
    with paid.hold((1_000_000, 1_000_000)):
        pass


def test_a_request_waits_for_those_under_way_before_it_gives_up():
    budget, began, got = Budget(Limit(tokens=100), None), threading.Event(), []

    def first():
        with budget.hold((80, 0)) as take:
            began.set()
            time.sleep(0.1)
            take((10, 0))  # it took less than it might have

    thread = threading.Thread(target=first)
    thread.start()
    began.wait()
    with budget.hold((80, 0)):
        got.append(sum(budget.spent))
    thread.join()
    assert got == [10]


def test_answers_are_on_disk_at_once_and_a_torn_line_is_taken_off(tmp_path):
    path = tmp_path / "log" / "a.jsonl"
    with AnswerLog(path) as log:
        log.append("1", Reply("<社会>\u2028x", "stop", 5, 2), (5, 2), True, 0.5)
        assert path.read_bytes().endswith(b"\n")
        log.append("2", None, (50, 20), False, 1.5)
        assert list(log.answers) == ["1"]
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"hash": "3", "te')
    with AnswerLog(path) as log:
        assert log.answers == {"1": Reply("<社会>\u2028x", "stop", 5, 2)}
        assert [(x.hash, x.input, x.seconds) for x in log.lines] == [("1", 5, 0.5), ("2", 50, 1.5)]
        with pytest.raises(StorageError, match="a.jsonl is in use by another run"), AnswerLog(path):
            pass
        log.append("3", Reply("y", "stop"), (9, 9), False, 0)
    assert path.read_bytes().startswith(whole) and path.read_bytes().count(b"\n") == 3
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(StorageError, match="line 1: no answer of a server"), AnswerLog(path):
        pass
    with pytest.raises(StorageError, match="line 1"), AnswerLog(path):  # and the lock was given back
        pass
