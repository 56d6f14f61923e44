"""Check the snapshots of a training: their steps, their sets and field, and that they repeat."""

import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from command_line import MOONS, TINY, config, run
from run_files import arrays, losses, same

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api, sampling
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.run import snapshots
from tiny_diffusion_jax.run.checkpoints import open_checkpoints, restore_latest
from tiny_diffusion_jax.run.snapshots import read_snapshots, wanted_steps


@pytest.mark.parametrize("steps, block, count, expected", [
    (12_000, 200, 10, [0, 200, 400, 800, 1200, 2000, 3000, 4800, 7600]),
    (40, 10, 10, [0, 10, 20, 30]),
    (5, 10, 10, [0]),
    (1000, 1, 4, [0, 1, 10, 100]),
    (1000, 1, 1, [0]),
    (1000, 1, 0, []),
])  # fmt: skip
def test_steps_are_even_in_their_logarithm(steps, block, count, expected):
    train = SimpleNamespace(steps=steps, block=block, snapshots=count)
    assert wanted_steps(train) == expected


def test_snapshots_change_no_number_of_the_training(finished, tmp_path, only_training):
    result = run(*MOONS, "--config.train.snapshots=0", f"--workdir={tmp_path}")
    assert result.code == 0 and not (tmp_path / "snapshots").exists(), result
    assert same(arrays(tmp_path, 40), arrays(finished[0], 40))
    assert losses(tmp_path) == losses(finished[0])


def test_a_run_that_resumes_takes_the_same_snapshots(finished, copy, only_training):
    """A kill after step 20 leaves a later snapshot, or lacks the one of the last checkpoint."""
    shutil.rmtree(copy / "checkpoints" / "40")
    (copy / "snapshots" / "20.npz").unlink()
    (copy / "snapshots" / "30.npz").write_bytes(b"of another training")
    assert run(*MOONS, f"--workdir={copy}").code == 0
    expected, taken = read_snapshots(finished[0]), read_snapshots(copy)
    assert [each.step for each in taken] == [each.step for each in expected] == [0, 10, 20, 30]
    assert all(same(a.arrays, b.arrays) for a, b in zip(taken, expected, strict=True))


def test_a_snapshot_has_the_samples_of_its_weights(finished):
    folder = finished[0]
    experiment, _ = td.load(folder)
    [snapshot] = [each for each in read_snapshots(folder) if each.step == 20]
    saved = open_checkpoints(folder / "checkpoints")
    state = restore_latest(saved._replace(folder=only(saved.folder, 20)), jax.eval_shape(
        lambda: api.init(experiment)))  # fmt: skip
    assert int(state.step) == 20
    options = editable(experiment.config.sample)
    options.num_sets = 1
    samples = sampling.sample(experiment, state.ema, options)
    np.testing.assert_array_equal(snapshot.arrays["trajectory"][-1], samples)
    assert snapshot.arrays["levels"][-1] == 0 and snapshot.arrays["moments"][-1] == 4


def only(folder, step):
    """A folder with one of the checkpoints."""
    other = folder.parent.parent / f"only_{step}"
    shutil.copytree(folder / str(step), other / str(step), dirs_exist_ok=True)
    return other


class Zero:
    """A network that returns 0."""

    def apply(self, params, x, time, conditioning):
        return 0 * x


def test_the_field_of_a_known_denoiser():
    """If x_0_hat = 0, then -eps_hat = -x_t / sigma = -node / nu, nu = sigma / alpha."""
    setup = td.build("moons", config={"diffusion.prediction": "x0"})
    found = snapshots.field(setup._replace(model=Zero()), {})
    level = setup.process.level(found["field_levels"])
    noise = np.asarray(level.sigma / level.alpha)
    for field, (x, y, half), nu in zip(found["field"], found["field_view"], noise, strict=True):
        G = len(field)
        axis = ((np.arange(G) + 0.5) / G * 2 - 1) * half
        nodes = np.stack(np.meshgrid(x + axis, y + axis), -1)
        np.testing.assert_allclose(field, -nodes / nu, atol=1e-4 * half / nu)
    assert found["field_view"][0, 2] < found["field_view"][-1, 2]  # more noise, a larger square


def test_an_error_of_a_snapshot_does_not_stop_the_training(tmp_path, only_training, monkeypatch):
    monkeypatch.setattr(snapshots, "draw", lambda *_: 1 / 0)
    result = run(*MOONS, f"--workdir={tmp_path}")
    assert result.code == 0 and (tmp_path / "checkpoints" / "40").exists()
    lines = [line for line in result.err.splitlines() if "snapshots" in line]
    assert lines == ["warning: no snapshots from step 0 on: division by zero"]


def test_a_damaged_snapshot_is_left_out(copy, caplog):
    (copy / "snapshots" / "20.npz").write_bytes(b"PK\x03\x04 cut")
    caplog.clear()
    assert [each.step for each in read_snapshots(copy)] == [0, 10, 30]
    assert "20.npz is damaged and left out" in caplog.text


def test_the_size_of_the_folder_is_small(finished):
    """At most 110 kB for each snapshot of usual settings: 9 moments of 1,000 or 6 x 256 points."""
    options = json.loads((finished[0] / "config.json").read_text("utf-8"))
    assert options["train"]["snapshots"] == 10
    numbers = snapshots.FRAMES * 2 * max(snapshots.POINTS, snapshots.SETS * snapshots.SET_POINTS)
    assert 4 * numbers < 112_000
    sizes = [file.stat().st_size for file in (finished[0] / "snapshots").iterdir()]
    assert len(sizes) == 4 and max(sizes) < 40_000  # 64 points


def test_a_run_in_space_and_far_from_zero_has_its_pages(tmp_path):
    """Snapshots are in own units of three coordinates, and the pages show two of them."""
    points = np.random.default_rng(0).normal(size=(60, 3)) + [5e6, 0, 4e5]
    np.savetxt(tmp_path / "a.csv", points, delimiter=",", header="x,y,z", comments="")
    result = run(config(f"points:{tmp_path / 'a.csv'}"), *TINY,
                 "--config.data.columns=x,y,z", f"--workdir={tmp_path / 'run'}")  # fmt: skip
    assert result.code == 0 and "warning: report.html" not in result.err, result.err
    assert (tmp_path / "run" / "report.html").exists() and read_snapshots(tmp_path / "run")


def test_an_empty_snapshot_is_left_out(copy, caplog):
    (copy / "snapshots" / "20.npz").write_bytes(b"")
    assert [each.step for each in read_snapshots(copy)] == [0, 10, 30]
    assert "20.npz is damaged and left out" in caplog.text
