"""Flows from one Gaussian to another, for which velocity, paths and likelihood are closed forms.

    x_0 ~ N(m_0, s_0^2 I), x_1 ~ N(m_1, s_1^2 I), x_t = alpha x_0 + sigma x_1

Both denoisers are linear in x_t, and both flows map x_1 to m_0 + (s_0 / s_1) (x_1 - m_1). Paths of
optimal pairs are straight, and paths of independent pairs are not.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood, sample_with_log_prob
from tiny_diffusion_jax.diffusion.process import make_process
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.diffusion.source import Source

T = 1000
M_0, S_0 = jnp.array([1.0, -0.5]), 0.4
M_1, S_1 = jnp.array([-2.0, 0.3]), 1.5
KEYS = jax.random.split(jax.random.key(2), 3)


def draw(key, num):
    return M_1 + S_1 * jax.random.normal(key, (num, 2))


def log_normal(x, mean, std):
    return -0.5 * (((x - mean) / std) ** 2).sum(-1) - x.shape[-1] * jnp.log(
        std * jnp.sqrt(2 * jnp.pi))  # fmt: skip


def make(prediction="edm"):
    source = Source(Partial(draw), jnp.float32(1.9), Partial(
        lambda x: log_normal(x, M_1, S_1)))  # fmt: skip
    return make_process(make_schedule("flow", T), prediction, source=source)


def denoise(pairs, x, level):
    """E[x_0 | x_t] of independent or of optimal pairs."""
    alpha, sigma = level.alpha, level.sigma
    rest = x - alpha * M_0 - sigma * M_1
    if pairs == "optimal":
        return M_0 + S_0 / (alpha * S_0 + sigma * S_1) * rest
    return M_0 + alpha * S_0**2 / ((alpha * S_0) ** 2 + (sigma * S_1) ** 2) * rest


@partial(jax.jit, static_argnames=("pairs", "name", "steps"))
def paths(pairs, name, steps):
    grid = jnp.round(jnp.linspace(T, 0, steps + 1)).astype(int)
    return sample(make(), make_sampler(name), partial(denoise, pairs), grid, KEYS, (50, 2), True)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++2m"])
@pytest.mark.parametrize(
    ("pairs", "steps", "error"), [("optimal", 1, 1e-5), ("independent", 500, 0.02)])
def test_a_flow_between_gaussians_ends_where_the_closed_form_says(name, pairs, steps, error):
    """One step is exact for straight paths; other paths need many."""
    path = paths(pairs, name, steps)
    expected = M_0 + S_0 / S_1 * (path[0] - M_1)
    np.testing.assert_allclose(path[-1], expected, atol=error)
    mean, std = np.mean(path[0], (0, 1)), np.std(path[0])
    np.testing.assert_allclose(mean, M_1, atol=0.4)
    assert 1.2 < std < 2.0


def test_a_path_starts_at_a_point_of_the_source_that_depends_on_its_key_only():
    path = paths("optimal", "ddim", 1)
    for number, key in enumerate(KEYS):
        np.testing.assert_allclose(path[0, number], draw(jax.random.fold_in(key, 0), 50), atol=1e-5)


@pytest.mark.parametrize("pairs", ["optimal", "independent"])
def test_the_likelihood_is_the_density_of_the_target_at_level_1(pairs):
    process, nu = make(), 1 / (T - 1)
    x = (M_0 + S_0 * jax.random.normal(jax.random.key(3), (1, 200, 2))).astype(jnp.float32)
    log_p = jax.jit(lambda x: log_likelihood(process, partial(denoise, pairs), x, 200))(x)
    spread = S_0 + nu * S_1 if pairs == "optimal" else np.hypot(S_0, nu * S_1)
    expected = log_normal(x, M_0 + nu * M_1, spread)
    np.testing.assert_allclose(log_p, expected, atol=3e-3)


@pytest.mark.parametrize("pairs", ["optimal", "independent"])
def test_points_and_their_log_p_in_one_pass(pairs):
    process, start = make(), draw(jax.random.key(5), 200)[None]
    both = jax.jit(lambda x: sample_with_log_prob(process, partial(denoise, pairs), x, 200))
    x, log_p = both(start)
    np.testing.assert_allclose(x, M_0 + S_0 / S_1 * (start - M_1), atol=0.02)
    again = jax.jit(lambda x: log_likelihood(process, partial(denoise, pairs), x, 200))(x)
    np.testing.assert_allclose(log_p, again, atol=5e-3)


@pytest.mark.parametrize("prediction", ["edm", "x0", "v"])
def test_every_output_of_a_network_recovers_x_0(prediction):
    """F = (x_0 - c_skip x_t) / c_out, at every level that training draws, the last included."""
    process = make(prediction)
    x_0, x_1 = M_0, draw(jax.random.key(1), 1)[0]
    for t in (1, 500, T):
        level = process.level(t)
        c = process.coefficients(level)
        x_t = level.alpha * x_0 + level.sigma * x_1
        output = (x_0 - c.c_skip * x_t) / c.c_out
        np.testing.assert_allclose(c.c_skip * x_t + c.c_out * output, x_0, atol=1e-4)
        assert jnp.abs(output).max() < 10


def test_edm_gives_the_network_an_input_of_unit_variance_from_any_source():
    source = Source(Partial(draw), jnp.float32(30.0))
    process = make_process(make_schedule("flow", T), source=source)
    for t in (1, 300, T):
        level = process.level(t)
        variance = level.alpha**2 + (30 * level.sigma) ** 2
        np.testing.assert_allclose(process.coefficients(level).c_in ** 2 * variance, 1, rtol=1e-5)
