"""Check runs of one density and of sets: their files, and errors after a divergence."""

import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import MOONS, SETS, TINY, config, run
from PIL import Image
from run_files import FILES, arrays, losses, same
from shared_runs import shared_run

import tiny_diffusion_jax as td
from tiny_diffusion_jax import reports
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.metrics import separation
from tiny_diffusion_jax.reports import sections
from tiny_diffusion_jax.run.train_log import training_seconds


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
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert all(row["steps_per_second"] > 0 and len(row["loss_by_time"]) == 10 for row in rows)


def test_metrics_json_says_what_was_measured_and_how(finished):
    stored = json.loads((finished[0] / "metrics.json").read_text("utf-8"))
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
    assert lines[3] == ("targets: mean of x_0 given x_t over 64 points of a batch "
                        "(config.train.references)")  # fmt: skip
    assert lines[4] == f"open {folder / 'report.html'}, which reloads itself"
    assert re.fullmatch(r"compiled the training step in \d+\.\d s", lines[5])
    assert re.fullmatch(r"step 40 of 40: loss \d\.\d{4}, \d+ steps/s", lines[6])
    assert lines[-1] == f"wrote {folder}; open its report.html" and "sliced_wasserstein2: " in log
    assert re.fullmatch("grade: .*; the only measure is Log-likelihood", lines[-2])
    assert len(lines) == 14 and max(map(len, lines)) < 100


def test_a_finished_run_is_not_trained_again(copy, monkeypatch):
    monkeypatch.delattr("tiny_diffusion_jax.run.train.train_blocks")
    before = (copy / "metrics.jsonl").read_bytes(), arrays(copy, 40), np.load(copy / "samples.npy")
    seconds = json.loads((copy / "metrics.json").read_text("utf-8"))["seconds"]
    (copy / "samples.npy").unlink()
    result = run(*MOONS, f"--workdir={copy}")
    assert result.code == 0 and "already trained (step 40)\n" in result.err
    assert (copy / "metrics.jsonl").read_bytes() == before[0] and same(arrays(copy, 40), before[1])
    assert (np.load(copy / "samples.npy") == before[2]).all()
    again = json.loads((copy / "metrics.json").read_text("utf-8"))["seconds"]
    assert [again[k] for k in ("train", "compile")] == [seconds[k] for k in ("train", "compile")]


def test_sample_and_evaluate_take_other_options(copy, monkeypatch):
    monkeypatch.delattr("tiny_diffusion_jax.run.train.train_blocks")
    monkeypatch.setattr("tiny_diffusion_jax.reports.write_report", lambda *_: None)
    metrics = (copy / "metrics.json").read_bytes()
    options = ["--config.sample.num_sets=3", "--config.sample.num_points=50",
               "--config.sample.sampler=heun", "--config.sample.seed=5"]  # fmt: skip
    assert run(f"--workdir={copy}", *options, "--mode=sample").code == 0
    samples = np.load(copy / "samples.npy")
    assert samples.shape == (3, 50, 2) and (copy / "metrics.json").read_bytes() == metrics
    assert run(*MOONS, *options, "--mode=evaluate", f"--workdir={copy}").code == 0
    assert (np.load(copy / "samples.npy") == samples).all()
    stored = json.loads((copy / "metrics.json").read_text("utf-8"))
    assert stored["sample"]["sampler"] == "heun" and stored["sample"]["seed"] == 5
    assert stored["metrics"]["sliced_wasserstein2"]["num_points"] == 50


def test_samples_come_in_the_units_of_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tiny_diffusion_jax.reports.write_report", lambda *_: None)
    rows = np.random.default_rng(0).normal(size=(50, 2)) * 10 + [5000, -70]
    np.savetxt("table.csv", rows, delimiter=",")
    result = run(config("points") + ":table.csv", *TINY, "--config.data.heldout=0")
    assert result.code == 0, result.err
    samples = np.load("runs/points_table/samples.npy")
    assert np.abs(samples.mean((0, 1)) - rows.mean(0)).max() < 10 and 2 < samples.std(1).min() < 50
    stored = json.loads(Path("runs/points_table/config.json").read_text("utf-8"))["dataset"]
    np.testing.assert_allclose(stored["shift"], rows.mean(0), rtol=1e-4)


