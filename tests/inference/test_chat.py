"""One request: what the environment may say, what a fault means, and where the key never shows up."""

from __future__ import annotations

from datetime import datetime, timedelta, UTC
from email.utils import format_datetime

import pytest

from giellm_utils.core.settings import ConfigError
from giellm_utils.inference.chat import (
    ApiError,
    ChatClient,
    Endpoint,
    MOST_CHARACTERS,
    Passing,
    Question,
    Refused,
    wait_asked,
)
from support.openai_server import OpenAIServer, Reply

KEY = "sk-geheim-0123456789"
BOUND = {"max_tokens": 20, "temperature": 0, "stop": ["\n"]}


def asked(reply: Reply, api: str = "chat", **parameters):
    """What one request gets from a server that answers `reply`, and the server."""
    content = (("system", "s"), ("user", "問い")) if api == "chat" else "例\n\n問い\n"
    with OpenAIServer(lambda *_: reply) as server:
        client = ChatClient(Endpoint(server.url, "m", KEY), timeout=0.5 if reply.wait else 60)
        return client.ask(Question(api, content, {**BOUND, **parameters})), server


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_an_answer_and_what_was_sent(api):
    said = Reply("<社会>固有表現抽出:無い;\n\nもう一つ", finish="stop")
    reply, server = asked(said, api, top_p=0.5, temperature=None)
    assert reply.text == "<社会>固有表現抽出:無い;"  # cut where it should have stopped
    assert reply.input_tokens > 0 and reply.output_tokens > 0 and reply.finish == "stop"
    body, = server.bodies
    expected = ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "問い"}]}
                if api == "chat" else {"prompt": "例\n\n問い\n"})
    assert body == {"model": "m", "max_tokens": 20, "stop": ["\n"], "top_p": 0.5, **expected}
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_one_string_to_stop_at_is_one_and_not_its_characters():
    reply, _ = asked(Reply("<社会>固有表現抽出:無い;</s>もう一つ"), stop="</s>")
    assert reply.text == "<社会>固有表現抽出:無い;"


def test_a_huge_answer_is_cut_and_counts_as_out_of_tokens():
    reply, _ = asked(Reply("あ" * 100_000, usage=False))
    assert len(reply.text) == MOST_CHARACTERS and reply.finish == "length"
    assert (reply.input_tokens, reply.output_tokens) == (None, None)


@pytest.mark.parametrize("reply, kind, said, wait, billed", [
    (Reply(status=429, headers={"Retry-After": "7"}), Passing, "answered 429", 7, False),
    (Reply(status=429), Passing, "answered 429", None, False),
    (Reply(status=500), Passing, "answered 500", None, False),
    (Reply("あ" * 50, cut=True), Passing, "the connection broke", None, True),
    (Reply("あ", wait=1.0), Passing, "no answer within 0.5 s", None, True),
    (Reply(raw="{not json"), Passing, "not the API's JSON", None, True),
    (Reply(raw=""), Passing, "not the API's JSON", None, True),
    (Reply(raw="[1]"), Passing, "not the API's JSON", None, True),
    (Reply(raw='{"choices": []}'), Passing, "not the API's JSON", None, True),
    (Reply(raw='{"choices": null, "usage": {}}'), Passing, "not the API's JSON", None, True),
    (Reply(status=400, message="context too long"), Refused, "400: .*context too long", None, None),
    (Reply(status=401, message=f"Incorrect API key: {KEY}"), ApiError, r"API key: \[key\]", None, None),
    (Reply(status=404), ApiError, "check GIELLM_API_BASE, GIELLM_API_MODEL and the key", None, None),
    (Reply(status=429, code="insufficient_quota"), ApiError, "no quota left", None, None),
], ids=lambda v: str(v)[:20] if isinstance(v, str) else "")
def test_what_a_fault_means(reply, kind, said, wait, billed):
    with pytest.raises(kind, match=said) as found:
        asked(reply)
    assert type(found.value) is kind and KEY not in repr(found.getrepr(style="long", showlocals=False))
    if kind is Passing:
        assert (found.value.wait, found.value.billed) == (wait, billed)


def test_nobody_there_costs_nothing():
    with OpenAIServer(lambda *_: Reply()) as server:
        url = server.url
    with pytest.raises(Passing, match="no connection") as found:
        ChatClient(Endpoint(url, "m", KEY)).ask(Question("chat", (("user", "x"),), BOUND))
    assert not found.value.billed


def test_retry_after_in_seconds_and_as_a_date():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    for value, wait in (("12", 12), ("0.5", 0.5), ("-3", 0), (later, 90), (format_datetime(now), 0),
                        ("soon", None), ("nan", None), ("inf", None), ("", None)):
        assert wait_asked({"retry-after": value}, now) == wait, value
    assert wait_asked({}) is None


def test_the_environment_says_whom_to_ask():
    def read(**environment):
        return Endpoint.from_environment(environment)

    ours = read(GIELLM_API_MODEL="m", GIELLM_API_BASE="https://example.org:8/v1", GIELLM_API_KEY=KEY)
    assert (ours.host, ours.model, ours.key) == ("example.org", "m", KEY) and KEY not in repr(ours)
    theirs = read(GIELLM_API_MODEL="m", OPENAI_API_KEY=KEY)
    assert (theirs.base, theirs.key) == ("https://api.openai.com/v1", KEY)
    assert read(GIELLM_API_MODEL="m", GIELLM_API_BASE="http://localhost:8000/v1").key == "none"
    # A key for one server never goes to another.
    local = read(GIELLM_API_MODEL="m", GIELLM_API_BASE="http://localhost/v1", OPENAI_API_KEY=KEY)
    assert local.key == "none"
    for message, environment in {
            "set GIELLM_API_MODEL": {"GIELLM_API_KEY": KEY},
            "no key for api.openai.com: set GIELLM_API_KEY or OPENAI_API_KEY": {"GIELLM_API_MODEL": "m"},
            "no key for example.org: set GIELLM_API_KEY$": {
                "GIELLM_API_MODEL": "m", "GIELLM_API_BASE": "https://example.org/v1", "OPENAI_API_KEY": KEY},
            "must be an address": {"GIELLM_API_MODEL": "m", "GIELLM_API_BASE": "localhost:8000"},
            "must be an address such": {"GIELLM_API_MODEL": "m", "GIELLM_API_BASE": "http://[half"},
            "holds a password": {"GIELLM_API_MODEL": "m", "GIELLM_API_BASE": f"https://u:{KEY}@example.org"}}.items():
        with pytest.raises(ConfigError, match=message) as found:
            read(**environment)
        assert KEY not in str(found.value)


def test_a_request_is_told_by_all_that_its_answer_depends_on():
    endpoint = Endpoint("http://localhost:1/v1", "m", "a")
    question = Question("completions", "x", BOUND)
    same = question.hash(Endpoint("http://localhost:2/v1", "m", "b"))  # neither key nor port matter
    others = {Question("completions", "y", BOUND).hash(endpoint),
              Question("chat", (("user", "x"),), BOUND).hash(endpoint),
              Question("completions", "x", {**BOUND, "temperature": 1}).hash(endpoint),
              question.hash(Endpoint("http://localhost:1/v1", "n", "a")),
              question.hash(Endpoint("http://elsewhere/v1", "m", "a"))}
    assert question.hash(endpoint) == same and same not in others and len(others) == 5
    with pytest.raises(ConfigError, match="an answer needs a bound"):
        _ = Question("completions", "x", {"max_tokens": None}).most_tokens
