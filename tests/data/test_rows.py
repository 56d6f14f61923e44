"""Check the order of points in rows, and that training uses this order."""

import jax
import jax.numpy as jnp
import numpy as np
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.models.causal import Causal as CausalNetwork
from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.sets.causal import Causal as CausalSets
from tiny_diffusion_jax.sets.given import denoised_points, draw_given
from tiny_diffusion_jax.sets.row_order import log_orders, out_of_order, row_order
from tiny_diffusion_jax.training.batches import BatchSpec, draw_batches


def test_points_are_read_row_by_row():
    points = jnp.array([[9.0, 0.5], [3.0, 4.1], [1.0, 5.9], [2.0, 4.9], [0.0, 0.1], [1.0, -0.1]])
    np.testing.assert_array_equal(row_order(points, 1.0), [2, 3, 1, 4, 0, 5])
    # the points fall into two rows
    np.testing.assert_array_equal(row_order(points, 100.0), [4, 2, 3, 1, 0, 5])
    mask = jnp.array([True, True, False, True, True, True])
    np.testing.assert_array_equal(row_order(points, 1.0, mask), [3, 1, 4, 0, 5, 2])
    np.testing.assert_array_equal(row_order(jnp.stack([points, points[::-1]]), 1.0)[1],
                                  5 - np.array([2, 3, 1, 4, 0, 5]))  # fmt: skip


def test_given_points_come_first_and_padding_last():
    points = jnp.array([[0.0, 3.5], [0.0, 2.5], [1.0, 2.5], [0.0, 1.5], [9.0, 9.0]])
    given = jnp.array([False, True, False, True, False])
    order = row_order(points, 1.0, jnp.arange(5) < 4, given=given)
    np.testing.assert_array_equal(order, [1, 3, 0, 2, 4])


def test_every_number_of_given_points_is_equally_likely():
    exists = jnp.broadcast_to(jnp.arange(5) < 4, (30_000, 5))
    given = np.asarray(draw_given(jax.random.key(0), exists, 0.6))
    assert not given[:, 4].any()
    h = np.bincount(given.sum(1), minlength=6) / len(given)
    np.testing.assert_allclose(h, [0.4, 0.2, 0.2, 0.2, 0, 0], atol=0.01)
    subsets = np.unique(given[given.sum(1) == 2], axis=0, return_counts=True)[1]
    np.testing.assert_allclose(subsets / subsets.sum(), np.full(6, 1 / 6), atol=0.02)
    alone = draw_given(jax.random.key(1), exists[:100] & (jnp.arange(5) < 1), 1.0)
    assert not alone.any()


def test_all_places_denoise_points_that_are_not_given():
    found = denoised_points(jnp.array([0, 2, 4]), None, 5)
    np.testing.assert_array_equal(found, [[0, 1, 2, 3, 4], [2, 3, 2, 3, 4], [4, 4, 4, 4, 4]])
    mask = jnp.arange(5) < jnp.array([[3], [4]])  # two sets with padding
    found = denoised_points(jnp.array([1, 2]), mask, 5)
    np.testing.assert_array_equal(found[:, :3], [[1, 1, 2], [2, 3, 2]])


def test_pairs_out_of_order():
    points = jnp.array([[1.0, 5.9], [3.0, 5.1], [2.0, 5.5], [9.0, 4.0], [0.0, 4.9], [0.0, 5.0]])
    np.testing.assert_array_equal(out_of_order(points, 1.0), [0, 1, 0, 1, 1])
    ragged = jnp.concatenate([points, jnp.full((2, 2), jnp.nan)])
    np.testing.assert_array_equal(out_of_order(ragged, 1.0), [0, 1, 0, 1, 1, 0, 0])


