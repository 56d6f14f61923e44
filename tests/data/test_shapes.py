import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
from ml_collections import ConfigDict

from tiny_diffusion_jax import data
from tiny_diffusion_jax.data import densities, dinosaur, shapes
from tiny_diffusion_jax.errors import UserError

NUM = 65_536


@functools.cache
def compiled(name):
    return jax.jit(shapes.SHAPES[name].sample, static_argnums=1)


def draw(name, seed=1):
    return np.asarray(compiled(name)(jax.random.key(seed), NUM))


# Mean of the two axes and mean variance, computed by hand from the definition of the shape.
T = np.array([1.5, 4.5]) * np.pi
SWISS_MEAN = np.diff([T * np.sin(T) + np.cos(T), np.sin(T) - T * np.cos(T)])[:, 0] / 10.8 / np.pi
SWISS_SQUARE = np.diff(T**3)[0] / (9 * np.pi) / 3.6**2 + 0.02
MOMENTS = {
    # E cos = 0 and E sin = 2 / pi on a half circle. Before the axes are stretched, x has mean 1/2
    # and variance 3/4, and y has mean 1/4 and variance (1.25 - 2 / pi) / 2 - 1/16.
    "moons": ((0.6, 0.65), (4 * 0.75 + 9 * ((1.25 - 2 / np.pi) / 2 - 1 / 16) + 0.0117) / 2),
    "circle": ((0, 0), (9 + 0.09**2 / 3) / 2),
    "line": ((0, 0), (4 + 16) / 3 / 2),
    "eight_gaussians": ((0, 0), (9 + 2 * 0.04) / 2),
    "two_spirals": ((0, 0), (3.6**2 / 2 + 2 * 0.0064) / 2),
    "pinwheel": ((0, 0), 4 * (1 + 0.09 + 0.0064) / 2),
    "checkerboard": ((0, 0), 5 + 1 / 3),
    "rings": ((0, 0), (0.81 * (1 + 8 + 27 + 64) / 10 + 2 * 0.0064) / 2),
    "swiss_roll": (SWISS_MEAN, (SWISS_SQUARE - SWISS_MEAN @ SWISS_MEAN) / 2),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_are_the_closed_forms(name):
    points = draw(name)
    mean, variance = MOMENTS[name]
    spread = ((points - mean) ** 2).mean(1)  # one estimate of the mean variance per point
    assert np.all(np.abs(points.mean(0) - mean) < 5 * points.std(0) / np.sqrt(NUM))
    assert abs(spread.mean() - variance) < 5 * spread.std() / np.sqrt(NUM)


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_draws(name):
    points = draw(name)
    assert points.shape == (NUM, 2) and points.dtype == np.float32
    assert np.abs(points).max() < 4.6
    np.testing.assert_array_equal(points, draw(name))
    assert np.abs(points - draw(name, seed=2)).max() > 1
    assert len(np.unique(points, axis=0)) > 0.99 * NUM  # draws do not repeat a few points


@pytest.mark.parametrize("name", ["moons", "dino"])
def test_draws_are_the_same_outside_jit(name):
    points = shapes.SHAPES[name].sample(jax.random.key(1), NUM)
    np.testing.assert_allclose(draw(name), points, atol=1e-5)


NO_GRID = "dino", "circle"  # no grid of cells resolves their edges


@pytest.mark.parametrize("name", [name for name in shapes.SHAPES if name not in NO_GRID])
def test_log_prob_integrates_to_one_and_matches_draws(name):
    # Cells of 0.5. The density of a cell is the mean over 8 x 8 midpoints, and no midpoint lies on
    # the edge of a shape.
    step = 0.5 / 8
    axis = np.arange(-5, 5, step) + step / 2
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1), jnp.float32)
    density = np.asarray(jnp.exp(jax.jit(shapes.SHAPES[name].log_prob)(grid)), np.float64)
    mass = density.reshape(20, 8, 20, 8).sum((1, 3)) * step**2
    assert abs(mass.sum() - 1) < 1e-4

    edges = np.arange(-5, 5.25, 0.5)
    counts = np.histogram2d(*draw(name).T, bins=[edges, edges])[0]
    busy = mass * NUM > 10
    assert counts[mass == 0].sum() == 0
    observed = np.append(counts[busy], counts[~busy].sum() + 10)
    expected = np.append(mass[busy], 1 - mass[busy].sum()) * NUM
    expected[-1] += 10
    assert scipy.stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-3


