"""Answers on disk: one line each, appended as it comes, so that a stopped run asks nothing twice."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from giellm_utils.core.artifacts import Artifact
from giellm_utils.core.files import StorageError
from giellm_utils.core.paths import shown
from giellm_utils.inference.chat import Reply


class Line(Artifact):
    """What one request came to. `text`: None for one that may have been paid for and brought no answer.
    `input`, `output`: its tokens; `measured`: as the server says, else the most it can have been.
    `seconds`: from sending to the end."""

    hash: str
    text: str | None
    finish: str
    input: int
    output: int
    measured: bool
    seconds: float | None = None
    date: str


class AnswerLog:
    """The answers in `path`, open for appending from `with` on; one process at a time.

    A line that a kill cut short is taken off; its request is asked again. Raises StorageError for a file
    that is not such a log, and where another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._file = threading.Lock(), None
        self._alone = FileLock(path.with_name(path.name + ".lock"), timeout=0)
        self.lines: list[Line] = []
        self._answers: dict[str, Reply] = {}

    def __enter__(self) -> AnswerLog:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._alone.acquire()
        except Timeout:
            raise StorageError(f"{shown(self.path)} is in use by another run: wait, or stop it") from None
        try:
            self._read()
            self._file = self.path.open("ab")
        except BaseException:
            self._alone.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._alone.release()

    @property
    def answers(self) -> Mapping[str, Reply]:
        """Request hash -> its answer."""
        return self._answers

    def append(self, hash: str, reply: Reply | None, charged: tuple[int, int], measured: bool,
               seconds: float) -> None:
        """Put one answer, or a paid request without one, on disk before it counts."""
        line = Line(hash=hash, text=reply.text if reply else None, finish=reply.finish if reply else "lost",
                    input=charged[0], output=charged[1], measured=measured, seconds=round(seconds, 2),
                    date=datetime.now(UTC).isoformat(timespec="seconds"))
        written = json.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n"
        with self._lock:
            self._file.write(written.encode("utf-8", "backslashreplace"))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._take(line)

    def _read(self) -> None:
        """All whole lines; what stands behind the last line end is cut off the file."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[:content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            self._take(_line(line, f"{shown(self.path)}, line {number}"))
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))

    def _take(self, line: Line) -> None:
        self.lines.append(line)
        if line.text is not None:
            counts = (line.input, line.output) if line.measured else (None, None)
            self._answers[line.hash] = Reply(line.text, line.finish, *counts)


def _line(line: bytes, where: str) -> Line:
    try:
        found: Any = json.loads(line)
        return Line.model_validate(found)
    except (ValueError, ValidationError):
        raise StorageError(f"{where}: no answer of a server; take the line out of the file") from None
