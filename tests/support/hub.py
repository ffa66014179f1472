"""A local stand-in of the Hub's API for datasets and models: what huggingface_hub asks of it, and no more.

Uploads follow huggingface_hub 2.4 (hf_api.create_repo, _commit_api, lfs): a repository is made, each file's
way is asked for, large ones are put by their SHA-256, one commit names all.
"""

from __future__ import annotations

import base64
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

import yaml

ROOT = Path(__file__).resolve().parents[2]


class FakeHub:
    """Repositories by name: their commits (newest first) and, for each, path -> content.

    `asked` holds "METHOD path" of every request, `ranges` the range that each download of weights asked for.
    `cuts`: after so many bytes the next downloads of weights end. `token`: who may write; `public`: the
    repositories that anyone may see; `stored`: what was put, by SHA-256.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.asked: list[str] = []
        self.ranges: list[str | None] = []
        self.cuts: list[int] = []
        self.address = ""
        self.token = "hf_write"
        self.public: set[str] = set()
        self.stored: dict[str, bytes] = {}

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
            return 200, {"id": f"{owner}/{name}", "_id": "0", "sha": commit, "tags": [],
                         "private": f"{owner}/{name}" not in self.public,
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

    def take(self, path: str, body: bytes, bearer: str) -> tuple[int, object]:
        """(status, JSON value) for what is posted or put to one path."""
        if path.startswith("stored/"):
            name = path.removeprefix("stored/")
            self.stored[name] = body
            return (200, {}) if hashlib.sha256(body).hexdigest() == name else (400, {"error": "another hash"})
        if bearer != f"Bearer {self.token}":
            return 401, {"error": "Invalid username or password."}
        if path.endswith("/validate-yaml"):
            head = json.loads(body)["content"].split("---\n")[1]
            good = isinstance(yaml.safe_load(head), dict)
            return 200, {"errors": [] if good else [{"message": "no metadata"}], "warnings": []}
        if path == "api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if repo in self.repos:
                return 409, {"error": "You already created this model repo", "url": f"{self.address}/{repo}"}
            self.repos[repo] = {"0" * 40: {".gitattributes": b"*.safetensors filter=lfs\n"}}
            if asked.get("visibility") == "public":
                self.public.add(repo)
            return 200, {"url": f"{self.address}/{repo}", "id": repo}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [
                {**o, "actions": {"upload": {"href": f"{self.address}/stored/{o['oid']}"}}}
                for o in json.loads(body)["objects"]]}
        _, _, owner, name, verb, *_ = path.split("/")
        if verb == "preupload":
            return 200, {"files": [{"path": f["path"], "shouldIgnore": False, "oid": None,
                                    "uploadMode": "lfs" if _is_weights(f["path"]) else "regular"}
                                   for f in json.loads(body)["files"]]}
        return self._commit(f"{owner}/{name}", [json.loads(line) for line in body.splitlines()])

    def _commit(self, repo: str, operations: list[dict]) -> tuple[int, object]:
        newest, files = next(iter(self.repos[repo].items()))
        new = dict(files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "header" and value.get("parentCommit", newest) != newest:
                return 412, {"error": "A commit has happened since."}
            if operation["key"] == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            if operation["key"] == "lfsFile":
                if value["oid"] not in self.stored:
                    return 400, {"error": "an object is missing"}
                new[value["path"]] = self.stored[value["oid"]]
        commit = hashlib.sha1(repr(sorted(new.items())).encode()).hexdigest()
        self.repos[repo] = {commit: new, **self.repos[repo]}
        return 200, {"commitUrl": f"{self.address}/{repo}/commit/{commit}", "commitOid": commit}

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

            def do_POST(self) -> None:
                path = unquote(urlsplit(self.path).path).strip("/")
                hub.asked.append(f"{self.command} {path}")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = hub.take(path, body, self.headers.get("Authorization", ""))
                answer = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_PUT = do_POST

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
