"""One request to a server of the OpenAI API, with the environment's key: an answer, or what to do now.

Nothing is repeated here and the client's own retries are off: `inference.asking` is the one place.
The key goes into the client and nowhere else; it is taken out of everything that a server says.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

from giellm_utils.core.errors import GiellmError
from giellm_utils.core.settings import ConfigError

Api = Literal["chat", "completions"]
OPENAI = "https://api.openai.com/v1"
#: What a server gets that needs no key.
NO_KEY = "none"
#: A longer answer is cut here and counts as one that ran out of tokens.
MOST_CHARACTERS = 20_000
#: What a request takes besides its texts, in tokens, for each message: role, borders, begin of sequence.
OVERHEAD = 16
#: Parameters that are not to be set: ours, or such that answer or cost would not be what they seem.
RESERVED = ("model", "messages", "prompt", "n", "best_of", "echo", "stream", "logprobs")


class ApiError(GiellmError, RuntimeError):
    """A server that will not answer, whatever is asked: the run stops here."""


class Refused(Exception):
    """The server does not take this request (400, 413, 422); the next may be all right."""


class Passing(Exception):
    """A fault that may be gone the next time. `wait`: seconds the server asks for, None where it does not
    say; `billed`: whether the answer may have been made, and lost on its way."""

    def __init__(self, reason: str, wait: float | None = None, billed: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.billed = wait, billed


@dataclass(frozen=True)
class Endpoint:
    """Where to ask and as whom. `key` is never shown."""

    base: str
    model: str
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """The server's name, without port: what result files say of the address."""
        return urlsplit(self.base).hostname or ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Endpoint:
        """GIELLM_API_MODEL at GIELLM_API_BASE with GIELLM_API_KEY; without a base, at OPENAI_BASE_URL or
        OpenAI's own address, with OPENAI_API_KEY where there is no GIELLM_API_KEY.

        OPENAI_API_KEY is never sent to GIELLM_API_BASE. A server on this machine needs no key. Raises
        ConfigError.
        """
        def given(name: str) -> str:
            return environment.get(name, "").strip()

        own, key = given("GIELLM_API_BASE"), given("GIELLM_API_KEY")
        base = own or given("OPENAI_BASE_URL") or OPENAI
        try:
            address = urlsplit(base)
        except ValueError:
            address = urlsplit("")
        if not given("GIELLM_API_MODEL"):
            raise ConfigError("no model to ask: set GIELLM_API_MODEL to its name at the server")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError("GIELLM_API_BASE must be an address such as http://localhost:8000/v1")
        if address.username or address.password or address.query:
            raise ConfigError("GIELLM_API_BASE holds a password or a query: put the key into GIELLM_API_KEY")
        key = key or ("" if own else given("OPENAI_API_KEY"))
        if not key and address.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ConfigError(f"no key for {address.hostname}: set GIELLM_API_KEY"
                              + ("" if own else " or OPENAI_API_KEY"))
        return cls(base, given("GIELLM_API_MODEL"), key or NO_KEY)


@dataclass(frozen=True)
class Question:
    """One request: `content` is a prompt (completions) or messages (role, text) (chat)."""

    api: Api
    content: str | tuple[tuple[str, str], ...]
    #: Parameters of the API, "max_tokens" among them; None leaves one out.
    parameters: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        """What is sent, but for the model's name."""
        asked = ({"prompt": self.content} if isinstance(self.content, str)
                 else {"messages": [{"role": role, "content": text} for role, text in self.content]})
        return asked | {k: v for k, v in self.parameters.items() if v is not None}

    def hash(self, endpoint: Endpoint) -> str:
        """SHA-256 of all that the answer depends on: server, model, request."""
        asked = json.dumps([endpoint.host, endpoint.model, self.api, self.body()], ensure_ascii=False,
                           sort_keys=True)
        return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def texts(self) -> list[str]:
        """The texts that are sent."""
        return [self.content] if isinstance(self.content, str) else [text for _, text in self.content]

    @property
    def most_tokens(self) -> tuple[int, int]:
        """More tokens than it can take, in and out: no token is less than a byte of UTF-8."""
        sent = sum(len(text.encode("utf-8", "surrogatepass")) + OVERHEAD for text in self.texts)
        return sent, most_answer_tokens(self.parameters)


