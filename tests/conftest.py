"""Shared fixtures: a cache and a runs folder of the test session's own, so that tests neither read nor
leave anything in the user's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from giellm_utils.models import processor

# One thread: two OpenMP threads wait for each other whenever another process takes a core, and a toy
# model that needs 1 s alone then needs up to 93 s.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory) -> Path:
    """A cache with nothing in it but what this session's tests build."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", autouse=True)
def processor_is_kept_there(session_cache):
    """What is measured of the processor goes into that cache, whichever a test's own is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processor, "cache_dir", lambda: session_cache)
        yield


@pytest.fixture(scope="session")
def child_environment(session_cache, tmp_path_factory) -> dict[str, str]:
    """Environment for `giellm` and training subprocesses: own cache and runs, no raw data, no network."""
    env = {k: v for k, v in os.environ.items() if k != "GIELLM_DATA_DIR"}
    return {**env, "GIELLM_CACHE_DIR": str(session_cache),
            "GIELLM_RUNS_DIR": str(tmp_path_factory.mktemp("runs")), "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def show(record_property) -> Callable[[str], None]:
    """What a test found and the output of make test is to hold, whichever process ran the test."""
    return lambda text: record_property("shown", text)


def pytest_terminal_summary(terminalreporter) -> None:
    for report in (*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())):
        for name, value in report.user_properties:
            if name == "shown":
                terminalreporter.write_line(f"\n{value}")


@pytest.fixture
def scratch_cache(session_cache, monkeypatch) -> Path:
    """This process uses the session's cache: the scratch model is built once for all tests."""
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(session_cache))
    return session_cache