# -- numbers that are not finite ----------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_training(tmp_path):
    # Weight decay times learning rate is 5, so the weights are multiplied by -4 at each step.
    options = ["--config.train.learning_rate=5", "--config.train.weight_decay=1",
               "--config.train.warmup=0", "--config.train.checkpoint_every=10"]  # fmt: skip
    for _ in range(2):  # the second run resumes from the checkpoint and ends in the same way
        result = run(*MOONS, *options, f"--workdir={tmp_path}")
        assert result.code == 1
        last = result.err.splitlines()[-1]
        assert re.fullmatch(
            rf"error: loss = (inf|nan) at step 1\d: training stopped; last good state: the "
            rf"checkpoint of step 10, in {re.escape(str(tmp_path))}; a lower "
            rf"config.train.learning_rate often helps; to do this step again and see what is not "
            rf"finite: python main.py --workdir={re.escape(str(tmp_path))} --mode=replay",
            last), last  # fmt: skip
        assert "Traceback" not in result.err
    assert [row[0] for row in losses(tmp_path)] == [10]

    # The command in the message repeats the step from its file, with the same loss.
    again = run(f"--workdir={tmp_path}", "--mode=replay")
    first, *found = again.out.splitlines()
    said = re.match(r"error: loss = (\w+) at (step 1\d):", last)
    assert again.code == 0 and first.startswith(f"{said[2]}: loss = {said[1]}, gradient norm = ")
    assert re.match(r"losses not finite: \d of 8, at the noise levels \d+", found[0]), found
    assert not any(line.startswith("batch not finite: ") for line in found)
    (tmp_path / "diverged.npz").write_bytes((tmp_path / "diverged.npz").read_bytes()[:-99])
    damaged = run(f"--workdir={tmp_path}", "--mode=replay")
    line = f"error: {tmp_path / 'diverged.npz'}: must be a step of this run, but is damaged ("
    assert damaged.code == 2 and line in damaged.err


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    options = ["--config.train.learning_rate=1e38", "--config.train.weight_decay=1000",
               "--config.train.steps=1", "--config.train.warmup=0"]  # fmt: skip
    result = run(*MOONS, *options, f"--workdir={tmp_path}")
    assert result.code == 1 and "error: weights are not finite at step 1: training" in result.err
    assert "last good state: no checkpoint yet, in " in result.err
    assert not any((tmp_path / "checkpoints").iterdir())
    again = run(f"--workdir={tmp_path}", "--mode=replay")
    assert again.code == 0 and again.out.startswith("step 1: loss = ")
    assert "values of the repeated step are finite: the update after the step was not" in again.out


def test_a_number_that_is_not_finite_is_not_written(copy, monkeypatch):
    """The files of the run remain, and metrics.json is unchanged."""
    before = (copy / "metrics.json").read_bytes()
    numbers = {"good": {"value": 1.0, "floor": None}, "mmd_rbf": {"value": [float("nan")]}}
    row = sections.Section("numbers", lambda data: True, lambda data: numbers)
    monkeypatch.setattr(sections, "SECTIONS", [row])
    result = run(f"--workdir={copy}", "--mode=evaluate")
    assert result.code == 1 and result.err.splitlines()[-1].startswith(
        "error: mmd_rbf is not a finite number, so metrics.json was not written; the samples were"
    )
    assert (copy / "metrics.json").read_bytes() == before


def test_samples_that_are_not_finite_are_not_written(tmp_path):
    options = ["--config.train.learning_rate=1e30", "--config.train.steps=1",
               "--config.train.warmup=0"]  # fmt: skip
    result = run(*MOONS, *options, f"--workdir={tmp_path}")
    assert result.code == 1, result.err
    assert "error: 128 of 128 sampled points are not finite numbers; nothing" in result.err
    assert not (tmp_path / "samples.npy").exists()


# -- sets of many members -----------------------------------------------------------------------

SET_FILES = {
    "config.json", "metrics.jsonl", "metrics.json", "samples.npy", "sets.png", "birth.gif",
    "loss.png", "report.html", "checkpoints", "snapshots",
}  # fmt: skip


def is_picture(file: Path, frames: int = 1) -> bool:
    with Image.open(file) as image:
        image.load()
        return min(image.size) > 100 and getattr(image, "n_frames", 1) == frames


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """(folder, log) of a run of a mixture of two shapes.

    The separation test is calibrated on fewer sets than a reliable test needs.
    """
    calibrate = partial(separation.calibrate, num_reference=128, num_stray=128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separation, "calibrate", calibrate)
        return shared_run(
            tmp_path_factory, "mixture", config("mixture:moons+circle"), *SETS,
            "--config.model.name=history",
            f"--config.data.cache_dir={tmp_path_factory.mktemp('cache')}")  # fmt: skip


