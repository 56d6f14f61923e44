"""Check the command line without mistakes: list, help, configs, and all kinds of endings."""

import errno
import gc
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import time

import jax
import pytest
from command_line import ROOT, config, run
from tqdm import tqdm

from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.cli import main as cli
from tiny_diffusion_jax.config_files import config_files
from tiny_diffusion_jax.run import checkpoints
from tiny_diffusion_jax.run.signals import Interrupted
from tiny_diffusion_jax.training.step import TrainState

CONFIGS = config_files()


def test_the_list_shows_every_config_and_how_to_name_it():
    result = run("--mode=list")
    assert result.code == 0 and result.err == ""
    *lines, note = result.out.splitlines()
    assert "--quick" in note and sum("[1-3 min]" in line for line in lines) == 1
    assert len(lines) == len(CONFIGS) and max(map(len, lines)) <= 100
    for line, name in zip(lines, CONFIGS, strict=True):
        usage, about, *times = re.split(" {2,}", line)
        assert len(times) == 1 and re.fullmatch(r"\[(about )?\d.* (s|min).*\]", times[0])
        assert re.fullmatch(rf"{name}((:[A-Z]+)+|\[(:[A-Z]+)+\])?", usage)
        assert len(about) > 20 and about[-1] in ".?"


def test_help():
    result = run("--help")
    assert result.code == 0 and result.err == ""
    assert "python main.py --config=mnist_digit " in result.out
    for name in ("--config", "--mode", "--workdir", "--points", "--help"):
        assert f"\n  {name}: " in result.out
    assert max(map(len, result.out.splitlines())) <= 100


def test_the_command_reaches_its_mode(monkeypatch):
    calls = []
    for mode in ("train", "sample", "evaluate", "complete"):
        note = lambda *call, mode=mode, **given: calls.append((mode, call, given))
        monkeypatch.setattr(commands, f"{mode}_run", note)
    assert run(config("mnist_digit:7"), "--config.train.steps=2000").code == 0
    assert run(config("moons"), "--mode=sample", "--workdir=here").code == 0
    assert run(config("mixture"), "--mode=complete", "--points=some.csv").code == 0
    (first, (used, path), _), (second, (_, here), nothing), (third, _, given) = calls
    assert first == "train" and path == "runs/mnist_7" and used.train.steps == 2000
    assert (second, here, list(nothing)) == ("sample", "here", ["command"])
    assert third == "complete" and given["points"] == "some.csv"
    assert given["command"].startswith("python main.py --config=")


def ends_with(error, monkeypatch):
    def train_run(config, path, command):
        raise error

    monkeypatch.setattr(commands, "train_run", train_run)
    return run(config("moons"))


@pytest.mark.parametrize("error, code, line", [
    (KeyboardInterrupt(), 130, "interrupted: every written file is complete, and the same "),
    (KeyboardInterrupt(signal.SIGTERM), 143, "interrupted: every written file is complete"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/x/samples.npy"), 1,
     "[Errno 28] No space left on device: 'runs/x/samples.npy'"),
    (MemoryError("Unable to allocate 9 TiB"), 1,
     "out of memory: lower config.sample.num_points, num_sets or memory_mb, or "
     "config.train.num_sets (Unable to allocate 9 TiB)"),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nlong story"), 1,
     "config.train.num_sets (RESOURCE_EXHAUSTED: Out of memory)\n"),
    (Interrupted("interrupted: step 4 is saved", signal.SIGINT), 130, "interrupted: step 4"),
    (checkpoints.SaveFailed("the checkpoint of step 4"), 1, "the checkpoint of step 4"),
], ids=str)  # fmt: skip
def test_ends_are_one_line(error, code, line, monkeypatch):
    result = ends_with(error, monkeypatch)
    assert result.code == code and result.err.count("\n") == 1
    assert result.err.startswith("error: ") and line in result.err


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        ends_with(ZeroDivisionError("a bug"), monkeypatch)


def test_a_full_disk_does_no_harm(tmp_path):
    """A limit on file sizes simulates a full disk: writing fails half-way."""
    weights = {"w": jax.random.normal(jax.random.key(0), (100, 100))}
    state = TrainState(jax.numpy.int32(1), weights, weights, ())
    later = state.replace(step=jax.numpy.int32(2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    saved = checkpoints.open_checkpoints(tmp_path, keep=2)
    checkpoints.save(saved, state)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(checkpoints.SaveFailed, match="step 2 cannot .* disk full"):
            checkpoints.save(saved, later)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    for step in (1, 2):  # the first checkpoint remains, and with free space the second is saved
        restored = checkpoints.restore_latest(saved, state)
        assert restored.step == step and (restored.params["w"] == weights["w"]).all()
        checkpoints.save(saved, later)


def test_messages_stand_above_the_bar(capsys):
    logger = logging.getLogger("some.test")
    logger.addHandler(cli.Console())
    with tqdm(total=10, file=sys.stderr, ncols=60, desc="train") as bar:
        bar.update(5)
        logger.warning("message %d", 1)
    lines = [line.rsplit("\r", 1)[-1] for line in capsys.readouterr().err.split("\n")]
    assert lines[0] == "message 1" and lines[1].startswith("train: ") and lines[2:] == [""]


class Dying:
    """Call a signal handler from `__del__`, where Python only prints exceptions."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # time for the handler to run


def test_a_signal_that_struck_in_a_destructor_is_not_lost(monkeypatch):
    def train_run(config, path, command):
        Dying()
        gc.collect()
        time.sleep(5)
        pytest.fail("went on")

    monkeypatch.setattr(commands, "train_run", train_run)
    result = run(config("moons"))
    assert result.code == 143 and result.err.count("\n") == 1


def test_the_list_and_the_help_need_no_jax():
    """Start a process in any folder, without access to jax."""
    code = ("import sys; sys.modules['jax'] = None; from tiny_diffusion_jax.cli.main import main; "
            "main(['', '{}'])")  # fmt: skip
    for flag in ("--mode=list", "--help"):
        result = subprocess.run([sys.executable, "-c", code.format(flag)], cwd=ROOT,
                                capture_output=True, encoding="utf-8")  # fmt: skip
        assert result.returncode == 0 and result.stderr == "" and len(result.stdout) > 300
