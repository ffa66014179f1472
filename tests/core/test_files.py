"""Files: written whole or not at all, read with errors that name file and line."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
from pathlib import Path

import pytest

from giellm_utils.core import files


def test_json_round_trips_and_makes_parents(tmp_path: Path) -> None:
    rows = [{"語": "値\u2028\u0085", "b": 1}, {"a": [1, None]}]
    assert files.read_jsonl(files.write_jsonl(tmp_path / "a" / "b.jsonl", rows)) == rows
    path = files.write_json(tmp_path / "c" / "d.json", rows[0])
    assert files.read_json(path) == rows[0] and "語" in path.read_text("utf-8")
    assert files.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.write_text(tmp_path / "x.txt", "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.txt"]


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = files.write_text(tmp_path / "x.txt", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(files.StorageError, match=r"x.txt: no room left to write it"):
            files.write_text(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.txt"]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    written = files.write_text(tmp_path / "y.txt", "x")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(("read", "content", "message"), [
    (files.read_jsonl, b'{"a": 1}\n\n{"a": \n', r"f, line 3: not JSON"),
    (files.read_json, b'{\n"a" 1}', r"f, line 2: not JSON"),
    (lambda p: files.read_tsv(p, 2), b"a\tb\n\nc\n", r"f:3: 1 tab-separated columns where 2"),
    (files.read_json, b"\xff", "not UTF-8 at byte 0"),
])
def test_bad_files_name_file_and_line(read, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(files.StorageError, match=message):
        read(tmp_path / "f")
