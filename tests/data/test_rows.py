"""Check the order of points in rows, and that training uses this order."""

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.models.causal import Causal as CausalNetwork
from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.sets.causal import Causal as CausalSets
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
    data, batch, plain = jax.tree.map(np.asarray, (data, batch, plain))
    is_point = batch.conditioning.mask
    np.testing.assert_array_equal(is_point, plain.conditioning.mask)  # real points come first
    for x, before, exists in zip(*(a.reshape(-1, 16, *a.shape[3:]) for a in (
            batch.x_0, plain.x_0, is_point)), strict=True):  # fmt: skip
        x, before = (a[exists] * data.scale + data.shift for a in (x, before))
        order = np.lexsort((before[:, 0], -np.floor(before[:, 1] / 2)))
        np.testing.assert_allclose(x, before[order], rtol=1e-5)
