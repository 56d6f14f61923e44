"""Runs: what they leave, how they stop and go on, what a crash or a divergence leads to."""

import json
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
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import ROOT, TINY, config, run
from PIL import Image

from tiny_diffusion_jax.files import PART
from tiny_diffusion_jax.run import checkpoints, modes, workdir
from tiny_diffusion_jax.run.signals import Signals

MOONS = [config("moons"), *TINY]
LONG = [config("moons"), *TINY, "--config.train.steps=4000"]  # some seconds: time for a signal
FILES = {
    "config.json", "metrics.jsonl", "metrics.json", "samples.npy", "trajectory.npy", "samples.png",
    "reverse.gif", "forward.gif", "loss.png", "checkpoints",
}  # fmt: skip


def arrays(folder: Path, step: int) -> dict:
    """Everything in the checkpoint of a step: weights, their average, the optimiser's state."""
    with checkpoints.open_checkpoints(folder / "checkpoints") as saved:
        return saved.load(step)


def same(a: dict, b: dict) -> bool:
    """Equal bit for bit."""
    return a.keys() == b.keys() and all(
        np.asarray(a[k]).tobytes() == np.asarray(b[k]).tobytes() for k in a
    )


def losses(folder: Path) -> list:
    """What metrics.jsonl says of training, without the times it took."""
    rows = workdir.read_rows(folder / "metrics.jsonl")
    return [(row["step"], row["loss"], row["grad_norm"], row["loss_by_time"]) for row in rows]


@pytest.fixture
def only_training(monkeypatch):
    """Runs end after training: the rest is not what the test is about."""
    monkeypatch.setattr(modes, "_finish", lambda *_: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, what was logged) of a whole run of the tiny moons."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = run(*MOONS, f"--workdir={folder}")
    assert result.code == 0 and result.out == "", result
    return folder, result.err


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_run_leaves_the_files_it_promises_and_no_others(finished):
    folder, _ = finished
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"20", "40"}
    samples, way = np.load(folder / "samples.npy"), np.load(folder / "trajectory.npy")
    assert samples.dtype == way.dtype == np.float32
    assert samples.shape == (2, 64, 2) and way.shape == (5, 64, 2)
    assert np.isfinite(samples).all() and np.isfinite(way).all()
    for name in ("samples.png", "loss.png", "reverse.gif", "forward.gif"):
        with Image.open(folder / name) as image:
            image.load()
            assert min(image.size) > 100 and getattr(image, "n_frames", 1) == (
                2 if name.endswith("gif") else 1
            )
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert all(row["steps_per_second"] > 0 and len(row["loss_by_time"]) == 10 for row in rows)


def test_metrics_json_says_what_was_measured_and_how(finished):
    stored = json.loads((finished[0] / "metrics.json").read_text())
    assert stored["data"] == "moons" and stored["data_source"] == "analytic"
    for name, metric in stored["metrics"].items():
        assert np.isfinite(metric["value"]) and np.isfinite(metric["floor"]), name
    assert {"sliced_wasserstein2", "energy_distance", "mmd_rbf", "wasserstein2",
            "log_likelihood"} == stored["metrics"].keys()  # fmt: skip
    assert {"start", "compile", "train", "sample", "evaluate", "pictures"} == stored[
        "seconds"].keys()  # fmt: skip
    assert stored["seconds"]["compile"] > 0 and stored["sample"]["num_points"] == 64
    assert stored["versions"]["jax"] and "cpu" in stored["device"]


def test_the_log_is_short_and_plain(finished):
    folder, log = finished
    lines = log.splitlines()
    assert lines[:2] == ["data: moons", "device: 1 x cpu"]
    assert lines[2] == "schedule: karras, terminal SNR 0.0069"
    assert re.fullmatch(r"compiled the training step in \d+\.\d s", lines[3])
    assert re.fullmatch(r"step 40 of 40: loss \d\.\d{4}, \d+ steps/s", lines[4])
    assert lines[-1] == f"wrote {folder}" and "sliced_wasserstein2: " in log
    assert len(lines) == 11 and max(map(len, lines)) < 100


