"""Check the benchmarks of speed and memory.

Each benchmark runs at a tiny size through its own command line, and exits with an error if one of
its parts fails.
"""

import subprocess

import flow
import latency
import memory
import numpy as np
import pytest
import scaling
import speed
import tpu
import transformer
from benchmark_files import FEW, read
from command_line import TINY

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.recipes import RECIPES

pytestmark = pytest.mark.slow


def test_memory(tmp_path):
    """Measure in separate processes, because the benchmark reports memory and time per process."""
    memory.main(["--points=2000", "--steps=400", f"--output={tmp_path / 'memory.json'}", "--",
                 *FEW, "--config.train.steps=400", "--config.data.source=digits"])  # fmt: skip
    result = read(tmp_path / "memory.json")
    assert 100 < result["memory"]["mib"] < 4_000 and result["checkpoint"]["share"] > 0
    assert result["going_on"]["new"] > 0 and result["going_on"]["goes_on"] > 0


def test_memory_saves_checkpoints_of_the_options(tmp_path):
    small = [*FEW, "--config.data.source=digits", "--config.train.checkpoint_every=500"]
    found = memory.checkpoint(tmp_path, small, steps_per_second=10)
    assert found["between"] == 50 and found["share"] == found["seconds"] / 50 > 0


def test_scaling(tmp_path, capsys):
    scaling.main(["--models=fourier_mlp", "--axes=width", "--calls=1", "--largest=128",
                  f"--output={tmp_path / 'scaling.json'}"])  # fmt: skip
    (rows,) = read(tmp_path / "scaling.json")["rows"].values()
    assert [row["value"] for row in rows] == [32, 128] and rows[0]["gflop"] < rows[1]["gflop"]
    assert "| `fourier_mlp` | width 32, 128 |" in capsys.readouterr().out
    cubic = [{"value": n, "cost": 5.0 * n**3} for n in (2, 6, 12)]
    np.testing.assert_allclose(scaling.exponents(cubic, "cost"), 3.0)


def test_speed_measures_each_part_and_fails_with_it(tmp_path, monkeypatch):
    small = ["--pairs=1", "--batches=4", "--steps=2", "--num_points=8", "--starts=1",
             "--against=eager", f"--output={tmp_path / 'speed.json'}"]  # fmt: skip
    speed.main(small)
    result = read(tmp_path / "speed.json")
    assert result["training"]["batch_4"]["us_per_step"]["ours"] > 0
    assert set(result["sampling"]) == {"ancestral", "ddim", "dpm++2m", "heun"}
    assert result["startup_seconds"].keys() == {"cold", "cached"}
    # make every process of the benchmark fail
    monkeypatch.setattr(speed, "subprocess", subprocess)
    monkeypatch.setattr(speed, "__file__", "missing.py")
    with pytest.raises(subprocess.CalledProcessError):
        speed.main(small)


def test_transformer(tmp_path, monkeypatch):
    measured, measure = {}, transformer.training_speed

    def once(model, *size, slices):  # other slices of the same network would be compiled again
        if model not in measured:
            measured[model] = measure(model, *size, slices=slices)
        return measured[model]

    monkeypatch.setattr(transformer, "training_speed", once)
    size = ["--num_sets=4", "--num_points=4", "--blocks=1", "--pairs=1", "--sizes=4"]
    for what in ("speed", "cost"):
        path = tmp_path / f"{what}.json"
        transformer.main([what, *size, f"--output={path}"])
        assert len(read(path)["rows"]) == 1
    assert len(measured) == 3 and min(row["gflops"] for row in measured.values()) > 0


def test_tpu(tmp_path, monkeypatch, capsys):
    """Run on a CPU instead of a TPU; tests/test_tpu.py compiles for TPUs."""
    monkeypatch.setattr(tpu, "mesh_of", lambda chips: devices.make_mesh())
    path = tmp_path / "tpu.json"
    tpu.main(["--programs=metric", "--models=fourier_mlp", f"--output={path}"])
    tpu.main(["--programs=log_prob", "--models=fourier_mlp", f"--output={path}"])
    rows = read(path)["rows"]
    assert list(rows) == ["metric chamfer x 1", "metric sliced_w2 x 1", "metric mmd x 1",
                          "log_prob fourier_mlp x 1"]  # fmt: skip
    assert all(row["gflop"] > 0 for row in rows.values())
    out = capsys.readouterr().out
    assert all(f"| {name} |" in out for name in rows)
    kinds = {kind: make([*RECIPES]) for kind, make in tpu.PROGRAMS.items()}
    assert len(kinds["train"]) == len(RECIPES) and kinds["sample"] and kinds["metric"]


def test_latency(tmp_path):
    latency.main(["--pairs=1", "--num_points=17", f"--output={tmp_path / 'latency.json'}", "--",
                *TINY])  # fmt: skip
    result = read(tmp_path / "latency.json")
    assert {"whole", "train", "evaluate + pictures"} <= result["main_job"]["ours"].keys()
    assert result["calls"]["ours"].keys() == {
        "first td.sample", "second td.sample", "first td.log_prob", "second td.log_prob"}


def test_latency_compares_pair_by_pair():
    pairs = [{"ours": {"a": 1.0, "b": 1.0}, "other": {"a": 2.0}},
             {"ours": {"a": 3.0, "b": 1.0}, "other": {"a": 3.0}}]  # fmt: skip
    assert latency.summary(pairs)["ratio"] == {"a": 0.75}
    assert "ratio" not in latency.summary([{"ours": {"a": 1.0}}])


def test_flow_measures_each_case_and_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(flow, "CASES", {
        "moons": flow.CASES["moons"], "theirs": flow.CASES["theirs"]})  # fmt: skip
    flow.main([f"--output={tmp_path / 'out.json'}", "--steps=2", "--num_sets=2", "--num_points=20",
               "--cases=moons,theirs"])  # fmt: skip
    rows = read(tmp_path / "out.json")["rows"]
    assert [(row["case"], row["pairs"]) for row in rows] == [
        (case, pairs) for case in ("moons", "theirs") for pairs in ("independent", "optimal")]
    assert all(row["path_energy"] >= 1 and row["floor"] > 0 for row in rows)
    assert rows[0]["nats"] is not None and rows[2]["nats"] is None
    assert "| moons | optimal |" in capsys.readouterr().out


def test_flow_draws_the_densities_of_the_paper():
    rng = np.random.default_rng(0)
    eight, moons = flow.eight_gaussians(rng, 40_000), flow.moons(rng, 40_000)
    np.testing.assert_allclose(eight.var(0), 12.5 + 0.1**0.5, rtol=0.03)
    # The mean of both half circles is (1/2, 1/4); the added number has mean 0.1.
    np.testing.assert_allclose(moons.mean(0), [3 * 0.6 - 1, 3 * 0.35 - 1], atol=0.03)
