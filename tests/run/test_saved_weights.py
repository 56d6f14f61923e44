"""td.save refuses weights that td.load would not read, and a saved run can be trained on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api
from tiny_diffusion_jax.run import checkpoints

TINY = {"model.hidden_dim": 8, "model.num_blocks": 1, "model.num_heads": 2,
        "model.num_frequencies": 4, "train.steps": 4, "train.block": 2, "train.num_sets": 4,
        "train.num_points": 4, "train.max_history": 8, "compilation_cache": ""}  # fmt: skip
RNG = np.random.default_rng(0)
RINGS = [RNG.normal(size=(n, 2)) for n in RNG.integers(3, 7, 24)]
NAMES = ["ring", "disc"] * 12


def normal(key, n):
    return jax.random.normal(key, (n, 2)) * jnp.array([1.0, 2.0])


def changed_weights(params):
    return jax.tree.map(lambda a: a + 1, params)


def saved_files(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("keep_best", [False, True])
def test_saved_weights_that_load_would_not_read_are_refused(keep_best, tmp_path):
    if keep_best:
        config = TINY | {"train.keep_best": True}
        experiment = td.build("set_latent", data=RINGS, labels=NAMES, config=config)
    else:
        experiment = td.build(data=normal, config=TINY)
    params, path = random_weights(experiment.model), tmp_path / "run"
    state = td.train(experiment, progress=False)
    td.save(path, experiment, params)
    before = saved_files(path)
    td.save(path, experiment, params)  # equal weights
    for weights, format, error in [
        (changed_weights(params), "checkpoint", "without a checkpoint of step 4, or with these"),
        (state, "checkpoint", "The checkpoint holds other weights, or is damaged. Use another fo"),
        (state.replace(step=state.step - 2), "checkpoint", "without checkpoints after step 2, the"),
        (params, "safetensors", "format = 'safetensors': must be checkpoint for a folder with ch"),
    ]:
        if format == "safetensors":
            pytest.importorskip("safetensors")
        with pytest.raises(td.UserError, match=error):
            td.save(path, experiment, weights, format=format)
    assert saved_files(path) == before
    td.save(tmp_path / "state", experiment, state)
    td.save(tmp_path / "state", experiment, state)
    td.save(tmp_path / "state", experiment, state.sampled)
    with pytest.raises(td.UserError, match="other weights"):
        td.save(tmp_path / "state", experiment, state.replace(params=changed_weights(state.params)))


def test_a_saved_run_that_is_trained_on_improves_its_best_weights(tmp_path, caplog):
    config = TINY | {"train.keep_best": True}
    experiment = td.build("set_latent", data=RINGS, config=config)
    folder = td.save(tmp_path / "run", experiment, random_weights(experiment.model))
    with caplog.at_level("INFO", "tiny_diffusion_jax"):
        td.load(folder)
    assert "weights: the saved parameters, whose held-out loss was not measured" in caplog.messages
    longer = td.build("set_latent", data=RINGS, config=config | {"train.steps": 6})
    kept = checkpoints.open_checkpoints(folder / "checkpoints")
    state = td.train(longer, checkpoints.restore_latest(kept, api.init(longer)), progress=False)
    assert int(state.best.step) == 6 and np.isfinite(state.best.loss)
