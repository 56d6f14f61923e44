"""Check a run of observed sets of different sizes: training, files, pictures and completion."""

import csv
import json

import jax
import numpy as np
import pytest
from command_line import TINY, config, run

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api, reports
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.point_sets import ragged
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.sets.joint import Joint

SIZES = np.tile([9, 11, 14], 8)  # all sets are padded to 16 points, so few programs are compiled
RAGGED = [config("mnist_sets"), *TINY, *(f"--config.{option}" for option in (
    "sample.num_points=0", "sample.num_sets=5", "train.num_points=8", "train.keep_best=True",
    "model.sizes=True", "model.num_heads=2", "data.augment_rotate=True", "data.source=digits",
    "train.block=20", "sample.num_steps=2",
))]  # fmt: skip


def observed(seed=0):
    points = np.random.default_rng(seed).normal(size=(SIZES.sum(), 2))
    return from_observed(
        points, np.cumsum(SIZES) - SIZES, SIZES, np.arange(len(SIZES)) % 10, num_labels=10,
        label_names=tuple("0123456789"), title="pens", columns=("x", "y"), set_column="pen",
    )  # fmt: skip


@pytest.fixture
def observed_data(monkeypatch):
    """Replace the images by observed sets; other tests check how files of sets are read."""
    data = observed()
    data = data.replace(heldout=observed(1).replace(shift=data.shift, scale=data.scale))
    monkeypatch.setattr(api.data, "build", lambda config: data)
    copies = {"value": 0.5, "floor": 0.01, "ratio": None, "flagged": True, "verdict": "COPIES: x"}
    monkeypatch.setattr(reports, "measure", lambda data: {"copies": copies})


def test_a_run_of_sets_of_different_sizes(observed_data, tmp_path):
    folder = tmp_path / "run"
    result = run(*RAGGED, f"--workdir={folder}")
    assert result.code == 0, result.err
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    losses = {row["heldout_loss"]: row["step"] for row in rows}
    assert f"weights: the average at step {losses[min(losses)]} of 40, which" in result.err
    assert "held-out loss 0." in result.err or "held-out loss 1." in result.err
    assert "warning: copies: 0.5, floor 0.01: COPIES: x" in result.err
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json", "metrics.jsonl", "metrics.json", "samples.npz", "samples.csv", "sets.png",
        "labels.png", "birth.gif", "attention.png", "loss.png", "report.html", "checkpoints",
        "snapshots",
    }  # fmt: skip
    with np.load(folder / "samples.npz") as arrays:
        sizes, points = arrays["sizes"], arrays["points"]
        assert set(sizes) <= set(SIZES) and len(points) == sizes.sum() and len(arrays["label"]) == 5
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
        first, *table = csv.reader(file)
    assert first == ["pen", "x", "y", "label"] and len(table) == len(points)

    setup, params = td.load(folder)
    sets = td.sample(setup, params)
    np.testing.assert_array_equal(np.concatenate(ragged(sets)), points)
    like = jax.eval_shape(lambda: api.init(setup))
    assert like.best is not None

    (tmp_path / "given.csv").write_text("x,y\n" + "0,0\n1,1\n" * 5, "utf-8")
    result = run(f"--workdir={folder}", "--mode=complete", f"--points={tmp_path / 'given.csv'}")
    assert result.code == 0, result.err
    with np.load(folder / "completed.npz") as arrays:
        assert set(arrays["sizes"]) <= {11, 14}  # sizes above the number of given points
    assert (folder / "completed.png").exists() and (folder / "completed.csv").exists()


def test_points_that_are_no_numbers_are_not_taken_for_smaller_sets(
    observed_data, tmp_path, monkeypatch
):  # fmt: skip
    monkeypatch.setattr(Joint, "draw", lambda self, context, keys, *_: np.full(
        (len(keys), context.num_points, 2), np.nan, np.float32))  # fmt: skip
    result = run(*RAGGED, f"--workdir={tmp_path}")
    assert result.code == 1 and "sampled points are not finite numbers" in result.err
    assert not (tmp_path / "samples.npz").exists()


def test_the_blocks_of_a_set_end_with_its_size():
    options = td.default_config("history")
    options.sample.update(num_points=0, first_block=3, growth=2.0)
    samples = np.full((1, 12, 2), np.nan)
    samples[0, :10] = 0
    setup = api.Experiment(options, observed(), None, None)
    blocks = ReportData(setup, None, samples).blocks(0)
    assert blocks == [3, 3, 4]  # blocks of 3, 3, 6, 4 fill 16 points; the set has 10
