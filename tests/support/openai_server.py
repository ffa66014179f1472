"""A server of the OpenAI API that behaves as it is told, and remembers what it was asked.

It tells requests apart by their last line or message, so that a test says what happens to each text.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What happens to one request: an answer, or `status` with a body, after `wait` seconds.

    `raw`: a body that is no JSON of the API; `cut`: the connection breaks in the middle of it.
    """

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "made to fail"
    code: str | None = None
    finish: str = "stop"
    usage: bool = True
    wait: float = 0.0
    raw: str | None = None
    cut: bool = False


#: (last line or message of the request, how often it came before) -> Reply.
Behaviour = Callable[[str, int], Reply]


def question(body: dict[str, Any]) -> str:
    """What tells one request from another: the last line of its prompt, or its last message."""
    if "messages" in body:
        return body["messages"][-1]["content"]
    return body["prompt"].rstrip("\n").rpartition("\n")[2]


class OpenAIServer:
    """In a thread of its own from `with` on; `asked` counts requests by their question."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.asked, self.answered = behaviour, Counter(), Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.handle(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> OpenAIServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request as `behaviour` says."""
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        asked = question(body)
        with self._lock:
            before = self.asked[asked]
            self.asked[asked] += 1
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            self.times.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        reply = self.behaviour(asked, before)
        time.sleep(reply.wait)
        with self._lock:
            self._at_once -= 1
        try:
            self._send(request, body, reply)
        except OSError:
            return  # the client has hung up
        if reply.status == 200 and not reply.cut and reply.raw is None:
            with self._lock:
                self.answered[asked] += 1

    def _send(self, request: BaseHTTPRequestHandler, body: dict[str, Any], reply: Reply) -> None:
        content = (reply.raw if reply.raw is not None else json.dumps(
            answer(body, reply) if reply.status == 200
            else {"error": {"message": reply.message, "code": reply.code, "type": "made"}})).encode()
        request.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if reply.cut:
            request.wfile.write(content[:len(content) // 2])
            request.wfile.flush()
            # A reset instead of a proper end.
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
        else:
            request.wfile.write(content)


def answer(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """A response of the API; a token is four bytes of it."""
    chat = "messages" in body
    sent = [m["content"] for m in body["messages"]] if chat else [body["prompt"]]
    said = {"message": {"role": "assistant", "content": reply.text}} if chat else {"text": reply.text}
    tokens = {"prompt_tokens": len("".join(sent).encode()) // 4,
              "completion_tokens": len(reply.text.encode()) // 4}
    return {"id": "1", "object": "chat.completion" if chat else "text_completion", "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": reply.finish, "logprobs": None, **said}],
            **({"usage": {**tokens, "total_tokens": sum(tokens.values())}} if reply.usage else {})}
