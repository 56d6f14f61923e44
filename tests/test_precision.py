"""Check in the lowered programs which matrix products are in float32 on every device.

A TPU computes products in bfloat16 unless the program requests a precision.
"""

import re

import jax
import jax.numpy as jnp
import pytest
from ml_collections import FrozenConfigDict

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api, devices, scoring
from tiny_diffusion_jax.metrics import embedding, points
from tiny_diffusion_jax.models.layers import EMBEDDINGS
from tiny_diffusion_jax.point_sets import NO_CONDITIONING
from tiny_diffusion_jax.sets import likelihood, reverse, strategy_of
from tiny_diffusion_jax.training import augment, batches, step

SETS = jnp.zeros((2, 8, 2))


def products(lowered) -> list[bool]:
    """Whether each matrix product of a program is in float32 on every device."""
    lines = re.findall(r"dot_general.*", lowered.as_text())
    return ["HIGHEST, HIGHEST" in line for line in lines]


def build(model="fourier_mlp", **fields):
    config = td.default_config(model)
    config.update_from_flattened_dict({
        "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4,
        "model.context_dim": 8, "model.context_blocks": 1, "train.num_sets": 2,
        "train.num_points": 8, "train.block": 2, "data.name": "moons"} | fields)  # fmt: skip
    return td.build(config)


def params_of(of):
    return jax.eval_shape(lambda: api.init(of)).params


def train_block(of):
    config, key = of.config.train, jax.random.key(0)
    block = step.make_train_block(of.model, FrozenConfigDict(config), devices.make_mesh(), 1)
    state = jax.eval_shape(lambda: api.init(of))
    return block.lower(state, of.dataset, of.process, key, steps=2,
                       spec=batches.make_batch_spec(config, of.model))  # fmt: skip


def sampler(of):
    keys, grid = jax.random.split(jax.random.key(0), 2), jnp.array([1000, 500, 0])
    return reverse._run.lower(
        of.model, of.process, params_of(of), keys, grid, 1.0, None, NO_CONDITIONING, None,
        sampler="ddim", eta=0.0, shape=(8, 2), method=None, precision=of.config.sample.precision,
        keep_trajectory=False,
    )  # fmt: skip


@pytest.mark.parametrize("embedding", ["gaussian", "learned"])
def test_angles_are_in_float32_at_any_precision_of_the_network(embedding):
    module = EMBEDDINGS[embedding](4, 12.0, 100.0)
    params = module.init(jax.random.key(0), SETS)
    assert products(jax.jit(module.apply).lower(params, SETS)) == [True]


def test_a_network_has_the_precision_of_its_config():
    """Two products of a block are always exact: for the targets and the loss by noise level."""
    fast, exact = build(), build(**{"train.precision": "float32", "sample.precision": "float32"})
    of_block = products(train_block(fast))
    assert len(of_block) > 6 and sum(of_block) == 2
    assert all(products(train_block(exact)))
    assert len(products(sampler(fast))) > 2
    assert not any(products(sampler(fast))) and all(products(sampler(exact)))


def test_a_likelihood_is_in_float32():
    of = build()
    one = scoring._log_prob.lower(
        of.process, params_of(of), of.dataset.shift, of.dataset.scale, SETS, model=of.model,
        num_steps=2,
    )  # fmt: skip
    of = build("causal")
    of_sets = likelihood._log_prob.lower(
        of.process, params_of(of), of.dataset.shift, of.dataset.scale, 0,
        jax.random.split(jax.random.key(0), len(SETS)), SETS, jnp.array([8, 8]),
        strategy=strategy_of(of.model), random_order=False, max_history=8, num_steps=2, origin=(),
    )  # fmt: skip
    for program in (one, of_sets):
        assert len(products(program)) > 2 and all(products(program))


def test_distances_and_turns_are_in_float32():
    rotate = jax.jit(lambda key, x: augment.apply(augment.Augment(rotate=True), key, x))
    for program in (
        jax.jit(points.sliced_wasserstein2, static_argnums=2).lower(SETS[0], SETS[1], 4),
        embedding.embed.lower(SETS[0], SETS[0, 0], jnp.float32(1)),
        rotate.lower(jax.random.key(0), SETS),
    ):  # fmt: skip
        assert products(program) and all(products(program))
