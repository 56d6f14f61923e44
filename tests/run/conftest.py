"""Fixtures of the tests of runs; the fixture with a finished run is in tests/conftest.py."""

import shutil

import pytest

from tiny_diffusion_jax.cli import commands


@pytest.fixture
def only_training(monkeypatch):
    """End runs after training, because the evaluation is not under test."""
    monkeypatch.setattr(commands, "finish", lambda *_: None)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")
