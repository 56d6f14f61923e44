"""Compare log p(x) from the ODE with the exact density, to 1e-3 nats at every point."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from oracle import GaussianMixture, one_gaussian, three_components

from tiny_diffusion_jax.diffusion.ode_likelihood import divergence, level_at, log_likelihood
from tiny_diffusion_jax.diffusion.process import Level, make_process
from tiny_diffusion_jax.diffusion.schedules import FAMILIES, make_schedule


@functools.partial(jax.jit, static_argnames="num_steps")
def ode(process, mixture, points, num_steps):
    return log_likelihood(process, Partial(GaussianMixture.denoise, mixture), points, num_steps)


@jax.jit
def exact(process, mixture, points):
    """The model's density as documented: the mixture convolved with the noise of level 1."""
    nu = process.schedule.sigma[1] / process.schedule.alpha[1]
    return mixture.log_prob(points, Level(0.0, 1.0, nu))


@functools.cache
def points():
    """Draws of the mixture, and a wide grid that also covers the tails."""
    draw = jax.jit(lambda mixture: mixture.draw(jax.random.key(0), 1, 400).points)
    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 20), np.linspace(-3, 3, 20)), -1)
    return np.float32([draw(three_components())[0], grid.reshape(-1, 2)])


@pytest.mark.parametrize("name", ["linear", "student_cosine", "cosine", "karras", "flow"])
def test_log_likelihood_of_the_mixture_is_exact_to_a_thousandth(name):
    """`quadratic` is excluded: its x_T keeps 1/37 of the data, which the prior does not model."""
    process = make_process(make_schedule(name, 1000))
    result = ode(process, three_components(), points(), 200)
    assert result.shape == (2, 400) and result.dtype == jnp.float32
    expected = exact(process, three_components(), points())
    error = np.abs(result - expected)
    assert error[expected > -15].max() < 1e-3 and (expected > -15).sum() > 500
    # Far outside, log p is below -300, and float32 has fewer digits after the point.
    assert (error / (1 + np.abs(expected))).max() < 2e-3


@pytest.mark.parametrize("sigma_data", [1.0, 0.4])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_gaussian_of_the_width_of_the_prior_is_exact_on_any_schedule(name, sigma_data):
    """50 levels leave signal in x_T; the prior of N(0, sigma_data^2 I) accounts for this signal."""
    process = make_process(make_schedule(name, 50), sigma_data=sigma_data)
    gaussian = one_gaussian(sigma_data)
    x = np.float32(sigma_data * np.random.default_rng(1).normal(size=(1, 50, 2)))
    result = ode(process, gaussian, x, 200)
    np.testing.assert_allclose(result, exact(process, gaussian, x), atol=5e-4)


def test_half_the_steps_cost_sixteen_times_the_error():
    """The fourth-order error at 50 steps is far above the rounding error of float32."""
    process = make_process(make_schedule("flow", 1000))
    expected = exact(process, three_components(), points())
    visible = np.asarray(expected > -15)
    coarse, fine = (
        np.abs(ode(process, three_components(), points(), n) - expected)[visible].mean()
        for n in (50, 100)
    )
    assert np.log2(coarse / fine) > 3.5


def test_divergence_is_the_trace_of_the_jacobian():
    def field(z):
        x, y = z[..., 0], z[..., 1]
        return jnp.stack([jnp.sin(x) * y**2, jnp.exp(0.3 * x) + jnp.tanh(x * y)], axis=-1)

    z = jax.random.normal(jax.random.key(2), (3, 5, 2))
    value, div = jax.jit(lambda z: divergence(field, z))(z)
    np.testing.assert_allclose(value, jax.jit(field)(z), rtol=1e-5)
    jacobian = np.asarray(jax.jit(jax.vmap(jax.vmap(jax.jacfwd(field))))(z))
    assert div.shape == (3, 5)
    np.testing.assert_allclose(div, np.trace(jacobian, axis1=-2, axis2=-1), atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_between_levels(name):
    process = make_process(make_schedule(name, 100))
    schedule = process.schedule
    log_nu = -0.5 * np.asarray(schedule.log_snr, np.float64)
    t = np.array([1, 2, 40, 99])
    level = level_at(process, jnp.float32(log_nu[t]))
    np.testing.assert_allclose(level.time, t / 100, atol=1e-5)
    np.testing.assert_allclose(level.alpha, schedule.alpha[t], atol=1e-5)
    np.testing.assert_allclose(level.sigma, schedule.sigma[t], rtol=1e-4)
    middle = level_at(process, jnp.float32(0.5 * (log_nu[40] + log_nu[41])))
    assert middle.time == pytest.approx(0.405, abs=1e-5)
    assert 0.5 * middle.log_snr == pytest.approx(-0.5 * (log_nu[40] + log_nu[41]), abs=1e-5)


def test_the_network_is_evaluated_at_levels_of_training():
    """`denoise` is called with alpha z and a level with consistent time, alpha and sigma."""
    process = make_process(make_schedule("cosine", 100))
    seen = []

    def denoise(x_t, level):
        jax.debug.callback(lambda *a: seen.append(np.array(a)), *level)
        return 0.5 * x_t

    log_likelihood(process, denoise, jnp.ones((1, 2, 2)), 5).block_until_ready()
    jax.effects_barrier()
    time, alpha, sigma = np.array(seen).T
    assert time.min() >= 0.01 - 1e-6 and time.max() <= 1 + 1e-6
    assert time.min() == pytest.approx(0.01, abs=1e-5) and time.max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(
        alpha, np.interp(time * 100, np.arange(101), process.schedule.alpha), atol=1e-5)
    # interpolation between two of 100 levels moves (alpha, sigma) slightly off the circle
    assert np.abs(alpha**2 + sigma**2 - 1)[time < 0.95].max() < 0.02
