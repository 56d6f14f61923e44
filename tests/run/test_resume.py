"""Check how runs stop and resume: signals, kills, crashes and damage lose no results."""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from command_line import MOONS, ROOT, kept_handlers, run
from run_files import FILES, arrays, losses, same

from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.files import PART
from tiny_diffusion_jax.run import checkpoints
from tiny_diffusion_jax.run import train as training
from tiny_diffusion_jax.run.signals import (
    abandon_at_signal,
    caught,
    held_signals,
    raise_until_caught,
)
from tiny_diffusion_jax.run.train_log import read_rows
from tiny_diffusion_jax.training import loop

# Training takes some seconds, to leave time for a signal. A save takes as long as 1,000 steps.
LONG = [*MOONS, "--config.train.steps=4000", "--config.train.checkpoint_every=1000"]


def start(*arguments, **options) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    return subprocess.Popen(command, **({"stderr": subprocess.PIPE, "encoding": "utf-8"} | options))


def wait_for_rows(folder: Path, process) -> None:
    """Wait until training has finished several blocks."""
    deadline = time.time() + 60
    while len(read_rows(folder / "metrics.jsonl")) < 5:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.005)


def screen(written: str) -> list[str]:
    """Lines that a terminal finally shows; \\r moves to the start of a line."""
    return [line.rstrip("\r").rsplit("\r", 1)[-1] for line in written.split("\n")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands.reports, "evaluate_run", lambda *_: None)
        assert run(*LONG, f"--workdir={folder}").code == 0
    return folder


def test_stopped_twice_a_run_ends_as_if_never_stopped(uninterrupted, tmp_path, only_training):
    """The benchmark kill_resume.py kills runs without time to save."""
    folder, here = tmp_path / "run", [*LONG, f"--workdir={tmp_path / 'run'}"]

    # Ctrl-C at a terminal: a progress bar on one line, with messages above the bar.
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = start(*here, stderr=theirs)
    os.close(theirs)
    written = []
    reader = threading.Thread(target=lambda: written.extend(iter(lambda: read(ours), b"")))
    reader.start()
    wait_for_rows(folder, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    reader.join()
    text = b"".join(written).decode()
    lines = [line for line in screen(text) if line]
    assert re.search(r"\rtrain: .*\d+/4000 \[.*<.*step/s, loss=\d", text)
    assert [line.split()[0] for line in lines] == [
        "data:", "device:", "schedule:", "targets:", "open", "compiled", "train:",
        "error:"]  # fmt: skip
    stopped = int(re.fullmatch(
        rf"error: interrupted: step (\d+) of 4000 is saved in {re.escape(str(folder))}; the same "
        "command resumes from there", lines[-1])[1])  # fmt: skip
    assert stopped % 10 == 0 and (folder / "checkpoints" / str(stopped)).exists()

    # SIGTERM, as sent by a scheduler.
    train_blocks, calls = training.train_blocks, []

    def terminated(experiment, state):
        for block in train_blocks(experiment, state):
            calls.append(block)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_blocks", terminated)
        result = run(*here)
    log = result.err.splitlines()
    assert result.code == 143 and len(calls) == 3
    assert "resuming from step" in log[3] and log[-1].startswith("error: interrupted: step ")

    result = run(*here)
    assert result.code == 0, result.err
    assert losses(folder) == losses(uninterrupted)
    assert [row[0] for row in losses(folder)] == list(range(10, 4001, 10))
    assert same(arrays(folder, 4000), arrays(uninterrupted, 4000))


def read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # on Linux: the other end is closed
        return b""


def test_a_signal_while_sampling(copy):
    process = start("--mode=sample", f"--workdir={copy}")
    for line in process.stderr:
        if line.startswith("schedule: "):  # the last line before sampling starts
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130, rest
    assert rest == (
        "error: interrupted: every written file is complete, and the same command resumes from the "
        "last checkpoint\n"
    )
    assert {path.name for path in copy.iterdir()} == FILES


def test_a_second_signal_does_not_wait():
    handler, signals = signal.getsignal(signal.SIGINT), []
    with held_signals(signals):
        os.kill(os.getpid(), signal.SIGINT)
        assert signals == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_dropped_interrupt_is_raised_again(monkeypatch):
    monkeypatch.setattr("tiny_diffusion_jax.run.signals.SECONDS", 0.2)
    with kept_handlers():
        raise_until_caught()
        for _ in range(2):  # a library drops the exceptions of two signals
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
        with pytest.raises(KeyboardInterrupt) as dropped:
            time.sleep(5)
        assert caught(dropped.value) == signal.SIGTERM
        time.sleep(0.5)  # no signal is left


def test_a_long_block_is_not_waited_for(tmp_path, finished, only_training, monkeypatch):
    """A signal in the third block, which takes a minute, saves the state after the second block."""
    blocks, run_in_thread = [], loop.run_in_thread

    def slowly(work):
        if isinstance(work, functools.partial):  # delays blocks only, not the compiler
            blocks.append(work)
            if len(blocks) == 3:
                return run_in_thread(lambda: time.sleep(60))
            if len(blocks) == 4:  # this block is sent while the third block is awaited
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return run_in_thread(work)

    options = [*MOONS, "--config.train.checkpoint_every=40", f"--workdir={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_in_thread", slowly)
        began = time.perf_counter()
        result = run(*options)
    assert time.perf_counter() - began < 15 and len(blocks) == 4
    assert result.code == 143 and "interrupted: step 20 of 40 is saved in" in result.err
    assert run(*options).code == 0
    assert same(arrays(tmp_path, 40), arrays(finished[0], 40))
    assert losses(tmp_path) == losses(finished[0])


def test_a_signal_before_the_first_block_is_done(tmp_path):
    """A separate process exits without waiting for the compiler or the device."""
    process = start(*MOONS, "--config.train.steps=2000000", "--config.train.block=1000000",
                    f"--workdir={tmp_path}")  # fmt: skip
    while not (tmp_path / "metrics.jsonl").exists():  # created when training begins
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    began = time.perf_counter()
    rest = process.stderr.read().splitlines()[-1]
    assert process.wait(60) == 130 and time.perf_counter() - began < 5
    assert rest == "error: interrupted: no step is done yet; the same command starts again"
    assert not any((tmp_path / "checkpoints").iterdir())


def test_a_signal_strikes_at_once_or_waits_until_files_are_written():
    signals = []
    with abandon_at_signal(signals):
        with held_signals(signals):
            os.kill(os.getpid(), signal.SIGINT)
            assert signals == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        pytest.fail("not abandoned")
    assert signals == [signal.SIGINT] * 2


def test_a_signal_in_the_last_block_is_heard_too(tmp_path, monkeypatch):
    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: pytest.fail("sampled"))

    def write(self, step):
        if step == 40:
            os.kill(os.getpid(), signal.SIGINT)

    save = checkpoints.save
    monkeypatch.setattr(training, "save", lambda saved, state: (
        write(None, int(state.step)), save(saved, state)))  # fmt: skip
    result = run(*MOONS, f"--workdir={tmp_path}")
    assert result.code == 130 and "interrupted: step 40 of 40 is saved" in result.err


