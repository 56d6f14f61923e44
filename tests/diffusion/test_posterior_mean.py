"""Check the averaged targets against E[x_0 | x_t] in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tiny_diffusion_jax.api import assemble
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data import build
from tiny_diffusion_jax.diffusion.posterior_mean import group_sizes, posterior_mean
from tiny_diffusion_jax.diffusion.process import Level, add_noise, loss_per_set, make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule

STD = np.array([1.5, 0.5])


def level(sigma, num_sets: int) -> Level:
    sigma = jnp.broadcast_to(jnp.float32(sigma), num_sets)
    return Level(jnp.zeros(num_sets), jnp.full(num_sets, 0.8), sigma)


def gaussian_batch(seed: int, shape):
    data_key, eps_key = jax.random.split(jax.random.key(seed))
    return STD * jax.random.normal(data_key, shape), jax.random.normal(eps_key, shape)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 5.0])
def test_the_mean_of_a_gaussian_has_its_closed_form(sigma):
    """E[x_0 | x_t] = alpha s^2 x_t / (alpha^2 s^2 + sigma^2), estimated from 2,048 points."""
    x_0, eps = gaussian_batch(0, (32, 64, 2))
    at = level(sigma, 32)
    exact = 0.8 * STD**2 * add_noise(at.expand(), x_0, eps) / (0.64 * STD**2 + sigma**2)
    mean = posterior_mean(at, x_0, eps, 2048)
    error, own = (np.sqrt(np.mean((np.asarray(a) - exact) ** 2)) for a in (mean, x_0))
    assert error < {0.05: 0.9, 0.3: 0.45, 1.0: 0.15, 5.0: 0.1}[sigma] * own
    bias = np.mean((np.asarray(mean) - exact) * np.sign(exact), axis=(0, 1))
    assert np.abs(bias).max() < 0.02


def test_groups_are_the_same_as_a_loop_over_points():
    """A batch that does not split evenly is padded, and padding has no weight."""
    x_0, eps = gaussian_batch(1, (11, 3, 2))
    at = level(np.geomspace(0.002, 12, 11), 11)
    mean = np.asarray(posterior_mean(at, x_0, eps, 10)).reshape(33, 2)
    x_t, flat = np.asarray(add_noise(at.expand(), x_0, eps)).reshape(33, 2), x_0.reshape(33, 2)
    sigma = np.repeat(np.asarray(at.sigma), 3)
    for i in range(33):
        group = np.asarray(flat[i // 9 * 9 : i // 9 * 9 + 9], np.float64)  # 4 groups of 9
        log_weight = -np.sum((x_t[i] - 0.8 * group) ** 2, axis=1) / (2 * sigma[i] ** 2)
        weight = np.exp(log_weight - log_weight.max())
        np.testing.assert_allclose(mean[i], weight @ group / weight.sum(), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(("num", "most", "expected"), [
    (512, 1024, (1, 512)), (1025, 1024, (2, 513)), (33, 10, (4, 9)),
])  # fmt: skip
def test_groups_are_equal_and_at_most_as_large_as_allowed(num, most, expected):
    groups, size = group_sizes(num, most)
    assert (groups, size) == expected and size <= most and groups * size >= num


def test_a_group_of_one_point_has_its_own_target():
    x_0, eps = gaussian_batch(2, (4, 5, 2))
    np.testing.assert_array_equal(posterior_mean(level(0.5, 4), x_0, eps, 1), x_0)


def test_the_mean_is_the_target_of_the_gradient_only():
    """The value is the loss of x_0, and the exact mean has nearly the same gradient."""
    process = make_process(make_schedule("karras", 100))
    x_0, eps = gaussian_batch(3, (64, 64, 2))
    t = jnp.full(64, 60)
    at = process.level(t).expand()
    exact = at.alpha * STD**2 * add_noise(at, x_0, eps) / (at.alpha**2 * STD**2 + at.sigma**2)
    linear = lambda weights, x, time, conditioning: x @ weights

    def value_and_grad(mean=None, x_0=x_0, eps=eps):
        loss = lambda weights: loss_per_set(process, linear, weights, x_0, eps, t, mean=mean).mean()
        return jax.value_and_grad(loss)(jnp.eye(2))

    own, averaged, ideal = map(value_and_grad, (
        None, posterior_mean(process.level(t), x_0, eps, 4096), exact))  # fmt: skip
    np.testing.assert_allclose([averaged[0], ideal[0]], own[0], rtol=1e-5)
    error = lambda gradient: np.abs(gradient - ideal[1]).max()
    assert error(averaged[1]) < 0.2 * error(own[1])


@pytest.mark.parametrize(("data", "options", "expected"), [
    ("moons", {}, 1024),
    ("moons", {"train.references": 0}, 0),
    ("moons", {"train.pairs": "optimal", "schedule.name": "flow"}, 0),
    ("moons", {"data.start": "circle", "schedule.name": "flow"}, 0),
    ("moons", {"model.name": "history"}, 0),
    ("mixture", {"data.members": "moons+circle"}, 0),
    ("points", {"data.path": "examples/points.csv"}, 0),
    ("points", {"data.path": "examples/points.csv", "data.jitter": "gaussian",
                "data.jitter_std": 0.1}, 1024),
])  # fmt: skip
def test_only_points_of_one_density_share_targets(data, options, expected):
    """The points of a batch are then draws of one law, whatever their sets.

    A network would memorise rows without jitter.
    """
    config = default_config(options.get("model.name", "fourier_mlp"))
    config.data.name = data
    config.update_from_flattened_dict(options)
    assert assemble(config, build(config.data)).process.references == expected