def test_the_density_of_the_circle_is_that_of_its_radii():
    """Integrate over rings of width 0.01, by Gauss-Legendre between the ends and the peak."""
    edges = np.linspace(2.91, 3.09, 19)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    radii = edges[:-1, None] + 0.005 * (nodes + 1)
    log_p = jax.jit(shapes.circle_log_prob)(np.stack([0.6 * radii, -0.8 * radii], -1))
    mass = (np.exp(np.float64(log_p)) * 2 * np.pi * radii * 0.005 * weights).sum(1)
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    counts = np.histogram(np.linalg.norm(draw("circle"), axis=1), edges)[0]
    expected = mass / mass.sum() * counts.sum()
    assert counts.sum() > NUM - 5 and scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    outside = jnp.array([[2.9, 0.0], [0.0, 3.1], [0.0, 0.0]])
    assert (shapes.circle_log_prob(outside) == -jnp.inf).all()


@pytest.mark.parametrize("curve, branches, std, log_prob", [
    (shapes._moons_curve, 2, shapes.MOONS_STD, shapes.moons_log_prob),
    (shapes._spirals_curve, 2, shapes.SPIRALS_STD, shapes.two_spirals_log_prob),
    (shapes._swiss_curve, 1, shapes.SWISS_STD, shapes.swiss_roll_log_prob),
])  # fmt: skip
def test_quadrature_equals_a_brute_force_mean_over_the_curve(curve, branches, std, log_prob):
    u, std = jnp.asarray((np.arange(20_000) + 0.5) / 20_000), np.broadcast_to(std, 2)
    centers = np.concatenate([curve(np.array(b), u) for b in range(branches)])
    points = centers[::331] + np.linspace(-0.2, 0.2, len(centers[::331]))[:, None]
    z = (points[:, None] - centers) / std
    density = np.exp(-0.5 * (z**2).sum(-1)).mean(1) / (2 * np.pi * std.prod())
    np.testing.assert_allclose(jax.jit(log_prob)(points), np.log(density), atol=2e-3)


def test_log_prob_of_uniform_shapes():
    points = jnp.array([[0.0, 0.0], [1.9, -3.9], [2.1, 0.0], [0.0, 4.1]])
    density = jnp.exp(shapes.line_log_prob(points))
    np.testing.assert_allclose(density, [1 / 32, 1 / 32, 0, 0], rtol=1e-6)
    points = jnp.array([[-3.0, -3.0], [-1.0, -3.0], [-1.0, -1.0], [-5.0, -5.0]])
    density = jnp.exp(shapes.checkerboard_log_prob(points))
    np.testing.assert_allclose(density, [1 / 32, 0, 1 / 32, 0], rtol=1e-6)


def test_circle_is_a_thin_even_ring():
    points = draw("circle")
    radius, angle = np.hypot(*points.T), np.arctan2(*points.T)
    assert radius.min() > 2.91 - 1e-5 and radius.max() < 3.09 + 1e-5
    counts = np.histogram(angle, bins=32, range=(-np.pi, np.pi))[0]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_moons_are_independent_draws():
    # make_moons puts exactly half of the points on each arc; here the share is random.
    x, y = np.moveaxis(draw("moons").reshape(256, 256, 2), -1, 0)
    x, y = (x + 1) / 2 - 0.3, (y + 1) / 3 - 0.3
    upper = np.abs(np.hypot(x, y) - 1) + 9 * (y < -0.2) < np.abs(np.hypot(x - 1, y - 0.5) - 1)
    assert abs(upper.sum(1).var() / 64 - 1) < 5 * np.sqrt(2 / 255)


def test_dino_strokes_share_points_by_length():
    starts, steps = dinosaur.segments()
    points, length = draw("dino"), np.linalg.norm(steps, axis=1)
    eye = (np.abs(starts - [2.72, 2.88]) < [0.30, 0.35]).all(1)
    tail = starts[:, 0] < -2.5
    for part, box in (
        (eye, (np.abs(points - [2.72, 2.88]) < [0.30, 0.35]).all(1)),
        (tail, points[:, 0] < -2.5),
    ):
        share = length[part].sum() / length.sum()
        assert 0.02 < share < 0.3
        # one segment lies on the edge of the box
        assert abs(box.mean() - share) < 5 * np.sqrt(share / NUM) + 2e-3


def test_dino_points_lie_evenly_between_the_ends_of_a_segment():
    starts, steps = dinosaur.segments()
    length = np.linalg.norm(steps, axis=1)
    points = draw("dino")
    nearest = scipy.spatial.KDTree(starts + steps / 2).query(points)[1]
    along = ((points - starts[nearest]) * steps[nearest]).sum(1) / length[nearest] ** 2
    middle = np.abs(along[length[nearest] > 0.07] - 0.5) < 0.25
    assert abs(middle.mean() - 0.5) < 5 * np.sqrt(0.25 / len(middle)) + 0.02


