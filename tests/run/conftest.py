"""Fixtures of the tests of runs; those with a finished run are in tests/conftest.py."""

import pytest

from tiny_diffusion_jax.cli import commands


@pytest.fixture
def only_training(monkeypatch):
    """End runs after training, because the evaluation is not under test."""
    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: None)


@pytest.fixture(autouse=True)
def few_labelled_sets(monkeypatch):
    """Draw labels.png with 6 sets instead of 60, because each set is sampled and drawn."""
    monkeypatch.setattr("tiny_diffusion_jax.reports.sets.LABELLED", 6)
