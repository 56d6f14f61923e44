"""Check that several devices give the results of one device, and that CPU settings stay on CPUs."""

import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.data.densities import COMPARED, find_index

# (losses and weights of training, samples and log p of the initial weights) of each model.
COMPARED_RUNS = """
import sys
import jax, numpy as np
import tiny_diffusion_jax as td
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.api import init

def results(model, **fields):
    config = td.default_config(model)
    config.update_from_flattened_dict({
        "data.name": "mixture", "data.members": "moons+circle", "train.steps": 4, "train.block": 2,
        "train.num_sets": 16, "train.num_points": 8, "train.max_points": 0, "train.warmup": 2,
        "train.optimizer": "adamw",
        "train.max_history": 8, "train.min_history": 1, "model.hidden_dim": 8, "model.num_heads": 2,
        "model.num_blocks": 1, "model.num_frequencies": 4, "model.scale": 3.0,
        "model.max_period": 3.0, "model.context_dim": 8,
        "model.context_blocks": 1, "model.num_inducing": 0, "sample.num_sets": 5,
        "sample.num_points": 6, "sample.num_steps": 3} | fields)
    experiment, rows = td.build(config), []
    first = jax.tree.map(np.asarray, init(experiment).params)
    state = td.train(experiment, on_block=lambda state, row: rows.append(row["loss"]),
                     progress=False)
    assert all(leaf.is_fully_replicated and len(leaf.devices()) == jax.device_count()
               for leaf in jax.tree.leaves(state))
    sets = td.sample(experiment, first)
    log_p = td.log_prob(experiment, first, sets[0] if model == "fourier_mlp" else sets, 2)
    weights = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)])
    return np.array(rows), weights, sets, log_p

# Blocks take turns at 16 and 4 sets; those of fewer than there are devices are on all.
made = {"fourier_mlp": results("fourier_mlp", **{"train.max_points": 32})}
made["causal"] = results("causal")
made["causal, sizes"] = results("causal", **{"train.min_points": 1})
if jax.device_count() > 1:
    try:
        results("fourier_mlp", **{"train.num_sets": 12})
    except UserError as error:
        print(error)
np.savez(sys.argv[1], **{f"{name} {i}": a for name, parts in made.items()
                         for i, a in enumerate(parts)})
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{number of devices: (arrays, printed output)} of COMPARED_RUNS."""
    folder, found = tmp_path_factory.mktemp("devices"), {}
    for count in (1, 8):
        file = folder / f"{count}.npz"
        done = subprocess.run(
            [sys.executable, "-c", "import jax; jax.config.update('jax_num_cpu_devices', "
             f"{count})\n{COMPARED_RUNS}", str(file)],
            cwd=ROOT, capture_output=True, encoding="utf-8")  # fmt: skip
        assert done.returncode == 0, done.stderr
        with np.load(file) as arrays:
            found[count] = dict(arrays), done.stdout
    return found


@pytest.mark.slow
def test_eight_devices_learn_and_draw_what_one_does(runs):
    (one, _), (eight, _) = runs[1], runs[8]
    assert one.keys() == eight.keys()
    for name, array in one.items():
        np.testing.assert_allclose(eight[name], array, rtol=2e-3, atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_a_batch_that_devices_cannot_share_is_refused(runs):
    assert runs[1][1] == ""
    assert runs[8][1].strip() == (
        "config.train.num_sets = 12: must be a multiple of 8, the number of devices")


@pytest.mark.parametrize("cores, sets, points, slices", [
    (2, 64, 8, 2), (1, 64, 8, 1), (8, 64, 8, 4), (6, 64, 16, 4), (8, 5, 50, 1), (8, 10, 64, 5),
    (2, 255, 1, 1), (2, 256, 1, 2), (8, 2, 2048, 1), (8, 4, 2048, 2), (64, 1, 4000, 1),
])  # fmt: skip
def test_a_cpu_works_on_as_many_slices_as_it_has_cores(monkeypatch, cores, sets, points, slices):
    monkeypatch.setattr(devices, "num_cores", lambda: cores)
    assert devices.cpu_slices(devices.make_mesh(), sets, points) == slices


def test_only_a_cpu_has_slices(monkeypatch):
    monkeypatch.setattr(devices, "num_cores", lambda: 8)
    mesh = devices.make_mesh()
    monkeypatch.setattr(devices, "is_cpu", lambda mesh: False)
    assert devices.cpu_slices(mesh, 64, 64) == 1


@pytest.mark.parametrize("size", [1, 5, COMPARED, COMPARED + 1])
def test_an_index_is_found_alike_everywhere(size):
    table = jnp.sort(jax.random.randint(jax.random.key(0), (size,), 0, 50))
    values = jnp.arange(-1, 52)
    expected = (np.asarray(table) <= np.asarray(values)[:, None]).sum(-1)
    np.testing.assert_array_equal(jax.jit(find_index)(table, values), expected)
    for method in ("compare_all", "sort"):
        found = jnp.searchsorted(table, values, side="right", method=method)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("file, environment, line", [
    ("/dev/nvidiactl", {}, "this machine has an NVIDIA GPU, but jax uses the slow CPU only; "
     f"install its plugin: pip install 'jax[cuda12]=={jax.__version__}'"),
    ("/dev/accel0", {}, "the slow CPU only; install its plugin: pip install 'jax[tpu]=="),
    ("", {"TPU_ACCELERATOR_TYPE": "v5e-1"}, "has a TPU"),
    ("/dev/nvidiactl", {"JAX_PLATFORMS": "cpu"}, ""),
    ("", {}, ""),
])  # fmt: skip
def test_an_accelerator_that_jax_does_not_see_is_named(monkeypatch, file, environment, line):
    monkeypatch.setattr(devices.os.path, "exists", lambda path: path == file)
    monkeypatch.setattr(devices.os, "environ", environment)
    monkeypatch.setattr(devices.jax, "config", SimpleNamespace(jax_platforms=None))
    found = devices.unused_accelerator()
    assert line in found and bool(line) == bool(found)
    monkeypatch.setattr(devices.jax, "default_backend", lambda: "gpu")
    assert devices.unused_accelerator() == ""
