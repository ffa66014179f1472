"""Fixtures of trained systems."""

from __future__ import annotations

import pytest

from support.experiments import InProcess


@pytest.fixture
def in_process(monkeypatch, scratch_cache) -> InProcess:
    """Trainings run in this process, with the session's scratch model."""
    made = InProcess()
    monkeypatch.setattr("giellm_utils.training.launch.launch", made)
    return made