def test_a_run_of_a_mixture(mixture):
    folder, log = mixture
    assert {path.name for path in folder.iterdir()} == SET_FILES | {"attention.png"}
    stored = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert {"separation", "stray", "frequency_error"} <= stored["metrics"].keys()
    assert all(np.isfinite(m["value"]) for m in stored["metrics"].values())
    assert "separation: " in log and stored["data"] == "moons + circle"
    samples = np.load(folder / "samples.npy")
    assert samples.shape == (6, 16, 2) and samples.dtype == np.float32
    assert all(is_picture(folder / name) for name in ("sets.png", "attention.png"))
    # the animation shows the blocks one after another
    with Image.open(folder / "birth.gif") as image:
        assert image.n_frames >= 2


def test_a_completion_begins_with_the_points_given(mixture, tmp_path, monkeypatch):
    """Use one model; test_generation.py completes sets with every strategy."""
    monkeypatch.chdir(tmp_path)
    drawn = shutil.ignore_patterns("samples.npy", "*.png", "*.html")
    folder = shutil.copytree(mixture[0], "run", ignore=drawn)
    here = [f"--workdir={folder}", "--mode=complete", "--points=partial.csv"]
    Path("partial.csv").write_text("id,y,x\n7,0.25,0.5\n9,0,-1\n", "utf-8")
    done = run(*here)
    assert done.code == 0 and "completed.npy; open " in done.err, done.err
    assert "points: partial.csv: 2 points, coordinates x, y; not read: id\n" in done.err
    sets = np.load(f"{folder}/completed.npy")
    assert sets.shape == (6, 16, 2) and np.isfinite(sets).all()
    np.testing.assert_allclose(sets[:, :2], [[[0.5, 0.25], [-1, 0]]] * 6, atol=1e-5)
    assert is_picture(Path(folder, "completed.png")) and not Path(folder, "samples.npy").exists()

    # an error in the given points keeps the previous completion
    Path("partial.csv").write_text("x,y\n0.5,0.25\n-1,nan\n", "utf-8")
    wrong = run(*here)
    assert wrong.code == 2 and wrong.err == (
        "error: --points = 'partial.csv': line 3, column 'y' holds 'nan': must be a finite number\n"
    )
    assert (np.load(f"{folder}/completed.npy") == sets).all()

    # an error in the picture keeps the sets and the page
    Path("partial.csv").write_text("x,y\n0.5,0.25\n", encoding="utf-8")
    monkeypatch.setattr("tiny_diffusion_jax.figures.sets.sets_figure", None)
    failed = run(*here)
    assert failed.code == 1 and "error: completed.png could not be written" in failed.err
    assert not Path(folder, "completed.png").exists() and Path(folder, "report.html").exists()
    assert np.abs(np.load(f"{folder}/completed.npy") - sets).max() > 0


def test_a_run_of_digits_as_sets(tmp_path, monkeypatch):
    """Check guided sets here; test_sections.py checks all other metrics and pictures."""
    monkeypatch.setattr("tiny_diffusion_jax.metrics.classifier.TRAIN_SETS", 200)
    rows = [row for row in sections.SECTIONS if row.name in ("training", "labels", "page")]
    monkeypatch.setattr(sections, "SECTIONS", rows)
    result = run(config("mnist_sets:01"), *SETS, "--config.data.source=digits",
                 "--config.train.num_points=8", f"--workdir={tmp_path}")  # fmt: skip
    assert result.code == 0, result.err
    stored = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    accuracy = stored["metrics"]["label_accuracy"]
    assert accuracy["guidance_scale"] == 2.0 and accuracy["floor"] > 0.8
    assert stored["data_source"] == "digits" and is_picture(tmp_path / "labels.png")

    monkeypatch.setattr(reports, "write_report", lambda *_: None)
    ask = [f"--workdir={tmp_path}", "--mode=sample"]
    drawn = []
    for options in (["--config.sample.label=1", "--config.sample.guidance_scale=2"],
                    ["--config.sample.label=1"], ["--config.sample.label=-2"]):  # fmt: skip
        result = run(*ask, *options)
        assert result.code == 0, result.err
        drawn.append(np.load(tmp_path / "samples.npy"))
    setup, params = td.load(tmp_path)
    for sets, label, scale in zip(drawn, (1, 1, -2), (2.0, 1.0, 1.0), strict=True):
        asked = editable(setup.config.sample)
        asked.update(label=label, guidance_scale=scale)
        np.testing.assert_allclose(sets, td.sample(setup, params, asked), atol=1e-5)
    differences = np.abs(np.diff(drawn, axis=0)).max((1, 2, 3))
    assert differences.min() > 1e-4


# -- messages ---------------------------------------------------------------------------------


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
    assert training_seconds(rows) == {"compile": 3.5, "train": 2.0 + 2.0 + 1.0}
    assert training_seconds([]) == {"compile": 0.0, "train": 0.0}
