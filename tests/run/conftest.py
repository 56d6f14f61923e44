"""A trained run, made once and shared by all who only look at it or copy it."""

import shutil

import pytest
from command_line import MOONS, run

from tiny_diffusion_jax.run import modes
from tiny_diffusion_jax.training import loop


@pytest.fixture
def only_training(monkeypatch):
    """Runs end after training: the rest is not what the test is about."""
    monkeypatch.setattr(modes, "_finish", lambda *_: None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(folder, what was logged) of a whole run of the tiny moons."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    loop._program.cache_clear()  # as in a new process: it is compiled, and says so
    result = run(*MOONS, f"--workdir={folder}")
    assert result.code == 0 and result.out == "", result
    return folder, result.err


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")
