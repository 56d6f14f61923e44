"""Check complete runs on data far from 0: samples are compared with the numbers of the table."""

import csv
import json

import numpy as np
import pytest
from command_line import SETS, TINY, config, run
from scipy.stats import ks_2samp

UTM = np.array([388098.25, 5603948.7])


@pytest.fixture(scope="module")
def utm(tmp_path_factory):
    """(points of the table, run folder)."""
    folder = tmp_path_factory.mktemp("utm")
    rng = np.random.default_rng(0)
    angle = np.pi * rng.uniform(size=(150, 1))
    points = UTM + 3 * np.concatenate([np.cos(angle), np.sin(angle)], 1)
    points = np.round(points + 0.1 * rng.normal(size=points.shape), 4)
    np.savetxt(folder / "utm.csv", points, "%.4f", ",", header="x,y", comments="")
    result = run(
        config(f"points:{folder / 'utm.csv'}"), *TINY, "--config.train.steps=300",
        "--config.train.block=100", "--config.train.num_sets=64", "--config.model.hidden_dim=32",
        "--config.model.num_blocks=2", "--config.model.scale=10.0", "--config.sample.num_steps=12",
        "--config.sample.num_points=400", "--config.evaluate.gifs=0", f"--workdir={folder / 'run'}",
    )  # fmt: skip
    assert result.code == 0, result.err
    return points, folder / "run"


def test_samples_at_an_offset_have_the_distribution_of_the_table(utm):
    points, folder = utm
    samples = np.load(folder / "samples.npy")
    assert samples.dtype == np.float64 and samples.shape == (2, 400, 2)
    flat = samples.reshape(-1, 2)
    for axis in (0, 1):
        assert len(np.unique(flat[:, axis])) > 790  # float32 has steps of 0.5 m at this offset
        assert ks_2samp(flat[:, axis], points[:, axis]).statistic < 0.15
    np.testing.assert_allclose(flat.mean(0), points.mean(0), rtol=0, atol=0.25)
    np.testing.assert_allclose(flat.std(0), points.std(0), rtol=0.15)
    path = np.load(folder / "trajectory.npy")
    np.testing.assert_allclose(path[-1].mean(0), points.mean(0), rtol=0, atol=0.7)
    found = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert found["sliced_wasserstein2"]["value"] < 1 and np.isfinite(
        found["log_likelihood"]["value"])  # fmt: skip


def test_the_run_is_read_again_and_other_data_are_refused(utm, tmp_path):
    points, folder = utm
    before = np.load(folder / "samples.npy")
    assert run("--mode=sample", f"--workdir={folder}").code == 0
    np.testing.assert_array_equal(np.load(folder / "samples.npy"), before)
    table = folder.parent / "utm.csv"
    text = table.read_text()
    try:
        np.savetxt(table, points + (0, 50), "%.4f", ",", header="x,y", comments="")
        result = run("--mode=evaluate", f"--workdir={folder}")
    finally:
        table.write_text(text)
    assert result.code == 2 and "sha256" in result.err, result.err


def test_sets_at_an_offset_are_completed(tmp_path, only_training):
    rng = np.random.default_rng(0)
    rows = [(s, *(UTM + rng.normal(size=2) + 3 * rng.normal(size=2)))
            for s in range(12) for _ in range(9)]  # fmt: skip
    np.savetxt(tmp_path / "s.csv", rows, ("%d", "%.4f", "%.4f"), ",", header="set,x,y",
               comments="")  # fmt: skip
    folder = f"--workdir={tmp_path / 'run'}"
    result = run(config(f"sets:{tmp_path / 's.csv'}"), "--config.model.name=history", *SETS, folder,
                 "--config.train.min_history=1", "--config.sample.num_points=6",
                 "--config.sample.first_block=1")  # fmt: skip
    assert result.code == 0 and "notice" not in result.err, result.err
    given = UTM + [(0.1234, 0.5678), (-1.25, 2.0)]
    np.savetxt(tmp_path / "given.csv", given, "%.4f", ",", header="x,y", comments="")
    result = run("--mode=complete", f"--points={tmp_path / 'given.csv'}", folder)
    assert result.code == 0 and "notice" not in result.err, result.err
    sets = np.load(tmp_path / "run" / "completed.npy")
    np.testing.assert_allclose(sets[:, :2], np.stack([given] * len(sets)), rtol=0, atol=1e-4)
    table = list(csv.reader((tmp_path / "run" / "completed.csv").open()))
    assert table[0] == ["set", "x", "y"]
    np.testing.assert_allclose(np.array(table[1:], float)[:, 1:], sets.reshape(-1, 2), rtol=0,
                               atol=1e-5)  # fmt: skip
    np.savetxt(tmp_path / "given.csv", given - UTM, "%.4f", ",", header="x,y", comments="")
    result = run("--mode=complete", f"--points={tmp_path / 'given.csv'}", folder)
    assert result.code == 0 and "notice: 2 of 2 given points are outside of the data (x from " in (
        result.err)  # fmt: skip


def test_an_outlier_is_left_out_on_request(tmp_path):
    points = np.random.default_rng(0).normal(size=(80, 2))
    np.savetxt(tmp_path / "t.csv", np.concatenate([[(1e6, 1e6)], points]), "%.4f", ",",
               header="x,y", comments="")  # fmt: skip
    result = run(config(f"points:{tmp_path / 't.csv'}"), *TINY, "--config.data.clip_outliers=True",
                 f"--workdir={tmp_path / 'run'}")  # fmt: skip
    assert result.code == 0, result.err
    assert "data: t.csv: 81 points, coordinates x, y; 1 outlier left out (line 2)" in result.err
    assert np.abs(np.load(tmp_path / "run" / "samples.npy")).max() < 20
