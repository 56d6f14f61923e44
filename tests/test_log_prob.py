"""Check log_prob as a function of JAX, and log p along the path that draws the points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from oracle import GaussianMixture, three_components
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood, sample_with_log_prob
from tiny_diffusion_jax.diffusion.process import Level, make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule

X = np.float32(np.random.default_rng(0).normal(size=(6, 2)))


@pytest.fixture(scope="module")
def smooth():
    """An experiment and weights whose log p changes slowly, so that differences are accurate."""
    config = td.default_config()
    config.model.update(hidden_dim=8, num_blocks=1, num_frequencies=4, scale=1.0, max_period=4.0)
    config.evaluate.likelihood_steps = 12
    experiment = td.build(config)
    return experiment, random_weights(experiment.model, scale=0.1)


def test_log_prob_in_jit_grad_and_vmap(smooth):
    log_p = lambda x: td.log_prob(*smooth, x)
    expected = log_p(X)
    np.testing.assert_allclose(jax.jit(log_p)(X), expected, atol=1e-4)
    np.testing.assert_allclose(jax.vmap(log_p)(X), expected, atol=1e-4)
    gradient = jax.grad(lambda x: log_p(x).sum())(jnp.asarray(X))
    h = np.float32(0.02) * np.eye(2, dtype=np.float32)
    differences = [(log_p(X + d) - log_p(X - d)) / (2 * 0.02) for d in h]
    np.testing.assert_allclose(gradient, np.stack(differences, -1), rtol=2e-3, atol=1e-3)


def test_points_of_a_set_cannot_be_given_to_single_points(smooth):
    of_points = lambda x: td.log_prob(*smooth, x, num_given=1)
    for score in (of_points, jax.jit(of_points)):
        with pytest.raises(td.UserError, match="num_given = 1: must be 0"):
            score(X)


def test_log_prob_has_a_gradient_in_the_weights(smooth):
    experiment, params = smooth
    gradient = jax.grad(lambda p: td.log_prob(experiment, p, X).sum())(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_points_far_from_0_are_not_traced(smooth):
    """float32 has steps of 0.5 at this offset, so traced points would be rounded."""
    far = np.float64(X) + [388098.25, 5603948.7]
    config = {f"model.{name}": value for name, value in smooth[0].config.model.items()}
    experiment = td.build(data=far, config=config | {"evaluate.likelihood_steps": 4})
    log_p = lambda x, params=smooth[1]: td.log_prob(experiment, params, x)
    assert len(set(log_p(far).tolist())) == len(far)
    for traced in (jax.jit(log_p), jax.vmap(log_p)):
        with pytest.raises(td.UserError, match="points = 'traced': must be values that JAX does"):
            traced(far)
    of_weights = jax.jit(lambda params: log_p(far, params))(smooth[1])
    np.testing.assert_allclose(of_weights, log_p(far), atol=1e-4)


def test_the_path_has_the_log_prob_of_its_points():
    """Draws of an exact denoiser have the exact density, at its smallest noise."""
    process, mixture = make_process(make_schedule("karras", 1000)), three_components()
    denoise = Partial(GaussianMixture.denoise, mixture)
    noise = jax.random.normal(jax.random.key(0), (1, 500, 2))
    draw = jax.jit(lambda noise: sample_with_log_prob(process, denoise, noise, 100))
    points, log_p = draw(noise)
    nu = process.schedule.sigma[1] / process.schedule.alpha[1]
    np.testing.assert_allclose(log_p, mixture.log_prob(points, Level(0.0, 1.0, nu)), atol=1e-2)
    again = jax.jit(lambda x: log_likelihood(process, denoise, x, 100))(points)
    np.testing.assert_allclose(log_p, again, atol=1e-2)


def test_samples_with_log_prob_agree_with_log_prob(smooth):
    sets, log_p = td.sample(*smooth, num_sets=2, num_points=50, num_steps=24, with_log_prob=True)
    np.testing.assert_allclose(log_p[1], td.log_prob(*smooth, sets[1], num_steps=24), atol=1e-2)
    again, _ = td.sample(*smooth, num_sets=1, num_points=50, num_steps=24, with_log_prob=True)
    np.testing.assert_array_equal(again[0], sets[0])
