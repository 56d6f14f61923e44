"""Fixture of the tests of runs; the fixtures with a finished run are in tests/conftest.py."""

import pytest

from tiny_diffusion_jax.cli import commands


@pytest.fixture
def only_training(monkeypatch):
    """End runs after training, because the evaluation is not under test."""
    monkeypatch.setattr(commands.report, "evaluate_run", lambda *_: None)
