"""Compare the score field of the data with the known score of a Gaussian mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from oracle import GaussianMixture

from tiny_diffusion_jax.data.densities import make_dataset
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.process import Level
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.metrics import score_field as fields

MIXTURE = GaussianMixture(
    jnp.array([0.3, 0.7]), jnp.array([[-1.0, 0.3], [0.8, -0.4]]),
    jnp.array([[0.3, 0.1], [0.2, 0.4]]), jnp.array([0.5, 0.0]),
)  # fmt: skip


class Oracle:
    """A network that returns E[x_0 | x_t] of the mixture plus a `bias`."""

    def __init__(self, process, bias: float):
        self.process, self.bias = process, bias

    def apply(self, params, x, time, conditioning):
        level = self.process.level(jnp.round(time * self.process.schedule.num_levels).astype(int))
        return MIXTURE.denoise(x, level) + self.bias


@pytest.fixture(scope="module")
def counted():
    dataset = make_dataset(Partial(GaussianMixture.draw, MIXTURE), normalize=False)
    return fields.count(dataset, jax.random.key(0), (-3, 3, -3, 3))


def test_the_field_is_sigma_times_the_score(counted):
    for nu in (0.05, 0.5, 4.0):
        x, y = fields.grid(counted, nu, 16)
        field, density = fields.of_data(counted, x, y, nu)
        points = np.float32(np.stack(np.meshgrid(x, y), -1).reshape(1, -1, 2))
        level = Level(*np.float32([0.0, 1.0, nu]))
        log_p, mean = jax.jit(lambda x, at: (MIXTURE.log_prob(x, at), MIXTURE.denoise(x, at)))(
            points, level)  # fmt: skip
        log_p = np.asarray(log_p).reshape(16, 16)
        exact = ((np.asarray(mean) - points) / nu).reshape(16, 16, 2)
        dense = log_p > log_p.max() - 4
        np.testing.assert_allclose(field[dense], exact[dense], atol=0.1)
        assert np.std(np.log(density[dense]) - log_p[dense]) < 0.05


@pytest.mark.parametrize("schedule", ["karras", "cosine", "flow"])
def test_the_error_of_an_exact_network_is_0_and_a_bias_has_its_error(counted, schedule):
    """A bias b of x_0_hat is an error of alpha b / sigma in eps_hat."""
    process = make_process(make_schedule(schedule, 200, sigma_max=12.0), "x0")
    right, wrong = (fields.compare(process, Oracle(process, bias), {}, counted, 4, 24)
                    for bias in (0.0, 0.2))  # fmt: skip
    level = process.level(right.levels)
    assert len(right.levels) == 4 and np.isfinite(right.model).all()
    assert float(level.sigma[0] / level.alpha[0]) >= 0.9 * fields.NARROW * counted.cell
    assert (right.error < 2e-3).all() and right.density.max() == 1
    off = np.asarray(0.2 * level.alpha / level.sigma) ** 2
    np.testing.assert_allclose(wrong.error, off, rtol=0.1, atol=2e-3)


def test_a_table_is_counted_by_its_rows():
    rows = jnp.array([[-1.0, 0.0], [1.0, 0.5]])
    dataset = make_dataset(Partial(GaussianMixture.draw, MIXTURE), normalize=False, rows=rows)
    histogram = fields.count(dataset, jax.random.key(0), (-2, 2, -2, 2))
    assert np.sort(histogram.share.ravel())[-3:].tolist() == [0, 0.5, 0.5]
    field, _ = fields.of_data(histogram, np.array([-1.0, 0.9]), np.array([0.1]), 0.1)
    np.testing.assert_allclose(field[0], [[0, -1], [1, 4]], atol=0.05)


def test_coarser_pixels_share_out_their_cells(counted):
    for size in (7, 160, 512):
        shares = fields.coarser(counted.share, size)
        assert shares.shape == (size, size) and shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, counted.share)
