"""Check data that are not normalised: the noise is centred on the data; latents have own units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.dataset import draw_sets
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import make_schedule

MEAN, STD = jnp.array([14.0, -5.0]), 3.0  # as far from 0 as the pixels of MNIST


def process(name="linear", levels=40):
    return make_process(make_schedule(name, levels, sigma_max=12.0), "x0", sigma_data=STD,
                        data_mean=MEAN)  # fmt: skip


def ideal(x_t, level):
    """E[x_0 | x_t] of data N(MEAN, STD^2 I)."""
    alpha, sigma = (jnp.asarray(a).reshape(-1, 1, 1) for a in (level.alpha, level.sigma))
    gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
    return MEAN + gain * (x_t - alpha * MEAN)


@pytest.mark.parametrize("name", ["linear", "karras"])
def test_noise_starts_where_the_data_are(name):
    """40 levels of linear betas leave alpha_T = 0.8, so a start from N(0, I) would be biased."""
    p = process(name)
    keys = jax.random.split(jax.random.key(0), 4)
    grid = time_grid(p.schedule, 20)
    run = jax.jit(lambda keys: sample(
        p, make_sampler("ddim"), ideal, grid, keys, (2_000, 2), keep_trajectory=True))
    trajectory = run(keys)
    alpha, sigma = float(p.schedule.alpha[-1]), float(p.schedule.sigma[-1])
    spread = np.hypot(alpha * STD, sigma)  # standard deviation of alpha x_0 + sigma eps
    start = np.asarray(trajectory[0]).reshape(-1, 2)
    np.testing.assert_allclose(start.mean(0), alpha * MEAN, atol=5 * spread / 8000**0.5)
    np.testing.assert_allclose(start.std(0), spread, rtol=5 / 16_000**0.5)
    end = np.asarray(trajectory[-1]).reshape(-1, 2)
    np.testing.assert_allclose(end.mean(0), MEAN, atol=0.2)
    np.testing.assert_allclose(end.std(0), STD, rtol=0.1)


@pytest.mark.parametrize("name", ["linear", "karras"])
def test_the_likelihood_is_that_of_the_data_where_they_are(name):
    points = np.asarray(MEAN) + np.random.default_rng(0).normal(size=(1, 20, 2)) * STD
    ode = jax.jit(log_likelihood, static_argnums=(1, 3))
    found = ode(process(name), ideal, jnp.asarray(points, jnp.float32), 60)
    squared = ((points - MEAN) ** 2).sum(-1)
    # The model's density contains the smallest noise, level 1.
    exact = -squared / (2 * STD**2) - np.log(2 * np.pi * STD**2)
    np.testing.assert_allclose(found, exact, atol=2e-3)


def test_latents_are_of_mean_0_and_variance_1():
    of_latents = process().of_latents()
    mean, variance = of_latents.prior(jnp.float32(0.6), jnp.float32(0.8))
    assert np.all(np.asarray(mean) == 0) and float(variance) == pytest.approx(1.0)
    assert of_latents.sigma_data == 1.0


def test_an_experiment_in_own_units_knows_where_its_data_lie():
    config = td.default_config()
    config.data.update(name="mnist", source="digits", normalize=False, jitter="uniform")
    experiment = td.build(config)
    points = np.asarray(draw_sets(experiment.dataset, jax.random.key(1), 4_000, 1).points)[:, 0]
    assert float(points.mean()) > 2  # pixel coordinates of 8 x 8 images
    np.testing.assert_allclose(experiment.process.data_mean, points.mean(0), atol=0.2)
    config.data.normalize = True
    assert np.all(np.asarray(td.build(config).process.data_mean) == 0)


def test_one_level_of_karras_is_that_of_the_noise():
    schedule = make_schedule("karras", 1, sigma_min=0.002, sigma_max=12.0)
    np.testing.assert_allclose(schedule.sigma, [0, 12], rtol=1e-6)
    sigma = np.asarray(make_schedule("karras", 9, sigma_min=0.002, sigma_max=12.0).sigma)
    np.testing.assert_allclose(sigma[[1, 9]], [0.002, 12], rtol=1e-5)