def most_answer_tokens(parameters: Mapping[str, Any]) -> int:
    """The bound of an answer; raises ConfigError where there is none: no limit could be held."""
    found = [parameters.get(name) for name in ("max_tokens", "max_completion_tokens")]
    if not (known := [n for n in found if isinstance(n, int) and n > 0]):
        raise ConfigError("an answer needs a bound: give max_tokens or max_completion_tokens, 1 or more")
    return max(known)


@dataclass(frozen=True)
class Reply:
    """One answer. `finish`: why it ended ("length": out of tokens); token counts as the server says, None
    where it does not."""

    text: str
    finish: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class ChatClient:
    """Asks one endpoint. `timeout`: seconds that a server may be silent."""

    def __init__(self, endpoint: Endpoint, timeout: float = 60.0) -> None:
        self.endpoint, self.timeout = endpoint, timeout

    @cached_property
    def _client(self) -> Any:
        from openai import OpenAI

        return OpenAI(base_url=self.endpoint.base, api_key=self.endpoint.key, max_retries=0,
                      timeout=self.timeout)

    def ask(self, question: Question) -> Reply:
        """The answer to one request, sent once. Raises Passing, Refused and ApiError."""
        import openai

        body, model = question.body(), self.endpoint.model
        try:
            if question.api == "chat":
                response = self._client.chat.completions.create(
                    model=model, messages=body.pop("messages"), extra_body=body)
            else:
                response = self._client.completions.create(
                    model=model, prompt=body.pop("prompt"), extra_body=body)
            return _reply(question, response)
        except UnicodeEncodeError:
            raise Refused("the text holds half a character (a lone surrogate)") from None
        except openai.APIStatusError as error:
            raise self._by_status(error) from None
        except openai.APIConnectionError as error:
            reached = type(error.__cause__).__name__ not in ("ConnectError", "ConnectTimeout")
            late = isinstance(error, openai.APITimeoutError) and reached
            raise Passing(f"no answer within {self.timeout:g} s" if late else
                          "the connection broke" if reached else "no connection", billed=reached) from None
        except (openai.APIError, json.JSONDecodeError, UnicodeDecodeError):
            raise Passing("an answer that is not the API's JSON", billed=True) from None

    def _by_status(self, error: Any) -> Exception:
        """What an HTTP status means; the key is taken out of what the server says."""
        said = " ".join(_said(error).split())
        if self.endpoint.key != NO_KEY:
            said = said.replace(self.endpoint.key, "[key]")
        said = said[:300]
        where = f"{self.endpoint.host} answered {error.status_code}: {said}"
        if error.status_code == 429 and error.code == "insufficient_quota":
            return ApiError(f"{where}; the account has no quota left")
        if error.status_code in (408, 409, 425, 429) or error.status_code >= 500:
            return Passing(where, wait_asked(error.response.headers))
        if error.status_code in (400, 413, 422):
            return Refused(where)
        return ApiError(f"{where}; check GIELLM_API_BASE, GIELLM_API_MODEL and the key")


def _said(error: Any) -> str:
    """The reason that a server gives, as OpenAI or FastAPI write it, else its page."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or body.get("detail") or error.response.text)


def _reply(question: Question, response: Any) -> Reply:
    """The first choice of a response; raises Passing where there is none."""
    try:
        choice, usage = response.choices[0], getattr(response, "usage", None)
        text = choice.message.content if question.api == "chat" else choice.text
        counts = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
    except (AttributeError, IndexError, TypeError):
        raise Passing("an answer that is not the API's JSON", billed=True) from None
    text, finish = text if isinstance(text, str) else "", str(choice.finish_reason or "")
    stops = question.parameters.get("stop") or ()
    for stop in (stops,) if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]  # `transformers serve` leaves it in
    if len(text) > MOST_CHARACTERS:
        text, finish = text[:MOST_CHARACTERS], "length"
    counts = tuple(n if isinstance(n, int) and n >= 0 else None for n in counts)
    return Reply(text, finish, *counts)


def wait_asked(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header (seconds or an HTTP date), None without one that can be read."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
