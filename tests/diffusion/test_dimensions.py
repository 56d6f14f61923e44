"""Points of one, three or four coordinates, with the exact denoiser of a Gaussian mixture.

    p_t(x) = sum_k w_k N(x; alpha m_k, (alpha^2 s_k^2 + sigma^2) I)
    E[x_0 | x_t] = sum_k p(k | x_t) (m_k + alpha s_k^2 / v_k (x_t - alpha m_k)),
        v_k = alpha^2 s_k^2 + sigma^2
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.special import logsumexp

from tiny_diffusion_jax import models
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.densities import make_dataset, mixture_log_prob, single_density
from tiny_diffusion_jax.diffusion.ode_likelihood import divergence, log_likelihood
from tiny_diffusion_jax.diffusion.process import make_process
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.recipes import RECIPES

WEIGHT, STD = np.float32([0.6, 0.4]), np.float32([0.3, 0.6])


@functools.cache
def means(dim: int) -> np.ndarray:
    """Means f32[2, dim], scaled so that the mixture has mean 0 and mean variance 1."""
    mean = np.stack([np.linspace(-1, 0.5, dim), np.linspace(1, 0.2, dim)])
    mean -= WEIGHT @ mean
    inside = WEIGHT @ STD**2
    return np.float32(mean * np.sqrt((1 - inside) / (WEIGHT @ mean**2).mean()))


def log_joint(mean, x, alpha, sigma):
    """(log p_t(k, x) [B, N, 2], x - alpha m_k [B, N, 2, D], alpha^2 s_k^2 + sigma^2 [B, 1, 2])."""
    alpha, sigma = (jnp.asarray(a)[..., None, None] for a in (alpha, sigma))
    away, variance = x[..., None, :] - alpha[..., None] * mean, alpha**2 * STD**2 + sigma**2
    log_norm = 0.5 * mean.shape[1] * jnp.log(2 * jnp.pi * variance)
    return jnp.log(WEIGHT) - (away**2).sum(-1) / (2 * variance) - log_norm, away, variance


def denoise(mean, x_t, level):
    log_p, away, variance = log_joint(mean, x_t, level.alpha, level.sigma)
    gain = jnp.asarray(level.alpha)[..., None, None] * STD**2 / variance
    x_0 = mean + gain[..., None] * away
    return (jax.nn.softmax(log_p, axis=-1)[..., None] * x_0).sum(-2)


def draws(dim: int, num: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    k = rng.choice(2, num, p=WEIGHT / WEIGHT.sum())
    return np.float32(means(dim)[k] + STD[k, None] * rng.normal(size=(num, dim)))


@pytest.mark.parametrize("dim", [1, 3])
def test_log_likelihood_is_exact_to_a_thousandth(dim):
    process, mean = make_process(make_schedule("flow", 1000)), means(dim)
    x = draws(dim, 300)[None]
    found = jax.jit(log_likelihood, static_argnums=3)(process, Partial(denoise, mean), x, 150)
    nu = process.schedule.sigma[1] / process.schedule.alpha[1]
    joint = jax.jit(lambda mean, x, nu: log_joint(mean, x, 1.0, nu)[0])(mean, x, nu)
    expected = logsumexp(joint, axis=-1)
    assert found.shape == (1, 300)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["heun", "sde-dpm++2m"])
def test_samplers_give_back_the_moments_of_the_mixture_in_space(name):
    process, mean = make_process(make_schedule("karras", 100)), jnp.asarray(means(3))
    grid, keys = time_grid(process.schedule, 50), jax.random.split(jax.random.key(1), 4)
    run = jax.jit(lambda keys: sample(
        process, make_sampler(name), Partial(denoise, mean), grid, keys, (4_000, 3)
    ))  # fmt: skip
    x = np.asarray(run(keys)).reshape(-1, 3)
    between = (WEIGHT[:, None] * means(3)).T @ means(3)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(
        np.cov(x.T), between + (WEIGHT @ STD**2) * np.eye(3), atol=0.04
    )


def test_divergence_is_the_trace_in_four_coordinates():
    matrix = np.float32(np.random.default_rng(2).normal(size=(4, 4)))
    z = np.ones((2, 3, 4), np.float32)
    value, div = jax.jit(functools.partial(divergence, lambda z: z @ matrix))(z)
    np.testing.assert_allclose(value, z @ matrix)
    np.testing.assert_allclose(div, np.full((2, 3), np.trace(matrix)), rtol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_every_model_answers_in_the_coordinates_of_its_points(name):
    config = default_config(name).model
    config.update(hidden_dim=8, num_blocks=1, num_frequencies=2, time_frequencies=2, num_heads=2)
    model = models.make_model(config)
    x, time = jax.ShapeDtypeStruct((2, 5, 3), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    make = lambda x, time: model.init_with_output(jax.random.key(0), x, time)[0]
    assert jax.eval_shape(make, x, time).shape == (2, 5, 3)


def test_units_of_points_in_space():
    std = np.float32([1.0, 2.0, 4.0])
    draw = single_density(Partial(lambda std, key, n: std * jax.random.normal(key, (n, 3)), std))
    one, each = (make_dataset(draw, per_axis=per_axis) for per_axis in (False, True))
    assert one.dim == 3 and one.scale.shape == () and each.scale.shape == (3,)
    assert float(one.scale) == pytest.approx(7**0.5, rel=0.02)
    np.testing.assert_allclose(each.scale, std, rtol=0.02)
    assert make_dataset(draw, normalize=False).shift.shape == (3,)
    points, centres, log_weights = draws(3, 4), means(3), np.log(np.float32([0.5, 0.5]))
    found = jax.jit(mixture_log_prob)(centres, std, log_weights, points)
    z = (points[:, None] - centres) / std
    exact = logsumexp(-0.5 * (z**2).sum(-1), axis=1) + np.log(0.5)
    np.testing.assert_allclose(
        found, exact - 1.5 * np.log(2 * np.pi) - np.log(std).sum(), rtol=1e-5
    )
