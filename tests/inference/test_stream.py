"""Extraction of a file: resumed after a kill, without loss or repetition, and never over another's output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from giellm_utils.inference import stream
from giellm_utils.inference.stream import extract_file, ExtractFileError
from support.extraction import extractor, lengths
from support.lines import rows_of, write_input

TESTS = Path(__file__).resolve().parents[1]


def test_a_killed_extraction_goes_on_without_loss_or_repetition(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 300)
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    counts = extract_file(extractor(), source, whole, tasks=["scnm"], quiet=True)
    assert (counts.good, counts.bad) == (258, 30) and counts.resumed == 0
    child = subprocess.Popen([sys.executable, "-m", "support.extraction", str(source), str(out)],
                             stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(TESTS)})
    deadline = time.monotonic() + 400
    while not out.exists() or out.read_bytes().count(b"\n") < 60:
        assert child.poll() is None and time.monotonic() < deadline, child.stderr.read().decode()[-2000:]
        time.sleep(0.02)
    with pytest.raises(ExtractFileError, match="being written by another"):
        extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    left = out.read_bytes().count(b"\n")
    assert 60 <= left < 258
    # What a kill in the middle of a write leaves.
    for path in (out, tmp_path / "out.jsonl.errors.jsonl"):
        with path.open("ab") as file:
            file.write(b'{"line": 29')
    counts = extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    assert (counts.good, counts.bad, counts.resumed) == (258, 30, left)
    assert out.read_bytes() == whole.read_bytes()
    errors, wanted = (sorted(rows_of(p.with_name(p.name + ".errors.jsonl")), key=lambda r: r["line"])
                      for p in (out, whole))
    assert errors == wanted and [r["line"] for r in errors] == list(range(10, 301, 10))
    # Once more: nothing is left to do, and nothing changes.
    again = extractor()
    assert extract_file(again, source, out, tasks=["scnm"], quiet=True).resumed == 258
    assert not again.decoder.requests and out.read_bytes() == whole.read_bytes()


def test_any_cut_of_the_output_is_completed_to_the_same_bytes(tmp_path):
    source, out = write_input(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    whole = out.read_bytes()
    errors = sorted(rows_of(tmp_path / "out.jsonl.errors.jsonl"), key=lambda r: r["line"])
    for at in range(0, len(whole), 97):
        out.write_bytes(whole[:at])
        extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
        assert out.read_bytes() == whole
        assert sorted(rows_of(tmp_path / "out.jsonl.errors.jsonl"), key=lambda r: r["line"]) == errors
    assert rows_of(out)[0]["text"].endswith("\ud800") and rows_of(out)[0]["id"] == "x0"


def test_an_output_of_something_else_is_left_alone(tmp_path):
    source, out = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    extract_file(extractor(), source, out, tasks=["scnm"], model="a", quiet=True)
    before = out.read_bytes()

    def refused(words, source=source, **changed):
        with pytest.raises(ExtractFileError, match=words):
            extract_file(extractor("scnm", "tcree"), source, out, quiet=True,
                         **{"tasks": ["scnm"], "model": "a", **changed})
        assert out.read_bytes() == before

    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "別の文。"}\n', encoding="utf-8")
    refused("another input", other)
    refused("tasks", tasks=["tcree"])
    refused("model", model="b")
    refused("both input and output", out)
    out.with_name("out.jsonl.state").unlink()
    refused("cannot be told")
    counts = extract_file(extractor(), source, out, tasks=["scnm"], model="b", overwrite=True, quiet=True)
    assert counts.resumed == 0
    assert out.read_bytes() == before


def test_an_input_that_grew_goes_on_and_one_that_changed_later_does_not(tmp_path):
    source, out = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    first = extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    with source.open("ab") as file:
        file.write('\n{"text": "東京が増えた。"}\n'.encode())
    assert extract_file(extractor(), source, out, tasks=["scnm"], quiet=True).good == first.good + 1
    assert rows_of(out)[-1]["line"] == 31
    source.write_bytes(source.read_bytes().replace("増えた".encode(), "減った".encode()))
    with pytest.raises(ExtractFileError, match="line 31 of"):
        extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)


def test_a_line_too_long_is_read_over(tmp_path, monkeypatch):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'{"text": "a"}\n' + b"x" * 1000 + b'\n{"text": "b"}\n')
    monkeypatch.setattr(stream, "LONGEST_LINE", 64)
    monkeypatch.setattr(stream.lines, "__defaults__", (64,))
    counts = extract_file(extractor(), source, out, tasks=["scnm"], quiet=True)
    assert (counts.good, counts.bad) == (2, 1) and [r["line"] for r in rows_of(out)] == [1, 3]


def test_texts_that_were_cut_are_counted(tmp_path):
    source = tmp_path / "in.jsonl"
    texts = ("東京。" * 40, "東京。", "大阪。" * 40)
    source.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    counts = extract_file(extractor(characters=lengths(20)), source, tmp_path / "out.jsonl", tasks=["scnm"],
                          quiet=True)
    assert (counts.good, counts.cut) == (3, 2)