def test_dino_log_prob_equals_a_brute_force_mean_along_the_strokes():
    starts, steps = (a.astype(np.float64) for a in dinosaur.segments())
    # on the stroke and beside the stroke
    points = draw("dino")[:60] + np.linspace(0, 0.15, 60)[:, None]
    u = (np.arange(40) + 0.5) / 40
    nodes = starts[:, None] + u[:, None] * steps[:, None]
    squared = ((points[:, None, None] - nodes) ** 2).sum(-1) / dinosaur.JITTER**2
    length = np.linalg.norm(steps, axis=1)
    log_weight = np.log(length / length.sum() / 40 / (2 * np.pi * dinosaur.JITTER**2))[:, None]
    expected = scipy.special.logsumexp(log_weight - squared / 2, axis=(1, 2))
    log_prob = jax.jit(dinosaur.dino_log_prob)(points.astype(np.float32))
    np.testing.assert_allclose(log_prob, expected, atol=5e-3)
    far = np.tile(np.float32([4.0, -4.0]), (60, 1))
    assert np.isfinite(jax.jit(dinosaur.dino_log_prob)(far)).all()


def test_dino_drawing_fits_its_frame_and_its_curves_are_smooth():
    starts, steps = dinosaur.segments()
    assert starts.dtype == np.float32 and np.abs(starts).max() < 4
    assert np.linalg.norm(steps, axis=1).max() < 0.2
    is_joined = np.abs(starts[:-1] + steps[:-1] - starts[1:]).max(1) < 1e-5
    angle = np.arctan2(steps[:, 1], steps[:, 0])
    turn = np.abs((np.diff(angle) + np.pi) % (2 * np.pi) - np.pi)[is_joined]
    # The corners are the tips of ten plates, and a point where two strokes meet.
    assert is_joined.mean() > 0.98 and (turn > 0.35).sum() == 11


def test_inverse_cdf_keeps_the_last_of_many_entries():
    weights = np.ones(65_536)
    weights[-2:] = 300.0, 100.0
    table = densities.inverse_cdf_table(weights)
    steps = np.diff(np.concatenate([[0.0], table, [2.0**32]])) / 2**32
    np.testing.assert_allclose(steps * weights.sum(), weights, rtol=2e-5)
    index = np.asarray(densities.draw_index(jax.random.key(0), jnp.asarray(table), 2**20))
    assert index.min() >= 0 and index.max() == 65_535
    for entry, weight in ((65_534, 300.0), (65_535, 100.0)):
        expected = 2**20 * weight / weights.sum()
        assert abs((index == entry).sum() - expected) < 5 * np.sqrt(expected)


def test_inverse_cdf_does_not_wrap_around_at_one():
    table = densities.inverse_cdf_table(np.array([1.0, 3.0, 1e-12]))
    assert table.dtype == np.uint32 and table.tolist() == [2**30, 2**32 - 1]


def test_mixture_log_prob_in_blocks_equals_one_pass():
    key = jax.random.key(0)
    centers, points = jax.random.normal(key, (3000, 2)), jax.random.normal(key, (5, 701, 2))
    options = {"std": (0.5, 2.0), "log_weights": -np.log(3000)}
    log_prob = functools.partial(densities.mixture_log_prob, **options)
    in_blocks = jax.jit(lambda centers, points: log_prob(centers, points=points))(centers, points)
    z = (np.asarray(points)[..., None, :] - np.asarray(centers)) / [0.5, 2.0]
    expected = np.log(np.exp(-0.5 * (z**2).sum(-1)).mean(-1) / (2 * np.pi))
    assert 3000 * 5 * 701 > 2 * 2**22  # three blocks
    np.testing.assert_allclose(in_blocks, expected, atol=1e-4)


def test_build_normalizes_and_passes_through_jit():
    config = ConfigDict({"name": "moons", "normalize": True})
    dataset = data.build(config)
    points = dataset.normalize(np.asarray(dataset.draw(jax.random.key(5), 64, 256).points))
    assert points.shape == (64, 256, 2) and dataset.title == "moons"
    assert abs(float(points.mean())) < 0.02 and abs(float(points.var((0, 1)).mean()) - 1) < 0.02
    back = dataset.denormalize(points)
    in_jit = jax.jit(lambda d, key: d.draw(key, 64, 256).points)(dataset, jax.random.key(5))
    np.testing.assert_allclose(back, in_jit, atol=1e-5)
    assert np.isfinite(jax.jit(lambda d, x: d.log_prob(x))(dataset, back)).all()

    config.normalize = False
    dataset = data.build(config)
    assert float(dataset.scale) == 1 and np.all(np.asarray(dataset.shift) == 0)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"config\.data\.name = 'sun': must be one of moons, "):
        data.build(ConfigDict({"name": "sun", "normalize": True}))
