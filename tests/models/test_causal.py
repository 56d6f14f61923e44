"""Check the causal transformer: its cache, the inputs of a context, and given points."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.diffusion.process import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.models import layers, make_model
from tiny_diffusion_jax.models.causal import Context
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.sets import causal
from tiny_diffusion_jax.sets.batch import Batch

B, N = 2, 7
POINTS = np.float32(np.random.default_rng(0).normal(size=(B, N, 2)))
LABEL = np.array([1, 0])


@functools.cache
def network():
    config = default_config().model
    config.update(name="causal", hidden_dim=16, num_blocks=1, num_frequencies=4, time_frequencies=4,
                  num_heads=2, context_dim=16, context_blocks=2, labels=True, scale=3.0,
                  max_period=4.0, relative=True)  # fmt: skip
    model = make_model(config, 2)
    return model, random_weights(model, seed=1), jax.jit(
        model.apply, static_argnames=("method", "num_sets", "capacity"))  # fmt: skip


def contexts(points=POINTS, label=LABEL):
    _, params, apply = network()
    return jax.tree.map(np.asarray, apply(params, points, Conditioning(label), method="contexts"))


def heads(context, x, time):
    """Output of the head for x f32[B, N, 2] with one context, or with one context per point."""
    _, params, apply = network()
    return np.asarray(apply(params, x, time, Conditioning(latent=context)))


@pytest.mark.parametrize("embedding", ["sinusoidal", "identity"])
def test_a_set_of_one_point_has_the_first_context_of_any_set(embedding):
    config = default_config().model
    config.update(name="causal", embedding=embedding, context_dim=8, context_blocks=1, num_heads=2)
    model = make_model(config, 0)
    params = random_weights(model)
    apply = jax.jit(functools.partial(model.apply, method="contexts"))
    many, one = apply(params, POINTS), apply(params, POINTS[:, :1])
    np.testing.assert_allclose(one.per_layer, many.per_layer[:, :1], atol=1e-6)
    np.testing.assert_allclose(one.keys, many.keys[:, :1], atol=1e-6)


def test_a_context_depends_on_the_points_before_it():
    before = contexts()
    assert before.per_layer.shape == (B, N, 2, 32)
    x, time = POINTS[:, ::-1] / 2, np.full(B, 0.3, np.float32)
    drawn = heads(before, x, time)
    for j in (0, 3, N - 1):
        moved = POINTS.copy()
        moved[:, j] += 1
        after = contexts(moved)
        difference = np.abs(after.per_layer - before.per_layer)
        for change in (difference.max(-1), np.abs(heads(after, x, time) - drawn)):
            np.testing.assert_allclose(change[:, : j + 1], 0, atol=1e-6)
            assert (change.max(-1)[:, j + 1 :] > 1e-3).all()


def test_the_head_attends_to_the_points_so_far_and_to_no_other():
    context, time = contexts(), np.full(B, 0.3, np.float32)
    x = POINTS[:, ::-1] / 2
    drawn = heads(context, x, time)
    for name in ("keys", "values"):
        for j in (0, 3, N - 1):  # contexts from point j on contain token j
            moved = getattr(context, name).copy()
            moved[:, j] += 1
            change = np.abs(heads(context._replace(**{name: moved}), x, time) - drawn)
            np.testing.assert_allclose(change[:, :j], 0, atol=1e-6)
            # attention to a single key does not depend on the key
            later = change[:, max(j, 1) :] if name == "keys" else change[:, j:]
            assert (later.max(-1) > 1e-6).all()


def test_every_context_depends_on_the_label():
    change = contexts(label=LABEL[::-1].copy()).per_layer - contexts().per_layer
    assert np.abs(change).max(-1).min() > 1e-3


@pytest.mark.parametrize("parts", [(1,) * 6, (2, 4), (6,)])
def test_a_cache_gives_the_same_contexts_in_parts_of_any_size(parts):
    _, params, apply = network()
    conditioning = Conditioning(LABEL)
    cache, context = apply(
        params, num_sets=B, capacity=N, conditioning=conditioning, method="begin"
    )
    results, number = [context], 0
    for size in parts:
        points = POINTS[:, number : number + size]
        cache, context = apply(params, cache, points, number, conditioning, method="extend")
        results.append(context)
        number += size
    expected = contexts()
    per_layer = np.concatenate([context.per_layer for context in results], axis=1)
    np.testing.assert_allclose(per_layer, expected.per_layer, atol=2e-5)
    np.testing.assert_allclose(context.keys, expected.keys, atol=2e-5)
    np.testing.assert_allclose(context.values, expected.values, atol=2e-5)
    seen = np.concatenate([context.seen for context in results], axis=1)
    np.testing.assert_array_equal(seen, expected.seen)


def test_a_set_grows_after_the_last_of_several_points():
    model, params, _ = network()
    conditioning = Conditioning(LABEL)

    def after(*parts, empty=0):
        cache, context = causal._begin(model, params, conditioning, num_sets=B, slots=64)
        for start, end in itertools.pairwise(parts):
            points = np.pad(POINTS[:, start:end], ((0, 0), (0, empty), (0, 0)), constant_values=9.0)
            cache, context = causal._extend(model, params, cache, points, start, end - start,
                                            conditioning, slots=N)  # fmt: skip
        return context

    one_by_one = after(0, 1, 2, 3, 4)
    for name, array in after(0, 1, 4)._asdict().items():
        np.testing.assert_allclose(array, getattr(one_by_one, name), atol=2e-5, err_msg=name)
    # points in the empty slots of a block are neither read nor kept
    padded = after(0, 2, 4, empty=2)
    np.testing.assert_allclose(padded.per_layer, one_by_one.per_layer, atol=2e-5)
    np.testing.assert_array_equal(padded.seen, one_by_one.seen)
    for name in ("keys", "values"):
        filled = lambda context, name=name: getattr(context, name)[:, :5]  # the start and 4 points
        np.testing.assert_allclose(filled(padded), filled(one_by_one), atol=2e-5)
    assert np.abs(after(0, 1).per_layer - one_by_one.per_layer).max() > 1e-2


def test_a_history_is_read_as_the_points_so_far():
    _, params, apply = network()
    x, time = POINTS[:, :3] / 2, np.float32([0.2, 0.7])
    history = PointSets(POINTS, np.arange(N) < np.array([[4], [0]]))
    by_history = apply(params, x, time, Conditioning(LABEL, history=history))
    latent = Context(*contexts()).at(jnp.array([[4], [0]]))
    np.testing.assert_allclose(heads(latent, x, time), by_history, atol=2e-5)


def test_each_point_is_denoised_with_its_own_context_and_level():
    time = np.random.default_rng(2).random((B, N, 2)).astype(np.float32)
    x = np.stack([POINTS, POINTS[:, ::-1]], axis=2)  # two noisy points per context
    outputs = heads(contexts(), x.reshape(B, 2 * N, 2), time.reshape(B, 2 * N)).reshape(x.shape)
    for i in range(N):
        one = Context(*contexts()).at(jnp.full((B, 1), i))
        np.testing.assert_allclose(outputs[:, i],
 heads(one, x[:, i], time[:, i]), atol=2e-5)


# ---------------------------------------------------------------- relative positions


@pytest.mark.parametrize("size, heads, dim", [(24, 2, 2), (12, 4, 3), (10, 2, 1)])
def test_rotated_products_depend_on_the_difference_of_the_points(size, heads, dim):
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, size)).astype(np.float32)
    x, y, move = rng.normal(size=(3, dim)).astype(np.float32)
    rotated = lambda a, x: layers.rotate(a, x, heads, 8.0, 100.0)

    def products(x, y):  # of each head
        a, b = rotated(q, x).reshape(heads, -1), rotated(k, y).reshape(heads, -1)
        return (a * b).sum(1)

    np.testing.assert_allclose(products(x + move, y + move), products(x, y), atol=1e-5)
    np.testing.assert_allclose(products(x, x), (q * k).reshape(heads, -1).sum(1), atol=1e-5)
    for axis in range(dim):
        assert np.abs(products(x, y + np.eye(dim)[axis]) - products(x, y)).max() > 0.1
    back = rotated(rotated(k, y), -x)
    np.testing.assert_allclose(back, rotated(k, y - x), atol=1e-5)
    np.testing.assert_allclose(rotated(back, x - y), k, atol=1e-5)


def test_the_head_attends_to_points_relative_to_its_point():
    """The head without features of its point does not see that all points move together."""
    model, params, _ = network()
    trunk = dict(params["params"]["trunk"])
    for name in ("from_features", "fade"):
        trunk[name] = jax.tree.map(jnp.zeros_like, trunk[name])
    rng = np.random.default_rng(3)
    keys, values = rng.normal(size=(2, B, N, 16)).astype(np.float32)
    seen = jnp.ones((B, N), bool)

    def drawn(move, relative=True):
        network = model.trunk.clone(relative=relative)
        turned = [model.trunk.rotated(a, POINTS + move) for a in (keys, values)]
        return np.asarray(network.apply(
            {"params": trunk}, POINTS[:, ::-1] / 2 + move, jnp.full(B, 0.3),
            attended=(*turned, seen)))  # fmt: skip

    move = np.float32([0.4, -0.9])
    np.testing.assert_allclose(drawn(move), drawn(0 * move), atol=1e-5)
    assert np.abs(drawn(move, False) - drawn(0 * move, False)).max() > 1e-3


# ---------------------------------------------------------------- given points


@functools.cache
def network_of_rows():
    config = default_config().model
    config.update(name="causal", hidden_dim=16, num_blocks=1, num_frequencies=4, time_frequencies=4,
                  num_heads=2, context_dim=16, context_blocks=2, order="rows:1", given_share=0.5,
                  scale=3.0, max_period=4.0)  # fmt: skip
    model = make_model(config)
    return model, random_weights(model, seed=1), jax.jit(
        model.apply, static_argnames=("method", "num_sets", "capacity", "given"))  # fmt: skip


def contexts_of_rows(points, given):
    _, params, apply = network_of_rows()
    conditioning = Conditioning(given=jnp.asarray(given))
    return np.asarray(apply(params, points, conditioning, method="contexts").per_layer)


def test_given_points_are_read_at_once_as_in_training():
    _, params, apply = network_of_rows()
    given = (4, 0)
    found = contexts_of_rows(POINTS, given)
    for points, h, expected in zip(POINTS[:, None], given, found, strict=True):
        cache, context = apply(params, num_sets=1, capacity=N, method="begin")
        if h:
            cache, context = apply(params, cache, points[:, :h], 0, given=True, method="extend")
        drawn = [context.per_layer[:, -1]]
        for i in range(h, N - 1):
            cache, context = apply(params, cache, points[:, i : i + 1], i, method="extend")
            drawn.append(context.per_layer[:, -1])
        np.testing.assert_allclose(np.concatenate(drawn), expected[h:], atol=1e-5)


def test_a_context_depends_on_all_given_points_and_on_the_points_before_it():
    given, before = (3, 3), contexts_of_rows(POINTS, (3, 3))
    for j in range(N):
        moved = POINTS.copy()
        moved[:, j] += 1
        change = np.abs(contexts_of_rows(moved, given) - before).max((2, 3))
        np.testing.assert_allclose(change[:, 3 : j + 1], 0, atol=1e-6)  # not on later points
        assert (change[:, max(3, j + 1) :] > 1e-3).all()
    assert np.abs(contexts_of_rows(POINTS, (0, 0)) - before)[:, 4:].max() > 1e-3


def test_the_loss_repeats_the_points_that_are_not_given():
    """The loss of a place equals the loss of the place that it repeats."""
    model, params, apply = network_of_rows()
    strategy, K = causal.Causal(model), 1
    process = make_process(make_schedule("karras", 1000))
    loss = lambda given, eps, t: np.asarray(strategy.loss(process, apply, params, Batch(
        POINTS, eps, t, Conditioning(given=jnp.array(given)))))  # fmt: skip
    eps = np.random.default_rng(1).normal(size=(B, N, K, 2)).astype(np.float32)
    t = np.full((B, N, K), 400, np.int32)
    eps[:, :2] = eps[:, 5:]  # places 0 and 1 repeat points 5 + (0, 1) mod 2
    found = loss((5, 5), eps, t)
    np.testing.assert_allclose(found[:, :2], found[:, 5:], rtol=1e-4)
    assert (np.abs(found[:, 5:] / loss((0, 0), eps, t)[:, 5:] - 1) > 1e-4).all()