# ---------------------------------------------------------------- crashes and damage


def half_written(run: Path):
    """State after a kill during the save of step 40: an incomplete folder with a temporary name."""
    final = run / "checkpoints" / "40"
    (final / "files.txt").unlink()
    final.rename(final.with_name(f"{PART}40"))
    (run / f"{PART}abc.npy").write_text("half", "utf-8")


def deleted(run: Path):
    shutil.rmtree(run / "checkpoints" / "40")


def damaged(run: Path):
    (run / "checkpoints" / "40" / "files.txt").write_text("", "utf-8")


def all_deleted(run: Path):
    shutil.rmtree(run / "checkpoints")


def cut_short(run: Path):
    deleted(run)
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 50, "lo')


@pytest.mark.parametrize("crash, step", [
    (half_written, 20), (deleted, 20), (damaged, 20), (cut_short, 20), (all_deleted, 0)],
    ids=lambda value: getattr(value, "__name__", None))  # fmt: skip
def test_after_a_crash_the_run_goes_on(crash, step, finished, copy, only_training):
    crash(copy)
    result = run(*MOONS, f"--workdir={copy}")
    assert result.code == 0, result.err
    assert (f"resuming from step {step} of 40\n" in result.err) == (step > 0)
    assert same(arrays(copy, 40), arrays(finished[0], 40))
    assert losses(copy) == losses(finished[0])
    assert {path.name for path in copy.iterdir()} == FILES
    aside = {"40.damaged"} if crash is damaged else set()
    assert {path.name for path in (copy / "checkpoints").iterdir()} == {"20", "40"} | aside


def test_sampling_leaves_a_checkpoint_that_is_being_written_alone(copy):
    half_written(copy)
    result = run(*MOONS, "--mode=sample", f"--workdir={copy}")
    assert result.code == 0 and "restored step 20\n" in result.err
    assert (copy / "checkpoints" / f"{PART}40").exists()


@pytest.mark.parametrize("mode", ["sample", "evaluate"])
def test_the_checkpoint_before_a_damaged_one_is_drawn_from(mode, copy, monkeypatch):
    used = []
    for name in ("sample_run", "evaluate_run"):
        monkeypatch.setattr(commands.reports, name, lambda *_: used.append("drawn"))
    damaged(copy)
    result = run(f"--mode={mode}", f"--workdir={copy}")
    path = copy / "checkpoints" / "40"
    assert result.code == 0 and used == ["drawn"], result.err
    assert (f"warning: checkpoint {path}: is damaged; the one before it, of step 20, is used\n"
            "restored step 20\n") in result.err  # fmt: skip
    assert path.exists()  # nothing is changed


def test_a_checkpoint_keeps_the_last(tmp_path, only_training):
    options = ["--config.train.checkpoint_every=10", "--config.train.keep=3"]
    assert run(*MOONS, *options, f"--workdir={tmp_path}").code == 0
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"20", "30", "40"}