def test_a_set_is_out_of_order_where_its_order_changes_it():
    """Points of a grid: some share a row, and some are equal."""
    sets = np.float32(np.random.default_rng(0).integers(0, 3, (500, 4, 2)) / 2)
    order = jax.jit(row_order, static_argnums=1)(sets, 1.0)
    sets = np.concatenate([sets, np.take_along_axis(sets, np.asarray(order)[..., None], axis=1)])
    moved = (row_order(sets, 1.0) != jnp.arange(4)).any(1)
    np.testing.assert_array_equal(out_of_order(sets, 1.0).any(1), moved)
    assert moved[:500].mean() > 0.5 and not moved[500:].any()


def test_the_number_of_orders():
    np.testing.assert_allclose(log_orders(jnp.array([1, 2, 5])), np.log([1, 2, 120]), rtol=1e-5)


def test_training_sees_sets_in_rows():
    data = make_dataset(single_density(lambda key, n: 10 * jax.random.normal(key, (n, 2))),
                        normalize=True)  # fmt: skip
    draw = jax.jit(draw_batches, static_argnums=(2, 3, 4))
    batch, plain = (
        draw(jax.random.key(0), data, 100, 3, BatchSpec(
            CausalSets(CausalNetwork(FourierTrunk(), row_height=height)), 4, 16, min_points=2))
        for height in (2.0, 0.0)
    )  # fmt: skip
    given = draw(jax.random.key(0), data, 100, 3, BatchSpec(CausalSets(CausalNetwork(
        FourierTrunk(), row_height=2.0, given_share=0.9)), 4, 16, min_points=2))  # fmt: skip
    data, batch, plain, given = jax.tree.map(np.asarray, (data, batch, plain, given))
    is_point = batch.conditioning.mask
    np.testing.assert_array_equal(is_point, plain.conditioning.mask)  # real points come first
    for x, before, exists in zip(*(a.reshape(-1, 16, *a.shape[3:]) for a in (
            batch.x_0, plain.x_0, is_point)), strict=True):  # fmt: skip
        x, before = (a[exists] * data.scale + data.shift for a in (x, before))
        order = np.lexsort((before[:, 0], -np.floor(before[:, 1] / 2)))
        np.testing.assert_allclose(x, before[order], rtol=1e-5)
    # Given points come first, in rows, and the other points follow in rows.
    sizes = given.conditioning.given.ravel()
    assert len(set(sizes)) > 3
    for x, all_points, exists, h in zip(
        given.x_0.reshape(-1, 16, 2), batch.x_0.reshape(-1, 16, 2), is_point.reshape(-1, 16),
        sizes, strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(np.sort(x[exists], 0), np.sort(all_points[exists], 0))
        own = x[exists] * data.scale + data.shift
        assert not out_of_order(own[:h], 2.0).any() and not out_of_order(own[h:], 2.0).any()


def test_a_set_in_rows_is_completed_in_the_order_of_the_given_points():
    """The model reads the given points in rows, so their order does not change the other points."""
    experiment = td.build(td.default_config("causal"), config={
        "model.row_height": 0.5, "model.given_share": 0.5, "model.context_dim": 16,
        "model.context_blocks": 1, "model.hidden_dim": 16, "model.num_blocks": 1,
        "sample.growth": 1.0, "sample.num_points": 6, "sample.num_sets": 2,
        "sample.num_steps": 3})  # fmt: skip
    params = random_weights(experiment.model)
    given = np.float32(np.random.default_rng(0).normal(size=(4, 2)))
    sets, of_reversed, moved = (td.complete(experiment, params, points)
                                for points in (given, given[::-1], given + 1))  # fmt: skip
    np.testing.assert_allclose(sets[:, :4], np.stack([given] * 2), atol=1e-5)
    np.testing.assert_allclose(of_reversed[:, :4], sets[:, 3::-1], atol=1e-5)
    np.testing.assert_allclose(of_reversed[:, 4:], sets[:, 4:], atol=1e-4)
    assert np.abs(moved[:, 4:] - sets[:, 4:]).max() > 1e-3