def test_a_finished_run_is_not_trained_again(copy, monkeypatch):
    monkeypatch.delattr("tiny_diffusion_jax.run.modes.train")
    before = (copy / "metrics.jsonl").read_bytes(), arrays(copy, 40), np.load(copy / "samples.npy")
    seconds = json.loads((copy / "metrics.json").read_text())["seconds"]
    (copy / "samples.npy").unlink()
    result = run(*MOONS, f"--workdir={copy}")
    assert result.code == 0 and "trained already, to step 40\n" in result.err
    assert (copy / "metrics.jsonl").read_bytes() == before[0] and same(arrays(copy, 40), before[1])
    assert (np.load(copy / "samples.npy") == before[2]).all()
    again = json.loads((copy / "metrics.json").read_text())["seconds"]
    assert [again[k] for k in ("train", "compile")] == [seconds[k] for k in ("train", "compile")]


def test_sample_and_evaluate_take_other_options(copy, monkeypatch):
    monkeypatch.delattr("tiny_diffusion_jax.run.modes.train")
    monkeypatch.setattr("tiny_diffusion_jax.run.report.pictures", lambda *_: None)
    metrics = (copy / "metrics.json").read_bytes()
    options = ["--config.sample.num_sets=3", "--config.sample.num_points=50",
               "--config.sample.sampler=heun", "--config.sample.seed=5"]  # fmt: skip
    assert run(*MOONS, *options, "--mode=sample", f"--workdir={copy}").code == 0
    samples = np.load(copy / "samples.npy")
    assert samples.shape == (3, 50, 2) and (copy / "metrics.json").read_bytes() == metrics
    assert run(*MOONS, *options, "--mode=evaluate", f"--workdir={copy}").code == 0
    assert (np.load(copy / "samples.npy") == samples).all()
    stored = json.loads((copy / "metrics.json").read_text())
    assert stored["sample"]["sampler"] == "heun" and stored["sample"]["seed"] == 5
    assert stored["metrics"]["sliced_wasserstein2"]["num_points"] == 50


def test_samples_come_in_the_units_of_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tiny_diffusion_jax.run.report.pictures", lambda *_: None)
    rows = np.random.default_rng(0).normal(size=(50, 2)) * 10 + [5000, -70]
    np.savetxt("table.csv", rows, delimiter=",")
    result = run(config("points") + ":table.csv", *TINY, "--config.data.heldout=0")
    assert result.code == 0, result.err
    samples = np.load("runs/points_table/samples.npy")
    assert np.abs(samples.mean((0, 1)) - rows.mean(0)).max() < 10 and 2 < samples.std(1).min() < 50
    stored = json.loads(Path("runs/points_table/config.json").read_text())["dataset"]
    np.testing.assert_allclose(stored["shift"], rows.mean(0), rtol=1e-4)


# -- stopping and going on ----------------------------------------------------------------------


def start(*arguments, **options) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    return subprocess.Popen(command, **({"stderr": subprocess.PIPE, "text": True} | options))


def wait_for_rows(folder: Path, more_than: int, process) -> None:
    """Until training has gone on by some blocks."""
    deadline = time.time() + 60
    while len(workdir.read_rows(folder / "metrics.jsonl")) < more_than + 5:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.005)


def screen(written: str) -> list[str]:
    """The lines that a terminal shows in the end: \\r goes back to the start of a line."""
    return [line.rstrip("\r").rsplit("\r", 1)[-1] for line in written.split("\n")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes, "_finish", lambda *_: None)
        assert run(*LONG, "--config.train.checkpoint_every=500", f"--workdir={folder}").code == 0
    return folder


