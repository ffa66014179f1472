"""A local stand-in of the Hub's API for datasets and models: what huggingface_hub asks of it, and no more."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]


class FakeHub:
    """Repositories by name: their commits (newest first) and, for each, path -> content.

    `asked` holds "METHOD path" of every request, `ranges` the range that each download of weights asked for.
    `cuts`: after so many bytes the next downloads of weights end.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.asked: list[str] = []
        self.ranges: list[str | None] = []
        self.cuts: list[int] = []
        self.address = ""

    def answer(self, path: str) -> tuple[int, object, dict[str, str]]:
        """(status, JSON value or bytes, headers) for one path."""
        path = path.removeprefix("api/").removeprefix("datasets/").removeprefix("models/")
        owner, name, verb, revision, *rest = [*path.split("/"), "", "", ""]
        commits = self.repos.get(f"{owner}/{name}")
        if commits is None:
            return 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        newest = next(iter(commits))
        commit = newest if revision in ("main", "") else revision
        if commit not in commits:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        files = commits[commit]
        if verb == "commits":
            return 200, [{"id": c, "title": "Upload", "message": "", "date": "2024-07-15T00:00:00.000Z",
                          "authors": [{"user": "someone"}]} for c in commits], {}
        if verb in ("revision", ""):
            return 200, {"id": f"{owner}/{name}", "_id": "0", "sha": commit, "private": False, "tags": [],
                         "downloads": 0, "likes": 0, "siblings": [{"rfilename": f} for f in files]}, {}
        if verb == "tree":
            return 200, [{"type": "file", "path": f, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                         for f, c in files.items()], {}
        file = "/".join(rest).rstrip("/")
        if verb == "resolve" and file in files:
            # The tag of a large file is its SHA-256.
            tag = (hashlib.sha256 if _is_weights(file) else hashlib.sha1)(files[file]).hexdigest()
            return 200, files[file], {"ETag": f'"{tag}"', "X-Repo-Commit": commit}
        return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}

    @contextmanager
    def served(self) -> Iterator[FakeHub]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path).strip("/")
                hub.asked.append(f"{self.command} {path}")
                status, content, headers = hub.answer(path)
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                download = self.command == "GET" and status == 200 and _is_weights(path)
                if download:
                    hub.ranges.append(asked := self.headers.get("Range"))
                    if asked:
                        first, whole = int(asked.removeprefix("bytes=").split("-")[0]), len(body)
                        status, body = 206, body[first:]
                        headers = {**headers, "Content-Range": f"bytes {first}-{whole - 1}/{whole}"}
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                cut = hub.cuts.pop(0) if download and hub.cuts else None
                if self.command == "GET":
                    self.wfile.write(body[:cut])
                if cut is not None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def _is_weights(path: str) -> bool:
    return path.endswith(".safetensors")


def run_with(hub: FakeHub, home: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`code` in a Python of its own that takes `hub` for the Hub, with caches below `home`."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT,
        env={**own, "HF_ENDPOINT": hub.address, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1",
             "HF_HUB_DISABLE_PROGRESS_BARS": "1", "GIELLM_CACHE_DIR": str(home / "giellm"), **environment})
