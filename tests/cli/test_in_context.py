"""`giellm in-context` from end to end: a row, a kill in the middle, limits, faults; the key is nowhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.system_result import result_path, SystemResult
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.registry import make_format
from support.experiments import write_profile
from support.openai_server import OpenAIServer, Reply

KEY = "sk-geheim-0123456789"
DATASET = load_dataset("scnm", "embedded")
FORMAT = make_format("giellm", DATASET.task)
TARGETS = {FORMAT.prompt(r.text): FORMAT.target(r) for r in DATASET.records}


def oracle(prompt: str, before: int = 0) -> Reply:
    """The gold target, in a code fence for every other text."""
    target = TARGETS[prompt]
    return Reply(target if len(target) % 2 else f"```\n{target}\n```")


class Command:
    """The command in a folder of its own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.given = ["in-context", "-p", write_profile(
            folder, {"data": {"limit": {"train": 12, "dev": 4, "test": 12}}}), "-t", "scnm", "--shots", "3",
            "--out", str(folder / "results")]
        for name, value in {"GIELLM_API_KEY": KEY, "GIELLM_API_MODEL": "tiny",
                            "GIELLM_RUNS_DIR": str(folder / "runs")}.items():
            patch.setenv(name, value)

    @property
    def log(self) -> Path:
        return self.folder / "runs" / "in-context" / "in-context-tiny" / "embedded.scnm.jsonl"

    @property
    def row(self) -> Path:
        return result_path(self.folder / "results", "in-context-tiny", "embedded", "scnm")

    def start(self, url: str, *more: str) -> subprocess.Popen:
        """In a process of its own."""
        return subprocess.Popen([sys.executable, "-m", "giellm_utils.cli.main", *self.given, *more],
                                env={**os.environ, "GIELLM_API_BASE": url, "OMP_NUM_THREADS": "1"},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, url: str, *more: str) -> tuple[int, str]:
        """Exit code and all that was said, as `main` would end and say it."""
        self.patch.setenv("GIELLM_API_BASE", url)
        self.patch.setattr(sys, "argv", ["giellm", *self.given, *more])
        done = CliRunner().invoke(app, [*self.given, *more])
        fault = isinstance(done.exception, GiellmError)
        assert fault or done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return (2, f"{done.output}{done.exception}") if fault else (done.exit_code, done.output)

    def written(self) -> str:
        """All that stands in files below its folder."""
        return "".join(p.read_text("utf-8") for p in self.folder.rglob("*") if p.is_file())


@pytest.fixture
def command(tmp_path, monkeypatch) -> Command:
    return Command(tmp_path, monkeypatch)


def test_killed_and_resumed_nothing_is_asked_twice(command, show):
    with OpenAIServer(lambda q, n: Reply(oracle(q).text, wait=0.25)) as server:
        process = command.start(server.url, "--workers", "2")
        while not (command.log.exists() and command.log.read_bytes().count(b"\n") >= 4):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(0.5)  # what was under way has been answered, and nobody was there to read it
        kept = {json.loads(line)["hash"] for line in command.log.read_text("utf-8").splitlines()}
        before = server.asked.copy()
        assert 4 <= len(kept) <= before.total() <= len(kept) + 2 < 12 and not command.row.exists()
        code, said = command.run(server.url)
    assert code == 0 and f"{len(kept)} kept, {12 - len(kept)} asked, {12 - len(kept)} answered" in said
    twice = [q for q, count in server.asked.items() if count > 1]
    lines = [json.loads(line) for line in command.log.read_text("utf-8").splitlines()]
    show(f"killed after {before.total()} requests, {len(kept)} answers kept; then {12 - len(kept)} requests; "
         f"{len(twice)} asked twice, whose answers the kill cut off")
    # Asked twice is only what was on its way when the process died; every answer stands once.
    assert len(twice) == before.total() - len(kept) and len(lines) == len({x["hash"] for x in lines}) == 12
    result = artifacts.read(command.row, SystemResult)
    assert result.predict_seconds is None and result.n_test == 12 and result.unanswered == 0


def test_a_row_with_both_readings_and_its_cost(command):
    with OpenAIServer(oracle) as server:
        code, said = command.run(server.url, "--price", "1,2")
    assert code == 0, said
    result = artifacts.read(command.row, SystemResult)
    strict, lenient = result.scores.all["all"].value, result.lenient.all["all"].value
    assert 0 < strict < 1 and lenient == 1.0 and result.lenient.all["f1"].value == 1.0
    assert (result.system, result.entry, result.title) == ("in-context-tiny", "in-context",
                                                           "tiny in context, 3 shots")
    assert result.cost.requests == 12 and result.cost.measured and result.cost.seconds > 0
    tokens = result.cost.input_tokens + 2 * result.cost.output_tokens
    assert result.cost.dollars == pytest.approx(tokens / 1e6)
    assert result.settings["server"] == "127.0.0.1" and len(result.settings["demonstrations"]) == 3
    assert "cost: about $" in said and "lenient TL 100.0" in said and "12 requests to send" in said
    assert KEY not in command.written() + said and server.url not in command.written()
    assert not any(r.text in p.read_text("utf-8") for r in DATASET.records
                   for p in (command.folder / "results").rglob("*.*"))
    # A second time nothing is asked at all.
    with OpenAIServer(oracle) as server:
        code, said = command.run(server.url, "--price", "1,2", "--force")
    assert code == 0 and not server.asked and "12 kept, 0 asked" in said


def test_an_estimate_asks_nothing_and_a_limit_is_held(command):
    with OpenAIServer(oracle) as server:
        code, said = command.run(server.url, "--estimate")
        assert code == 0 and not server.asked and not command.row.exists()
        assert "12 requests to send" in said and "no price is known for tiny at 127.0.0.1" in said
        code, said = command.run(server.url, "--stop-at-dollars", "1")
        assert code == 2 and "a limit in dollars cannot be held" in said and not server.asked
        code, said = command.run(server.url, "--stop-at-tokens", "3000")
        taken = [json.loads(line) for line in command.log.read_text("utf-8").splitlines()]
        assert code == 4 and "giellm: stopped before the next request could pass the limit" in said
        assert 0 < sum(x["input"] + x["output"] for x in taken) <= 3000 and not command.row.exists()
        code, said = command.run(server.url, "--stop-at-tokens", "60000")
        assert code == 0 and f"{len(taken)} kept" in said and server.asked.total() == 12


def test_texts_without_an_answer_keep_the_row_back(command):
    lost = sorted(TARGETS)[::3]

    def behave(prompt: str, before: int) -> Reply:
        return Reply(status=500) if prompt in lost else oracle(prompt)

    with OpenAIServer(behave) as server:
        code, said = command.run(server.url, "--attempts", "1")
        assert code == 3 and "have no answer (127.0.0.1 answered 500" in said and not command.row.exists()
        code, said = command.run(server.url, "--attempts", "1", "--partial")
    result = artifacts.read(command.row, SystemResult)
    assert code == 0 and result.unanswered == sum(q in lost for q in server.asked) > 0
    assert result.lenient.all["all"].value == pytest.approx(1 - result.unanswered / 12)


def test_a_wrong_key_is_one_sentence_without_the_key(command):
    with OpenAIServer(lambda *_: Reply(status=401, message=f"Incorrect API key provided: {KEY}")) as server:
        code, said = command.run(server.url)
    assert code == 2 and "provided: [key]; check GIELLM_API_BASE, GIELLM_API_MODEL and the key" in said
    assert KEY not in command.written() + said
