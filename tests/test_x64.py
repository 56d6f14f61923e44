"""Check that JAX_ENABLE_X64 changes no number: units of data, training, samples, likelihoods."""

import jax
import numpy as np
import pytest
from weights import random_weights

import tiny_diffusion_jax as td

SMALL = {
    "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4,
    "model.context_dim": 8, "model.context_blocks": 1, "model.num_heads": 2,
    "model.time_frequencies": 4, "model.num_inducing": 2, "train.num_sets": 4,
    "train.num_points": 8, "train.steps": 4, "train.block": 2, "sample.num_sets": 2,
    "sample.num_points": 8, "sample.num_steps": 4,
}  # fmt: skip
SETS = {"data.name": "mixture", "data.members": "moons+circle", "model.labels": True}


@pytest.fixture
def float64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def both(function):
    """(function() with 32-bit numbers, function() with 64-bit numbers enabled)."""
    jax.config.update("jax_enable_x64", False)
    before = function()
    jax.config.update("jax_enable_x64", True)
    return before, function()


def build(model="fourier_mlp", **fields):
    config = td.default_config(model)
    config.update_from_flattened_dict(SMALL | {"data.name": "moons"} | fields)
    return td.build(config)


def same(before, after):
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", ["moons", "dino", "rings", "pinwheel"])
def test_the_units_of_the_data_are_the_same(shape, float64):
    dataset = lambda: build(**{"data.name": shape}).dataset
    same(*both(lambda: (dataset().shift, dataset().scale)))


def test_training_is_the_same(float64):
    same(*both(lambda: td.train(build(), progress=False)))


@pytest.mark.parametrize("sampler", ["ancestral", "dpm++2m"])  # with noise, with a memory
def test_samples_are_the_same(sampler, float64):
    of = build(**{"sample.sampler": sampler})
    params = random_weights(of.model)
    same(*both(lambda: td.sample(of, params)))


# every strategy runs below the same switch
@pytest.mark.parametrize("model", ["set_transformer", *(
    pytest.param(name, marks=pytest.mark.slow) for name in ("history", "causal", "set_latent"))])
def test_sets_are_the_same_in_several_threads(model, float64):
    """memory_mb=1 gives several chunks, and threads that draw these chunks."""
    changes = {"sample.num_sets": 64, "sample.num_points": 32, "sample.memory_mb": 1,
               "sample.guidance_scale": 2.0, "sample.first_block": 8}  # fmt: skip
    of = build(model, **SETS, **changes)
    params = random_weights(of.model)
    same(*both(lambda: td.sample(of, params)))


@pytest.mark.parametrize("model, shape", [("fourier_mlp", (5, 2)), ("set_transformer", (1, 5, 2))])
def test_likelihoods_are_the_same(model, shape, float64):
    points = np.random.default_rng(0).normal(size=shape)  # NumPy creates float64
    of = build(model, **SETS)
    params = random_weights(of.model)
    same(*both(lambda: td.log_prob(of, params, points, num_steps=2)))
