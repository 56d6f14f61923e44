"""Compare the lowest possible loss with closed forms of one Gaussian and of a mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from oracle import GaussianMixture

from tiny_diffusion_jax.data.densities import make_dataset, mixture_log_prob, single_density
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.process import loss_per_set
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.metrics import score_field as fields
from tiny_diffusion_jax.metrics.lowest_loss import lowest_loss

MIXTURE = GaussianMixture(
    jnp.array([0.3, 0.7]), jnp.array([[-1.0, 0.3], [0.8, -0.4]]),
    jnp.array([[0.3, 0.1], [0.2, 0.4]]), jnp.array([0.5, 0.0]),
)  # fmt: skip
STD = 0.5


def gaussian(normalize: bool):
    """One Gaussian of standard deviation STD about (1, -2)."""
    mean = jnp.array([1.0, -2.0])
    draw = lambda key, n: mean + STD * jax.random.normal(key, (n, 2))
    dataset = make_dataset(single_density(draw), normalize=normalize, log_prob=Partial(
        mixture_log_prob, mean[None], jnp.float32(STD), jnp.zeros(1)))  # fmt: skip
    extent = (1 - 5 * STD, 1 + 5 * STD, -2 - 5 * STD, -2 + 5 * STD)
    return dataset, fields.count(dataset, jax.random.key(0), extent)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("schedule", ["karras", "cosine"])
@pytest.mark.parametrize("weighting", ["simple", "min_snr"])
def test_one_gaussian(normalize, schedule, weighting):
    """E |x_0 - E[x_0 | x_t]|^2 / D = s^2 nu^2 / (s^2 + nu^2); times c_out^-2 it is 1 if s = 1."""
    dataset, counts = gaussian(normalize)
    process = make_process(make_schedule(schedule, 200, sigma_max=12.0), weighting=weighting)
    levels = np.array([1, 10, 30, 60, 100, 150, 190])
    found = lowest_loss(dataset, process, counts, levels, jax.random.key(1))
    s2, nu2 = (1.0 if normalize else STD) ** 2, np.array(fields.noise(process, levels)) ** 2
    c_out2 = np.asarray(process.coefficients(process.level(levels)).c_out, float) ** 2
    weight = 1 / c_out2 if weighting == "simple" else np.minimum(1 / nu2, 5.0)
    np.testing.assert_allclose(found, weight * s2 * nu2 / (s2 + nu2), rtol=0.01)
    if normalize and weighting == "simple":
        np.testing.assert_allclose(found, 1, rtol=0.01)


def test_a_mixture_has_the_loss_of_its_exact_denoiser():
    """The training loss of E[x_0 | x_t], by Monte Carlo, at each level."""
    log_prob = Partial(lambda mixture, x: mixture.log_prob(x), MIXTURE)
    dataset = make_dataset(Partial(GaussianMixture.draw, MIXTURE), normalize=False,
                           log_prob=log_prob)  # fmt: skip
    counts = fields.count(dataset, jax.random.key(0), (-4, 4, -4, 4))
    process = make_process(make_schedule("karras", 200, sigma_max=12.0), "x0")
    levels = np.array([20, 60, 90, 120, 160])
    found = lowest_loss(dataset, process, counts, levels, jax.random.key(1))
    draw_key, eps_key = jax.random.split(jax.random.key(2))
    x_0 = dataset.draw(draw_key, 5, 100_000).points
    eps = jax.random.normal(eps_key, x_0.shape)
    exact = lambda params, x, time, conditioning: MIXTURE.denoise(
        x, process.level(jnp.asarray(levels)))  # fmt: skip
    expected = loss_per_set(process, exact, {}, x_0, eps, jnp.asarray(levels))
    np.testing.assert_allclose(found, expected, rtol=0.03)


def test_an_unknown_density_has_no_lowest_loss_with_little_noise():
    dataset, counts = gaussian(True)
    process = make_process(make_schedule("karras", 200, sigma_max=12.0))
    found = lowest_loss(dataset.replace(log_prob=None), process, counts, np.array([1, 150]),
                        jax.random.key(0))  # fmt: skip
    assert np.isnan(found[0]) and np.isfinite(found[1])


def test_a_density_with_sharp_edges():
    """Near an edge of a uniform unit square, p_nu = Phi(z) and field = phi(z) / Phi(z), y = nu z.

    There are four edges of length 1, so E |field|^2 = 4 nu c with c = integral phi^2 / Phi dz.
    """
    draw = lambda key, n: jax.random.uniform(key, (n, 2))
    inside = lambda x: jnp.where((x >= 0).all(-1) & (x <= 1).all(-1), 0.0, -jnp.inf)
    dataset = make_dataset(single_density(draw), normalize=False, log_prob=Partial(inside))
    counts = fields.count(dataset, jax.random.key(0), (-0.2, 1.2, -0.2, 1.2))
    process = make_process(make_schedule("karras", 200, sigma_max=12.0), "x0")
    nu = np.array(fields.noise(process, np.arange(1, 40)))
    levels = 1 + np.array([0, np.searchsorted(nu, 0.004), np.searchsorted(nu, 0.012)])
    found = lowest_loss(dataset, process, counts, levels, jax.random.key(1))
    z = np.linspace(-8, 8, 4001)
    phi = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    Phi = np.cumsum(phi) * (z[1] - z[0])
    c = (phi**2 / np.maximum(Phi, 1e-12)).sum() * (z[1] - z[0])
    noises = np.array(fields.noise(process, levels))
    error = noises**2 * (1 - 2 * noises * c)
    np.testing.assert_allclose(found, error, rtol=0.01)