def test_stopped_three_times_a_run_ends_as_if_never_stopped(uninterrupted, tmp_path, only_training):
    folder, here = tmp_path / "run", [*LONG, f"--workdir={tmp_path / 'run'}"]

    # Ctrl-C, at a terminal: a bar on one line, messages above it.
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = start(*here, stderr=theirs)
    os.close(theirs)
    written = []
    reader = threading.Thread(target=lambda: written.extend(iter(lambda: read(ours), b"")))
    reader.start()
    wait_for_rows(folder, 0, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    reader.join()
    text = b"".join(written).decode()
    lines = [line for line in screen(text) if line]
    assert re.search(r"\rtrain: .*\d+/4000 \[.*<.*step/s, loss=\d", text)
    assert [line.split()[0] for line in lines] == [
        "data:", "device:", "schedule:", "compiled", "train:", "error:"]  # fmt: skip
    stopped = int(re.fullmatch(
        rf"error: interrupted: step (\d+) of 4000 is saved in {re.escape(str(folder))}; the same "
        "command goes on from there", lines[-1])[1])  # fmt: skip
    assert stopped % 10 == 0 and (folder / "checkpoints" / str(stopped)).exists()

    # Killed, with no time to save: the steps since the last checkpoint are done again.
    process = start(*here)
    wait_for_rows(folder, stopped // 10, process)
    refused = run(*here)
    assert refused.code == 2 and "another process is training in it" in refused.err
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert "Traceback" not in process.stderr.read()

    # SIGTERM, as from a scheduler.
    train, calls = modes.train, []

    def terminated(experiment, state, on_block, progress):
        def after_some(state, row):
            calls.append(row["step"])
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return on_block(state, row)

        return train(experiment, state, after_some, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes, "train", terminated)
        result = run(*here)
    log = result.err.splitlines()
    assert result.code == 143 and len(calls) == 3
    assert "going on from step" in log[3] and log[-1].startswith("error: interrupted: step ")

    result = run(*here)
    assert result.code == 0, result.err
    assert losses(folder) == losses(uninterrupted)
    assert [row[0] for row in losses(folder)] == list(range(10, 4001, 10))
    assert same(arrays(folder, 4000), arrays(uninterrupted, 4000))


def read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # Linux: the other end is closed
        return b""


def test_a_signal_while_sampling(copy):
    number = signal.SIGINT
    process = start("--mode=sample", f"--workdir={copy}")
    for line in process.stderr:
        if line.startswith("restored step 40"):
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(60) == 128 + number, rest
    assert rest == (
        "error: interrupted: every file written is whole, and the same command goes on from the "
        "last checkpoint\n"
    )
    assert {path.name for path in copy.iterdir()} == FILES


def test_a_second_signal_does_not_wait():
    handler = signal.getsignal(signal.SIGINT)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_signal_in_the_last_block_is_heard_too(tmp_path, monkeypatch):
    monkeypatch.setattr(modes, "_finish", lambda *_: pytest.fail("went on to sample"))

    def write(self, step):
        if step == 40:
            os.kill(os.getpid(), signal.SIGINT)

    save = checkpoints.save
    monkeypatch.setattr(modes, "save", lambda saved, state: (
        write(None, int(state.step)), save(saved, state)))  # fmt: skip
    result = run(*MOONS, f"--workdir={tmp_path}")
    assert result.code == 130 and "interrupted: step 40 of 40 is saved" in result.err


# -- crashes and damage -------------------------------------------------------------------------


def half_written(run: Path):
    """As a kill during the save of step 40 leaves it: under orbax's temporary name, incomplete."""
    final = run / "checkpoints" / "40"
    (final / "commit_success.txt").unlink()
    (final / "state" / "manifest.ocdbt").unlink()
    final.rename(final.with_name("40.orbax-checkpoint-tmp"))
    (run / f"{PART}abc.npy").write_text("half")


def damaged_then_deleted(run: Path):
    """The advice that the error about a damaged checkpoint gives."""
    shutil.rmtree(run / "checkpoints" / "40")


def all_deleted(run: Path):
    shutil.rmtree(run / "checkpoints")


def cut_short(run: Path):
    damaged_then_deleted(run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "lo')


@pytest.mark.parametrize("crash, step", [
    (half_written, 20), (damaged_then_deleted, 20), (cut_short, 20), (all_deleted, 0)],
    ids=lambda value: getattr(value, "__name__", None))  # fmt: skip
def test_after_a_crash_the_run_goes_on(crash, step, finished, copy, only_training):
    crash(copy)
    result = run(*MOONS, f"--workdir={copy}")
    assert result.code == 0, result.err
    assert (f"going on from step {step} of 40\n" in result.err) == (step > 0)
    assert same(arrays(copy, 40), arrays(finished[0], 40))
    assert losses(copy) == losses(finished[0])
    assert {path.name for path in copy.iterdir()} == FILES
    assert {path.name for path in (copy / "checkpoints").iterdir()} == {"20", "40"}


def test_sampling_leaves_a_checkpoint_that_is_being_written_alone(copy):
    half_written(copy)
    result = run(*MOONS, "--mode=sample", f"--workdir={copy}")
    assert result.code == 0 and "restored step 20\n" in result.err
    assert (copy / "checkpoints" / "40.orbax-checkpoint-tmp").exists()


def test_any_change_to_a_checkpoint_is_noticed(tmp_path):
    state = SimpleNamespace(step=1)
    tree = {"w": np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)}
    import jax

    from tiny_diffusion_jax.training.step import TrainState

    state = TrainState(np.int32(7), tree, tree, ())
    with checkpoints.open_checkpoints(tmp_path / "a", keep=2) as saved:
        checkpoints.save(saved, state)
        checkpoints.save(saved, state)  # a second time: no error, nothing new
        restored = checkpoints.restore_latest(saved, jax.eval_shape(lambda: state))
    assert (restored.params["w"] == tree["w"]).all() and restored.step == 7
    wrong = {name: array.copy() for name, array in checkpoints._leaves(state).items()}
    before = checkpoints._checksum(wrong)
    wrong[".params['w']"][3, 3] += 1e-6
    assert checkpoints._checksum(wrong) != before


def test_a_checkpoint_keeps_the_last(tmp_path, only_training):
    options = ["--config.train.checkpoint_every=10", "--config.train.keep=3"]
    assert run(*MOONS, *options, f"--workdir={tmp_path}").code == 0
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"20", "30", "40"}


# -- numbers that are not finite ----------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_training(tmp_path):
    # Weight decay times rate is 5: the weights grow by -4 at each step.
    options = ["--config.train.learning_rate=5", "--config.train.weight_decay=1",
               "--config.train.warmup=0", "--config.train.checkpoint_every=10"]  # fmt: skip
    for _ in range(2):  # the second goes on from the checkpoint, and ends as the first
        result = run(*MOONS, *options, f"--workdir={tmp_path}")
        assert result.code == 1
        last = result.err.splitlines()[-1]
        assert re.fullmatch(
            rf"error: loss = (inf|nan) at step 1\d: training stopped; last good state: the "
            rf"checkpoint of step 10, in {re.escape(str(tmp_path))}; a lower "
            r"config.train.learning_rate often helps", last), last  # fmt: skip
        assert "Traceback" not in result.err
    assert [row[0] for row in losses(tmp_path)] == [10]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    options = ["--config.train.learning_rate=1e39", "--config.train.steps=1",
               "--config.train.warmup=0"]  # fmt: skip
    result = run(*MOONS, *options, f"--workdir={tmp_path}")
    assert result.code == 1 and "error: weights are not finite at step 1: training" in result.err
    assert "last good state: no checkpoint yet, in " in result.err
    assert not any((tmp_path / "checkpoints").iterdir())


def test_samples_that_are_not_finite_are_not_written(tmp_path):
    options = ["--config.train.learning_rate=1e30", "--config.train.steps=1",
               "--config.train.warmup=0"]  # fmt: skip
    result = run(*MOONS, *options, f"--workdir={tmp_path}")
    assert result.code == 1, result.err
    assert "error: 128 of 128 sampled points are not finite numbers; nothing" in result.err
    assert not (tmp_path / "samples.npy").exists()


# -- sets of many members -----------------------------------------------------------------------

SETS = [*TINY, *(f"--config.{option}" for option in (
    "train.steps=10", "train.checkpoint_every=10", "train.shards=1", "train.num_points=8",
    "train.max_points=0", "train.min_history=1", "train.max_history=8", "model.num_heads=2",
    "model.num_inducing=2", "model.latent_dim=4", "sample.num_sets=6", "sample.num_points=16",
    "sample.first_block=8", "sample.growth=1.0", "evaluate.max_sets=6"))]  # fmt: skip
SET_FILES = {
    "config.json", "metrics.jsonl", "metrics.json", "samples.npy", "sets.png", "birth.gif",
    "loss.png", "checkpoints",
}  # fmt: skip


def is_picture(file: Path, frames: int = 1) -> bool:
    with Image.open(file) as image:
        image.load()
        return min(image.size) > 100 and getattr(image, "n_frames", 1) == frames


@pytest.mark.parametrize("model", ["history", "set_transformer", "set_latent"])
def test_a_run_of_a_mixture(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = [config("mixture:moons+circle"), *SETS, f"--config.model.name={model}"]
    result = run(*here)
    assert result.code == 0, result.err
    folder = tmp_path / "runs" / f"mixture_moons+circle_{model}"
    attention = set() if model == "set_latent" else {"attention.png"}
    assert {path.name for path in folder.iterdir()} == SET_FILES | attention
    stored = json.loads((folder / "metrics.json").read_text())
    assert {"separation", "stray", "frequency_error"} <= stored["metrics"].keys()
    assert all(np.isfinite(m["value"]) for m in stored["metrics"].values())
    assert "separation: " in result.err and stored["data"] == "moons + circle"
    samples = np.load(folder / "samples.npy")
    assert samples.shape == (6, 16, 2) and samples.dtype == np.float32
    assert all(is_picture(folder / name) for name in {"sets.png"} | attention)
    # the blocks of a chain take turns in its animation
    with Image.open(folder / "birth.gif") as image:
        assert image.n_frames >= 2

    Path("partial.csv").write_text("x,y\n0.5,0.25\n-1,0\n")
    done = run(*here, "--mode=complete", "--points=partial.csv")
    assert done.code == 0 and done.err.endswith("completed.npy\n"), done.err
    sets = np.load(folder / "completed.npy")
    assert sets.shape == (6, 16, 2) and np.isfinite(sets).all()
    np.testing.assert_allclose(sets[:, :2], [[[0.5, 0.25], [-1, 0]]] * 6, atol=1e-5)
    assert is_picture(folder / "completed.png")
    assert (np.load(folder / "samples.npy") == samples).all()

    # a mistake in what is given leaves what was completed before
    Path("partial.csv").write_text("x,y\n0.5,0.25\n-1,nan\n")
    wrong = run(*here, "--mode=complete", "--points=partial.csv")
    assert wrong.code == 2 and wrong.err == (
        "error: --points = 'partial.csv': line 3, column 'y' holds 'nan': must be a finite number\n"
    )
    assert (np.load(folder / "completed.npy") == sets).all()


def test_a_run_of_digits_as_sets(tmp_path, monkeypatch):
    monkeypatch.setattr("tiny_diffusion_jax.evaluate.classifier.TRAIN_SETS", 400)
    monkeypatch.setattr("tiny_diffusion_jax.evaluate.copies.MAX_REFERENCE", 50)
    here = [config("mnist_sets:01"), *SETS, "--config.data.source=digits",
            "--config.train.num_points=8", f"--workdir={tmp_path}"]  # fmt: skip
    result = run(*here)
    assert result.code == 0, result.err
    assert {path.name for path in tmp_path.iterdir()} == SET_FILES | {"attention.png", "labels.png"}
    stored = json.loads((tmp_path / "metrics.json").read_text())
    metrics = stored["metrics"]
    assert {"nna_cd", "nna_emd", "cov_cd", "mmd_emd", "copies", "label_accuracy"} <= set(
        metrics)  # fmt: skip
    assert metrics["label_accuracy"]["guidance_scale"] == 2.0
    assert metrics["label_accuracy"]["floor"] > 0.8 and metrics["nna_cd"]["num_sets"] == 6
    assert stored["data_source"] == "digits" and is_picture(tmp_path / "labels.png")

    monkeypatch.setattr("tiny_diffusion_jax.run.report.pictures", lambda *_: None)
    ask = [*here, "--mode=sample", "--config.sample.num_sets=1"]
    drawn = []
    for options in (["--config.sample.label=1", "--config.sample.guidance_scale=2"],
                    ["--config.sample.label=1"], ["--config.sample.label=-2"]):  # fmt: skip
        result = run(*ask, *options)
        assert result.code == 0, result.err
        drawn.append(np.load(tmp_path / "samples.npy"))
    assert all(d.shape == (1, 16, 2) for d in drawn)
    assert np.abs(drawn[0] - drawn[1]).max() > 0 and np.abs(drawn[1] - drawn[2]).max() > 0


# -- what is said -------------------------------------------------------------------------------


def test_a_schedule_that_does_not_reach_noise_is_told(tmp_path, only_training):
    options = ["--config.schedule.name=linear", "--config.schedule.num_levels=50",
               "--config.diffusion.prediction=eps"]  # fmt: skip
    result = run(*MOONS, *options, f"--workdir={tmp_path}")
    assert result.code == 0 and "warning: terminal SNR above 0.01: " in result.err


def test_tensorboard_gets_the_numbers(tmp_path, monkeypatch, only_training):
    calls = []

    class SummaryWriter:
        def __init__(self, folder):
            calls.append(folder)

        def add_scalar(self, name, value, step):
            calls.append((name, step))

        def flush(self):
            pass

        def close(self):
            calls.append("closed")

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=SummaryWriter))
    assert run(*MOONS, "--config.log.tensorboard", f"--workdir={tmp_path}").code == 0
    assert calls[0] == str(tmp_path / "tensorboard") and calls[-1] == "closed"
    assert [c for c in calls if c[0] == "loss"] == [("loss", s) for s in (10, 20, 30, 40)]


def test_seconds_add_up_over_interruptions():
    rows = [{"step": 10, "steps_per_second": 5.0, "compile_seconds": 2.0},
            {"step": 30, "steps_per_second": 10.0},
            {"step": 40, "steps_per_second": 10.0, "compile_seconds": 1.5}]  # fmt: skip
    assert modes.training_seconds(rows) == {"compile": 3.5, "train": 2.0 + 2.0 + 1.0}
    assert modes.training_seconds([]) == {"compile": 0.0, "train": 0.0}
