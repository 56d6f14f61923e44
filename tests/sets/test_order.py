"""Check the order of points in rows, and that training uses this order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.models.causal import Causal as CausalNetwork
from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.sets.causal import Causal as CausalSets
from tiny_diffusion_jax.sets.given import denoised_points, draw_given
from tiny_diffusion_jax.sets.order import Key, log_orders, order_of, out_of_order, parse_order
from tiny_diffusion_jax.training.batches import BatchSpec, draw_batches


def rows(height: float) -> tuple[Key, ...]:
    return parse_order(f"rows:{height}", ("x", "y"))


ROWS = rows(1)


def test_points_are_read_row_by_row():
    points = jnp.array([[9.0, 0.5], [3.0, 4.1], [1.0, 5.9], [2.0, 4.9], [0.0, 0.1], [1.0, -0.1]])
    np.testing.assert_array_equal(order_of(points, ROWS), [2, 3, 1, 4, 0, 5])
    # the points fall into two rows
    np.testing.assert_array_equal(order_of(points, rows(100)), [4, 2, 3, 1, 0, 5])
    mask = jnp.array([True, True, False, True, True, True])
    np.testing.assert_array_equal(order_of(points, ROWS, mask), [3, 1, 4, 0, 5, 2])
    np.testing.assert_array_equal(order_of(jnp.stack([points, points[::-1]]), ROWS)[1],
                                  5 - np.array([2, 3, 1, 4, 0, 5]))  # fmt: skip


@pytest.mark.parametrize("text, by", [
    ("rows:0.5", lambda x, y, pt: (pt, y, x, -np.floor(pt / 0.5))),
    ("columns:0.5", lambda x, y, pt: (y, x, -pt, np.floor(x / 0.5))),
    ("coordinate:y", lambda x, y, pt: (pt, x, y)),
    ("coordinate:p:t:desc", lambda x, y, pt: (y, x, -pt)),
])  # fmt: skip
def test_orders_sort_by_their_keys_and_then_by_the_other_coordinates(text, by):
    """A grid of points has many equal coordinates. The first key of an order is the last here."""
    points = np.float32(np.random.default_rng(0).permutation(27)[:, None] // [9, 3, 1] % 3) / 4
    keys = parse_order(text, ("x", "y", "p:t"))
    expected = points[np.lexsort(by(*points.T))]
    np.testing.assert_array_equal(points[np.asarray(order_of(points, keys))], expected)
    assert not out_of_order(expected, keys).any() and out_of_order(expected[::-1], keys).all()


def test_an_order_by_an_unknown_coordinate_is_refused():
    assert parse_order("random", ("x", "y")) == ()
    with pytest.raises(td.UserError, match="'coordinate:pt:desc': must be of a coordinate of the "
                       "data: eta, phi, p_t"):  # fmt: skip
        parse_order("coordinate:pt:desc", ("eta", "phi", "p_t"))


def test_particles_are_drawn_by_falling_momentum(tmp_path):
    """Sets of 2 points whose momenta are near 1 and 3: the first point has the larger one."""
    rng = np.random.default_rng(0)
    pt = np.stack([1 + 0.1 * rng.normal(size=200), 3 + 0.1 * rng.normal(size=200)], axis=1)
    rows = [f"{s},{x:.4f},{p:.4f}" for s in range(200) for x, p in zip(
        rng.normal(size=2), rng.permutation(pt[s]), strict=True)]  # fmt: skip
    (tmp_path / "jets.csv").write_text("\n".join(["event,eta,pt", *rows]))
    config = td.default_config("causal")
    options = {
        "data.name": "sets", "data.path": str(tmp_path / "jets.csv"), "data.set_column": "event",
        "data.columns": "eta,pt", "sample.growth": 1.0, "model.context_dim": 16,
        "model.hidden_dim": 32, "model.num_blocks": 1, "model.context_blocks": 1,
        "model.order": "coordinate:pt:desc", "train.steps": 200, "train.num_points": 2,
    }  # fmt: skip
    experiment = td.build(config, config=options)
    state = td.train(experiment)
    drawn = td.sample(experiment, state.sampled, num_sets=50, num_points=2)
    assert (drawn[:, 0, 1] > 2).mean() > 0.9 and (drawn[:, 1, 1] < 2).mean() > 0.9
    with pytest.raises(td.UserError, match="of a coordinate of the data: eta, pt"):
        td.build(config, config=options | {"model.order": "coordinate:mass"})


def test_given_points_come_first_and_padding_last():
    points = jnp.array([[0.0, 3.5], [0.0, 2.5], [1.0, 2.5], [0.0, 1.5], [9.0, 9.0]])
    given = jnp.array([False, True, False, True, False])
    order = order_of(points, ROWS, jnp.arange(5) < 4, given=given)
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
    np.testing.assert_array_equal(out_of_order(points, ROWS), [0, 1, 0, 1, 1])
    ragged = jnp.concatenate([points, jnp.full((2, 2), jnp.nan)])
    np.testing.assert_array_equal(out_of_order(ragged, ROWS), [0, 1, 0, 1, 1, 0, 0])


def test_a_set_is_out_of_order_where_its_order_changes_it():
    """Points of a grid: some share a row, and some are equal."""
    sets = np.float32(np.random.default_rng(0).integers(0, 3, (500, 4, 2)) / 2)
    order = jax.jit(order_of, static_argnums=1)(sets, ROWS)
    sets = np.concatenate([sets, np.take_along_axis(sets, np.asarray(order)[..., None], axis=1)])
    moved = (order_of(sets, ROWS) != jnp.arange(4)).any(1)
    np.testing.assert_array_equal(out_of_order(sets, ROWS).any(1), moved)
    assert moved[:500].mean() > 0.5 and not moved[500:].any()


def test_the_number_of_orders():
    np.testing.assert_allclose(log_orders(jnp.array([1, 2, 5])), np.log([1, 2, 120]), rtol=1e-5)


def test_training_sees_sets_in_rows():
    data = make_dataset(single_density(lambda key, n: 10 * jax.random.normal(key, (n, 2))),
                        normalize=True)  # fmt: skip
    draw = jax.jit(draw_batches, static_argnums=(2, 3, 4))
    batch, plain = (
        draw(jax.random.key(0), data, 100, 3, BatchSpec(
            CausalSets(CausalNetwork(FourierTrunk(), order=order)), 4, 16, min_points=2))
        for order in ("rows:2", "random")
    )  # fmt: skip
    given = draw(jax.random.key(0), data, 100, 3, BatchSpec(CausalSets(CausalNetwork(
        FourierTrunk(), order="rows:2", given_share=0.9)), 4, 16, min_points=2))  # fmt: skip
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
        assert not out_of_order(own[:h], rows(2)).any() and not out_of_order(own[h:], rows(2)).any()


def test_a_set_in_rows_is_completed_in_the_order_of_the_given_points():
    """The model reads the given points in rows, so their order does not change the other points."""
    experiment = td.build(td.default_config("causal"), config={
        "model.order": "rows:0.5", "model.given_share": 0.5, "model.context_dim": 16,
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
