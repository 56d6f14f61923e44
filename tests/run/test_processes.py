"""Two processes of two devices each train what one does, and stop and fail together. Slow."""

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

from tiny_diffusion_jax.run import processes

LONG = [*MOONS, "--config.train.steps=400", "--config.train.checkpoint_every=50"]
MAIN = (f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import jax; jax.config.update('jax_num_cpu_devices', 2)\n"
        "from tiny_diffusion_jax.run import modes; modes.finish = lambda *_: None\n"
        "from tiny_diffusion_jax.run.cli import main; main(sys.argv)")  # fmt: skip


def start(*flags: str) -> list[subprocess.Popen]:
    """Two processes, of which the first writes to --workdir."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, "-c", MAIN, *flags, f"--distributed=localhost:{port},2,{i}"],
            stderr=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        ) for i in range(2)
    ]  # fmt: skip


def ends(started) -> list[tuple[int, str]]:
    """(exit code, last line) of each."""
    texts = [process.communicate(timeout=120)[1] for process in started]
    return [(process.returncode, text.strip().splitlines()[-1] if text.strip() else "")
            for process, text in zip(started, texts, strict=True)]  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_stop_together(tmp_path, monkeypatch):
    from tiny_diffusion_jax.run import modes

    monkeypatch.setattr(modes, "finish", lambda *_: None)
    assert run(*LONG, f"--workdir={tmp_path / 'one'}").code == 0

    # SIGTERM to the second alone stops both, and the first saves.
    folder = tmp_path / "two"
    started = start(*LONG, f"--workdir={folder}")
    deadline = time.time() + 60
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").read_text():
        assert time.time() < deadline and started[0].poll() is None, started[0].stderr.read()
        time.sleep(0.01)
    started[1].send_signal(signal.SIGTERM)
    (first, line), (second, _) = ends(started)
    assert "of 400 is saved" in line, (line, first, second)
    stopped = int(re.search(r"step (\d+) of 400 is saved", line)[1])
    assert 0 < stopped < 400 and first != 0 and second != 2

    # One process takes it a little further, and two of them to its end.
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
    assert other == 1 and said == "error: another process has ended, and says why"


@pytest.mark.parametrize("how", ["", "here", "localhost:1,2", "localhost:1,2,2", "a:1,x,0"])
def test_how_to_meet_is_told_in_one_way(how, tmp_path):
    if how == "":
        return processes.join(how)
    result = run(*MOONS, f"--workdir={tmp_path}", f"--distributed={how}")
    assert result.code == 2 and result.err.startswith(
        f"error: --distributed = {how!r}: must be auto, or HOST:PORT, how many processes")


def test_only_training_is_shared():
    result = run("--pretrained=mnist", "--mode=sample", "--distributed=auto")
    assert result.code == 2 and "--distributed goes with --mode=train" in result.err
