"""The causal transformer: what a context depends on, and its cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.base import PointSets
from tiny_diffusion_jax.models import make_model

B, N = 2, 7
POINTS = np.float32(np.random.default_rng(0).normal(size=(B, N, 2)))
LABEL = np.array([1, 0])


@functools.cache
def network():
    config = default_config().model
    config.update(name="causal", hidden_dim=16, num_blocks=1, num_frequencies=4, time_frequencies=4,
                  num_heads=2, context_dim=16, context_blocks=2, labels=True, scale=3.0,
                  max_period=4.0)  # fmt: skip
    model = make_model(config, 2)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 2, 2)), jnp.zeros(1))
    )
    noise = np.random.default_rng(1)
    weight = lambda p: np.float32(noise.normal(size=p.shape) * max(p.shape[0], 4) ** -0.5)
    return model, jax.tree.map(weight, shapes), jax.jit(
        model.apply, static_argnames=("method", "num_sets", "places"))  # fmt: skip


def contexts(points=POINTS, label=LABEL):
    _, params, apply = network()
    return np.asarray(apply(params, points, label=label, method="contexts"))


def test_a_context_is_of_the_points_before_it():
    before = contexts()
    assert before.shape == (B, N, 16)
    for j in (0, 3, N - 1):
        moved = POINTS.copy()
        moved[:, j] += 1
        change = np.abs(contexts(moved) - before).max(-1)
        np.testing.assert_allclose(change[:, : j + 1], 0, atol=1e-6)
        assert (change[:, j + 1 :] > 1e-3).all()


def test_every_context_knows_the_label():
    assert np.abs(contexts(label=LABEL[::-1].copy()) - contexts()).max(-1).min() > 1e-3


@pytest.mark.parametrize("parts", [(1,) * 6, (2, 4), (6,)])
def test_a_cache_gives_the_same_contexts_in_parts_of_any_size(parts):
    _, params, apply = network()
    cache, first = apply(params, num_sets=B, places=N, label=LABEL, method="begin")
    found, number = [first], 0
    for size in parts:
        points = POINTS[:, number : number + size]
        cache, later = apply(params, cache, points, number, label=LABEL, method="extend")
        found.append(later)
        number += size
    np.testing.assert_allclose(np.concatenate(found, axis=1), contexts(), atol=2e-5)


def test_a_history_is_read_as_the_points_so_far():
    _, params, apply = network()
    x, time = POINTS[:, :3] / 2, np.float32([0.2, 0.7])
    shown = np.arange(N) < np.array([[4], [0]])
    by_history = apply(params, x, time, history=PointSets(POINTS, shown), label=LABEL)
    latent = contexts()[[0, 1], [4, 0]][:, None]
    np.testing.assert_allclose(apply(params, x, time, latent=latent), by_history, atol=2e-5)


def test_each_point_is_denoised_with_its_own_context_and_level():
    _, params, apply = network()
    time = np.random.default_rng(2).random((B, N)).astype(np.float32)
    every = np.asarray(apply(params, POINTS, time, latent=contexts()))
    for i in range(N):
        one = apply(params, POINTS[:, i : i + 1], time[:, i], latent=contexts()[:, i : i + 1])
        np.testing.assert_allclose(every[:, i : i + 1], one, atol=2e-5)
