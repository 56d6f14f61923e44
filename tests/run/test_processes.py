"""Two processes of two devices train the same as one process, and stop and fail together. Slow."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import MOONS, ROOT, run
from run_files import arrays, losses

from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.run import processes

LONG = [*MOONS, "--config.train.steps=400", "--config.train.checkpoint_every=50"]
MAIN = (f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import jax; jax.config.update('jax_num_cpu_devices', 2)\n"
        "from tiny_diffusion_jax import reports\n"
        "from tiny_diffusion_jax.training import loop\n"
        "CHANGE\n"
        "from tiny_diffusion_jax.cli.main import main; main(sys.argv, leave=os._exit)")  # fmt: skip
ONLY_TRAINING = "reports.evaluate_run = lambda *_: None"
RAISE = "def broken(*_): raise OSError(28, 'the disk is full')"
# One process fails between two blocks, while the other process is inside the next block.
WHILE_TRAINING = f"""
make_batch_spec = loop.make_batch_spec
{RAISE}
loop.make_batch_spec = lambda config, model, block, augment: (
    broken if block >= 6 else make_batch_spec)(config, model, block, augment)
"""
WHILE_MEASURING = f"""
{RAISE}
reports.measure = broken
"""


def start(*flags: str, change: tuple[str, str] = (ONLY_TRAINING, "")) -> list[subprocess.Popen]:
    """Start two processes; each runs its `change`, a piece of code, before the program."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, "-c", MAIN.replace("CHANGE", change[i]), *flags,
             f"--distributed=localhost:{port},2,{i}"],
            stderr=subprocess.PIPE, encoding="utf-8", env=os.environ | {"JAX_PLATFORMS": "cpu"},
        ) for i in range(2)
    ]  # fmt: skip


def ends(started) -> list[tuple[int, str]]:
    """(exit code, last line) of each process; hanging processes are killed after 150 s."""
    try:
        texts = [process.communicate(timeout=150)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text.strip().splitlines()[-1] if text.strip() else "")
            for process, text in zip(started, texts, strict=True)]  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_stop_together(tmp_path, monkeypatch):

    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: None)
    assert run(*LONG, f"--workdir={tmp_path / 'one'}").code == 0

    # SIGTERM to the second process stops both, and the first process saves.
    folder = tmp_path / "two"
    started = start(*LONG, f"--workdir={folder}")
    deadline = time.time() + 60
    rows = folder / "metrics.jsonl"
    while not rows.exists() or not rows.read_text("utf-8"):
        assert time.time() < deadline and started[0].poll() is None, started[0].stderr.read()
        time.sleep(0.01)
    started[1].send_signal(signal.SIGTERM)
    (first, line), (second, _) = ends(started)
    assert "of 400 is saved" in line, (line, first, second)
    stopped = int(re.search(r"step (\d+) of 400 is saved", line)[1])
    assert 0 < stopped < 400 and first != 0 and second != 2

    # One process resumes this run to its end, and two processes train a new run to its end.
    assert run(*LONG, f"--workdir={folder}", "--config.train.steps=400").code == 0
    np.testing.assert_allclose([row[1] for row in losses(folder)],
                               [row[1] for row in losses(tmp_path / "one")], rtol=1e-3)  # fmt: skip
    both = tmp_path / "both"
    assert [code for code, _ in ends(start(*LONG, f"--workdir={both}"))] == [0, 0]
    np.testing.assert_allclose([row[1] for row in losses(both)],
                               [row[1] for row in losses(tmp_path / "one")], rtol=1e-3)  # fmt: skip
    assert arrays(both, 400).keys() == arrays(tmp_path / "one", 400).keys()
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "both"}


@pytest.mark.slow
def test_a_mistake_of_the_first_ends_both(tmp_path):
    (tmp_path / "file").touch()
    (code, line), (other, said) = ends(start(*LONG, f"--workdir={tmp_path / 'file'}"))
    assert code == 2 and "must be a folder that can be written" in line
    assert other == 1 and said.startswith("error: another process has ended: --workdir = ")


@pytest.mark.slow
def test_both_stop_when_training_diverges_and_the_step_is_written(tmp_path):
    flags = [*LONG, "--config.train.learning_rate=1e30", f"--workdir={tmp_path}"]
    (code, line), (other, said) = ends(start(*flags))
    step = int(re.match(r"error: loss = nan at step (\d+): training stopped", line)[1])
    assert step % 10 > 1  # the first process repeats steps of a block, see run/debug_step.py
    assert said.startswith(f"error: another process has ended: loss = nan at step {step}: ")
    assert code == other == 1
    with np.load(tmp_path / "diverged.npz") as file:
        assert file[".number"] == step


@pytest.mark.slow
@pytest.mark.parametrize("failing, change", [
    (0, WHILE_TRAINING), (1, WHILE_TRAINING), (0, WHILE_MEASURING)],
    ids=["the first trains", "the second trains", "the first measures"])  # fmt: skip
def test_an_error_in_one_process_ends_both(failing, change, tmp_path):
    changes = (change, "") if failing == 0 else (ONLY_TRAINING, change)
    found = ends(start(*LONG, f"--workdir={tmp_path}", change=changes))
    assert found[failing] == (1, "error: [Errno 28] the disk is full")
    assert found[1 - failing] == (
        1, "error: another process has ended: [Errno 28] the disk is full")


@pytest.mark.slow
def test_a_signal_to_the_second_ends_the_first_while_that_measures(tmp_path):
    wait = f"open({str(tmp_path / 'measures')!r}, 'w'); import time; time.sleep(600)"
    change = f"def wait(*_): {wait}\nreports.measure = wait"
    started = start(*LONG, f"--workdir={tmp_path / 'run'}", change=(change, ""))
    deadline = time.time() + 150
    while not (tmp_path / "measures").exists() and time.time() < deadline:
        time.sleep(0.1)
    started[1].send_signal(signal.SIGTERM)
    (code, line), (other, said) = ends(started)
    assert (code, line) == (1, "error: another process has ended: interrupted")
    assert other == 128 + signal.SIGTERM and said.startswith("error: interrupted")


@pytest.mark.parametrize("how", ["", "here", "localhost:1,2", "localhost:1,2,2", "a:1,x,0"])
def test_how_to_meet_is_told_in_one_way(how, tmp_path):
    if how == "":
        with processes.together(how) as watch:
            return None if watch is None else pytest.fail("no other process")
    result = run(*MOONS, f"--workdir={tmp_path}", f"--distributed={how}")
    assert result.code == 2 and result.err.startswith(
        f"error: --distributed = {how!r}: must be auto, or HOST:PORT, how many processes")


def test_only_training_is_shared():
    result = run("--pretrained=mnist", "--mode=sample", "--distributed=auto")
    assert result.code == 2 and "must be left out without --mode=train" in result.err
