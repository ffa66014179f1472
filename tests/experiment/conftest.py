"""Fixtures of whole experiments, without notebooks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.experiments import InProcess, run_stages, write_profile


@pytest.fixture
def in_process(monkeypatch, scratch_cache) -> InProcess:
    """Trainings run in this process, with the session's scratch model."""
    made = InProcess()
    monkeypatch.setattr("giellm_utils.training.launch.launch", made)
    return made


@pytest.fixture(scope="session")
def finished_runs(session_cache, tmp_path_factory) -> Path:
    """A runs folder with one finished run, `tiny`; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIELLM_CACHE_DIR", str(session_cache))
        patch.setenv("GIELLM_RUNS_DIR", str(folder))
        patch.setattr("giellm_utils.training.launch.launch", InProcess())
        run_stages(write_profile(folder / "profile"))
    return folder


@pytest.fixture
def runs(finished_runs, in_process, tmp_path, monkeypatch) -> Path:
    """A copy of it that a test may change, in use as the folder of runs."""
    folder = tmp_path.resolve() / "runs"
    shutil.copytree(finished_runs, folder, ignore=shutil.ignore_patterns("profile"))
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(folder))
    return folder


@pytest.fixture
def profile(tmp_path) -> str:
    """The profile of the finished run."""
    return write_profile(tmp_path)
