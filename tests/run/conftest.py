"""What tests of runs share, beside the finished run of tests/conftest.py."""

import shutil

import pytest

from tiny_diffusion_jax.run import modes


@pytest.fixture
def only_training(monkeypatch):
    """Runs end after training: the rest is not what the test is about."""
    monkeypatch.setattr(modes, "finish", lambda *_: None)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")
