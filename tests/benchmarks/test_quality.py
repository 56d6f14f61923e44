"""Check the benchmarks of the quality of samples.

Each benchmark runs at a tiny size through its own command line, and exits with an error if one of
its parts fails.
"""

import subprocess

import common
import growth
import nats
import numpy as np
import pytest
import quality
import samplers
import sharpness
import time_to_quality
from benchmark_files import FEW, read
from command_line import MOONS, TINY, run
from PIL import Image

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api
from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.config import default_config

pytestmark = pytest.mark.slow


def test_quality_trains_measures_and_reads_a_finished_run(runs, capsys):
    result = read(runs / "quality.json")["models"]["history"]
    assert 0 <= result["metrics"]["separation"]["value"] <= 1 and result["parameters"] > 0
    assert "--config.model.name=history" in result["command"]
    # the finished run is only read, so its checkpoints are not needed
    (runs / "mixture_moons+circle_history" / "checkpoints").rename(runs / "away")
    quality.main(["--members=moons+circle", "--models=history", f"--runs={runs}",
                  f"--output={runs / 'quality.json'}", "--", *FEW])  # fmt: skip
    (runs / "away").rename(runs / "mixture_moons+circle_history" / "checkpoints")
    head, rule, row, real = capsys.readouterr().out.strip().splitlines()
    assert row.startswith("| `history` |") and real.startswith("| real sets |")
    assert head.count("|") == rule.count("|") == row.count("|") == real.count("|")
    seconds = result["seconds"]["sample"]  # as measured: compilation does not grow with the sets
    assert row.endswith(f"| {seconds:.0f} s, {result['sample']['num_sets']} sets |")


def test_quality_fails_when_a_run_fails(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(common, "subprocess", subprocess)
    with pytest.raises(subprocess.CalledProcessError):
        quality.main(["--members=moons+nothing", "--models=history", f"--runs={tmp_path}",
                      f"--output={tmp_path / 'quality.json'}"])  # fmt: skip
    assert not (tmp_path / "quality.json").exists()
    assert "nothing" in capfd.readouterr().err


def test_time_to_quality_trains_each_setting_and_length(tmp_path, capsys):
    law = "diffusion.levels=log_normal,train.learning_rate=0.01"
    words = [f"--output={tmp_path / 'out.json'}", "--config=moons:line", "--num_points=20",
             "--options=train.num_points=4"]  # fmt: skip
    time_to_quality.main([*words, "--steps=2,3", "--settings", law])
    time_to_quality.main([*words, "--steps=4", "--title=thick line", "--append"])
    result = read(tmp_path / "out.json")
    rows = result["rows"]
    assert [(row["data"], row["settings"], row["steps"]) for row in rows] == [
        ("moons:line", "", 2), ("moons:line", "", 3), ("moons:line", law, 2),
        ("moons:line", law, 3), ("thick line", "", 4)]  # fmt: skip
    assert len({row["nats"] for row in rows}) == 5 and result["command"].count(" && ") == 1
    assert f"| {law} | 3 |" in capsys.readouterr().out and (tmp_path / "out.png").exists()


def test_time_to_quality_reads_options_by_their_type():
    text = "model.fade=False,data.align=true,train.steps=3,train.learning_rate=0.003,model.name=a"
    assert time_to_quality.parse(text) == {
        "model.fade": False, "data.align": True, "train.steps": 3, "train.learning_rate": 0.003,
        "model.name": "a"}  # fmt: skip
    assert time_to_quality.parse("") == {}


def test_growth(runs, capsys):
    folder = runs / "mixture_moons+circle_history"
    growth.main([f"--workdir={folder},{folder}", "--growths=1.5,2", "--num_sets=6", "--repeats=2",
                 f"--output={runs / 'growth.json'}"])  # fmt: skip
    result = read(runs / "growth.json")
    rows = result["rows"]
    assert [row["growth"] for row in rows] == [1.5, 2.0, 1.5, 2.0]
    for row in rows:
        assert {"separation", "separation_se", "stray", "stray_se"} <= row.keys()
        assert len(row["seconds"]) == len(row["cpu_seconds"]) == 2
    assert rows[0]["blocks"] > rows[1]["blocks"] and rows[0]["stray"] == rows[2]["stray"]
    assert 0.5 < result["real"]["separation"] <= 1
    assert f"| {folder.name} | 1.5 | {rows[0]['blocks']} |" in capsys.readouterr().out


def test_samplers(tmp_path, monkeypatch):
    # the benchmark draws the samples with each sampler
    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: None)
    assert run(*MOONS, f"--workdir={tmp_path / 'run'}").code == 0
    assert run(f"--workdir={tmp_path / 'run'}", "--mode=distill", "--config.train.steps=20",
               "--config.train.trajectories=32").code == 0  # fmt: skip
    samplers.main([f"--workdir={tmp_path / 'run'}", f"--few={tmp_path / 'run_few'}",
                   "--num_sets=2", "--num_points=16",
                   "--max_steps=10", f"--output={tmp_path / 'out'}"])  # fmt: skip
    rows = read(tmp_path / "out.json")["rows"]
    assert {row["sampler"]: (row["steps"], row["evaluations"]) for row in rows} == {
        "ancestral": (10, 10), "ddim": (10, 10), "dpm++2m": (10, 10), "sde-dpm++2m": (10, 10),
        "heun": (10, 19), "consistency": (10, 10)}  # fmt: skip
    assert Image.open(tmp_path / "out.png").width > 900


def test_samplers_are_measured_over_the_floor(monkeypatch):
    """Sliced W2 of a shift s in the plane is |s| / sqrt(2), so ratios equal ratios of shifts."""
    shift = np.array([3.0, 4.0])

    def real(dataset, key, num_sets, num_points):
        points = np.random.default_rng(0).normal(size=(num_points, 2))
        # floors of 1 and 3 shift lengths
        return points + shift * np.array([0, 0, 1, 3])[:, None, None]

    def sample(setup, params, config):
        far = {"ancestral": 1, "ddim": 2, "dpm++2m": 3, "sde-dpm++2m": 5, "heun": 4}[config.sampler]
        points = np.random.default_rng(0).normal(size=(config.num_points, 2))
        return points + shift * far * np.array([1, 5])[:, None, None]

    monkeypatch.setattr("tiny_diffusion_jax.dataset.draw_points", real)
    monkeypatch.setattr("tiny_diffusion_jax.sample", sample)
    setup = api.build(default_config())
    rows = samplers.measure(setup, None, 2, 30, 10)
    assert [(row["sampler"], row["ratio"], row["ratio_se"]) for row in rows] == [
        ("ancestral", 1.5, 0.25), ("ddim", 3.0, 0.5), ("dpm++2m", 4.5, 0.75),
        ("sde-dpm++2m", 7.5, 1.25), ("heun", 6.0, 1.0)
    ]  # fmt: skip
    assert samplers.slowest(rows) == rows[0]


def test_nats_to_the_truth_of_shapes(tmp_path, capsys):
    """A model that is hardly trained misses much, and draws points outside of the board."""
    output = tmp_path / "nats.json"
    small = ["--points=300", f"--output={output}", "--", "--config.train.block=10", *TINY]
    nats.main(["--shapes=checkerboard", "--steps=10", *small])
    nats.main(["--shapes=rings", "--steps=10,20", *small])
    found = read(output)["results"]
    assert {name: list(rows) for name, rows in found.items()} == {
        "checkerboard": ["10"], "rings": ["10", "20"]}  # fmt: skip
    assert found["checkerboard"]["10"]["outside"] > 0.1 > found["rings"]["20"]["outside"] == 0
    assert all(row["nats"] > 0.2 for rows in found.values() for row in rows.values())
    assert "| checkerboard | 10 |" in capsys.readouterr().out


def test_sharpness_of_a_digit_and_of_a_table(tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("dataset,x,y\n" + "".join(f"star,{i % 7},{i}\n" for i in range(20)), "utf-8")
    sharpness.main(["--digits=3", f"--table={table}", "--shapes=star", "--points=40",
                    "--variants=of one strength", f"--output={tmp_path / 'sharp.json'}", "--",
                    *TINY, f"--config.data.cache_dir={tmp_path}",
                    "--config.data.source=digits"])  # fmt: skip
    found = read(tmp_path / "sharp.json")["results"]
    assert found.keys() == {"MNIST 3", "star"}
    # The model is hardly trained, so both measures are far from the data.
    missing = found["star"]["of one strength"]
    assert missing["nats_to_truth"] > 0.2 and missing["nats_of_bound"] > 0.2
    assert capsys.readouterr().out.count("| star | of one strength |") == 1
    assert Image.open(tmp_path / "sharp.png").width > 500


@pytest.mark.parametrize("sigma", [0.03, 0.3, 3.0])
def test_exact_denoisers_are_the_mean_of_the_clean_points(sigma):
    """Compare with sums over a fine grid of x_0, at noise within one pixel and far above."""
    pixels, weights = np.array([[0.0, 0.0], [0.5, 0.0], [-1.0, 0.5]]), np.array([0.2, 0.5, 0.3])
    rows, std = np.array([[0.0, 0.1], [0.4, -0.2]]), 0.1
    z = np.random.default_rng(0).normal(size=(6, 2)) * 0.5 + 0.3
    x = (np.arange(800) + 0.5) / 200 - 2
    x = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
    inside = ((x[:, None] >= pixels) & (x[:, None] < pixels + 0.5)).all(-1)
    normal = np.exp(-((x[:, None] - rows) ** 2).sum(-1) / (2 * std**2)).sum(1)
    for density, exact in ((inside @ weights, sharpness.of_pixels(np.log(weights), pixels, 0.5)),
                           (normal, sharpness.of_rows(rows, std))):  # fmt: skip
        log_w = -((z[:, None] - x) ** 2).sum(-1) / (2 * sigma**2)
        w = density * np.exp(log_w - np.where(density > 0, log_w, -np.inf).max(1, keepdims=True))
        expected = (w / w.sum(1, keepdims=True)) @ x
        np.testing.assert_allclose(exact(np.float32(z), sigma), expected, atol=2e-3)


def test_time_to_quality_measures_the_weights_of_pytorch(tmp_path):
    """The copied network computes the same eps, at the same levels, and trains in PyTorch."""
    torch = pytest.importorskip("torch")
    import pytorch

    experiment = td.build("moons:line", config=time_to_quality.as_pytorch())
    x, t = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32), np.arange(1, 51)
    net = pytorch.Net()
    expected = net(torch.from_numpy(x), torch.from_numpy(t).float()).detach().numpy()
    result = experiment.model.apply(net.flax_params(), x[:, None], t / 50)[:, 0]
    np.testing.assert_allclose(result, expected, atol=1e-6)
    power = np.asarray(experiment.process.schedule.alpha)[1:] ** 2
    np.testing.assert_allclose(power, pytorch.alpha_bar(), atol=1e-6)
    time_to_quality.main([f"--output={tmp_path / 'out.json'}", "--config=moons:line", "--steps=2",
                          "--num_points=200", "--epochs=1,3"])  # fmt: skip
    ours, first, last = read(tmp_path / "out.json")["rows"]
    assert (first["steps"], last["steps"]) == (250, 750) and last["nats"] < first["nats"]
    assert first["settings"] == time_to_quality.PYTORCH != ours["settings"]
