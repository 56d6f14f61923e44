"""Check the generation of sets with networks whose points are known exactly, and with real ones.

The simple networks predict x_0, so a deterministic sampler ends in their output at the last level.
"""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT
from weights import random_weights

from tiny_diffusion_jax import api, devices, diffusion, sampling
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.config_files import load_config
from tiny_diffusion_jax.data.label_option import NO_LABEL
from tiny_diffusion_jax.diffusion import samplers
from tiny_diffusion_jax.models.layers import read_history
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import PointSets
from tiny_diffusion_jax.sets import causal, independent, latent, strategy_of
from tiny_diffusion_jax.sets.autoregressive import block_sizes
from tiny_diffusion_jax.sets.chunks import chunk_size

TINY = {
    "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4,
    "model.time_frequencies": 4, "model.num_heads": 2, "model.num_inducing": 2,
    "model.scale": 1.0, "model.max_period": 1.0,  # smooth features keep rounding errors small
    "model.latent_dim": 4, "train.num_points": 4, "train.num_sets": 4,
    "model.context_dim": 8, "train.min_history": 1, "train.max_history": 64,
    "sample.num_steps": 4, "sample.num_sets": 3,
    "sample.num_points": 16, "sample.first_block": 8, "sample.growth": 1.0,
    "sample.sampler": "dpm++2m",
}  # fmt: skip
STRATEGIES = {"joint": "set_transformer", "autoregressive": "history", "causal": "causal",
              "latent": "set_latent"}  # fmt: skip


def config_of(model, **changes):
    config = load_config(f"{ROOT}/configs/mixture.py:moons+circle", model)
    config.update_from_flattened_dict(TINY)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


@functools.cache
def untrained(strategy, **changes):
    """(experiment, random weights)."""
    setup = api.build(config_of(STRATEGIES[strategy], **changes))
    return setup, random_weights(setup.model)


def sample(strategy, given=None, labels=None, keep_trajectory=False, **changes):
    setup, params = untrained(strategy)
    config = editable(setup.config.sample)
    config.update(changes)
    return sampling.sample(setup, params, config, keep_trajectory, given=given, labels=labels)


class Fake(NamedTuple):
    """A network with the output `answer(x, history, label)` for every point, broadcast."""

    answer: Callable
    history_source: str = ""
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self):
        strategy = "autoregressive" if self.history_source else "joint"
        return Traits(strategy, 10, history_source=self.history_source, completes=True)

    def apply(self, params, x, time, conditioning, method=None):
        history = read_history(conditioning.history, len(x), x.shape[-1])
        return jnp.broadcast_to(self.answer(x, history, conditioning.label), x.shape)


def fake(answer, history_source="", num_labels=0, max_history=64, **changes):
    """Sets f32[num_sets, num_points, 2] of a fake network; the data are a mixture of two."""
    setup, _ = untrained("autoregressive")
    setup = setup._replace(
        config=editable(setup.config),
        model=Fake(answer, history_source, num_labels),
        process=diffusion.make_process(setup.process.schedule, "x0"),
        dataset=with_labels(setup.dataset, num_labels),
    )  # fmt: skip
    setup.config.train.max_history = max_history
    setup.config.model.labels = num_labels > 0
    config = setup.config.sample
    config.update(sampler="ddim", num_points=6, num_steps=2, first_block=1, growth=1.0)
    given, labels = changes.pop("given", None), changes.pop("labels", None)
    config.update(changes)
    return sampling.sample(setup, None, config, given=given, labels=labels)


def with_labels(dataset, num_labels):
    """`dataset` with labels 0, 1, ...; almost all draws have the first or the second label."""
    weights = np.array([0.3, 0.7] + [1e-9] * (num_labels - 2), np.float32)
    return dataset.replace(
        weights=weights, num_labels=len(weights), label_names=tuple(map(str, range(len(weights)))),
        label_options=())  # fmt: skip


def sum_of_history(x, history, label):
    """1 + the sum of the points of the history, independent of x."""
    points, mask = history
    return 1 + jnp.where(mask[..., None], points, 0).sum(1, keepdims=True)


def label_only(x, history, label):
    return 0.0 if label is None else label[:, None, None]


def label_or_minus_one(x, history, label):
    return -1.0 if label is None else label[:, None, None]


def both(x, history, label):
    return sum_of_history(x, history, label) + label_only(x, history, label)


sums = functools.partial(fake, sum_of_history, "same_set")


def columns(x):
    """First coordinate of each point f[B, N]; both coordinates of these networks are equal."""
    np.testing.assert_allclose(x[..., 0], x[..., 1], rtol=1e-6)
    return x[..., 0]


# ---------------------------------------------------------------- the sizes of blocks


@pytest.mark.parametrize("num_points, filled, first, growth, expected", [
    (5, 0, 1, 1.0, [1, 1, 1, 1, 1]),
    (7, 0, 3, 1.0, [3, 3, 1]),
    (40, 0, 1, 2.0, [1, 1, 2, 4, 8, 16, 8]),
    (20, 0, 1, 1.5, [1, 1, 1, 1, 2, 3, 4, 6, 1]),
    (100, 0, 4, 3.0, [4, 8, 24, 64]),
    (100, 10, 1, 2.0, [10, 20, 40, 20]),
    (9, 8, 4, 1.5, [1]),
    (9, 9, 1, 2.0, []),
    (9, 0, 1, 1e300, [1, 8]),
])  # fmt: skip
def test_blocks_grow_and_fill_the_set(num_points, filled, first, growth, expected):
    options = SimpleNamespace(first_block=first, growth=growth, burn_in=0)
    burned, sizes = block_sizes(options, num_points, filled)
    assert burned == [] and sizes == expected and filled + sum(sizes) == num_points


# ---------------------------------------------------------------- autoregressive generation


def test_the_history_of_each_point_holds_all_earlier_points():
    """The sums 1, 1 + 1, 1 + 1 + 2, ... need every earlier point exactly once in the history."""
    expected = np.tile([1.0, 2, 4, 8, 16, 32], (3, 1))
    np.testing.assert_allclose(columns(sums()), expected, rtol=1e-5)


def test_the_history_of_a_block_holds_the_earlier_blocks():
    """Generate blocks of 1, 1, 2 and 2 points."""
    expected = np.tile([1.0, 2, 4, 4, 12, 12], (3, 1))
    np.testing.assert_allclose(columns(sums(growth=2.0)), expected, rtol=1e-5)


@pytest.mark.parametrize("longest, expected", [
    (1, [1, 2, 3, 4, 5, 6]), (2, [1, 2, 4, 7, 12, 20]), (3, [1, 2, 4, 8, 15, 28])])
def test_a_long_history_is_cut_to_its_last_points(longest, expected):
    drawn = columns(sums(max_history=longest, num_sets=1))
    np.testing.assert_allclose(drawn, [expected], rtol=1e-5)


def test_a_set_grows_from_the_given_points():
    drawn = columns(sums(given=np.array([[10.0, 10.0], [3.0, 3.0]])))
    np.testing.assert_allclose(drawn, np.tile([10, 3, 14, 28, 56, 112], (3, 1)), rtol=1e-5)


def test_autoregressive_generation_by_hand():
    """Run the reverse process block by block, with the noise of each set and block."""
    def answer(x, history, label):
        points, mask = history
        # an extra point in the history would change this number
        size = jnp.maximum(mask.sum(1), 1)[:, None, None]
        mean = jnp.where(mask[..., None], points, 0).sum(1, keepdims=True) / size
        return jnp.tanh(3 * x) + mean

    drawn = fake(answer, "same_set", sampler="ancestral", num_steps=5, num_points=13,
                 first_block=5, seed=3)  # fmt: skip
    process = diffusion.make_process(untrained("autoregressive")[0].process.schedule, "x0")
    grid = jnp.asarray(samplers.time_grid(process.schedule, 5))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(3))
    points = np.zeros((3, 0, 2), np.float32)
    # the blocks are padded to 8, 8 and 4 points, which must not change the points
    for number, size in enumerate([5, 5, 3]):
        history = read_history(PointSets(points), 3, 2)
        denoise = lambda x, level, history=history: answer(x, history, None)
        draw = jax.jit(lambda keys, denoise=denoise, size=size: samplers.sample(
            process, samplers.make_sampler("ancestral"), denoise, grid, keys, (size, 2)))
        block = draw(jax.vmap(jax.random.fold_in, (0, None))(keys, number))
        points = np.concatenate([points, block], axis=1)
    np.testing.assert_allclose(drawn, points, atol=1e-5)
    assert np.std(points) > 0.1


class FakeLatent(NamedTuple):
    """A prior that predicts x_t, an encoder that returns the mean, points equal to the latent."""

    num_labels: int = 0
    counts: bool = False
    latent_dim: int = 2
    latent_noise: float = 0.0
    traits: Traits = Traits("latent", 10, completes=True)

    def apply(self, params, x, time=None, conditioning=None, method=None):
        if method == "encode":
            return x.points.mean(1, keepdims=True)
        return x if method == "prior" else jnp.broadcast_to(conditioning.latent, x.shape)


def test_latents_start_from_noise_in_the_units_of_latents():
    """Latents have mean 0 and variance 1 for any data; one step of this prior keeps x_T."""
    setup, _ = untrained("autoregressive")
    schedule = setup.process.schedule
    process = diffusion.make_process(schedule, "x0", sigma_data=3.0,
                                     data_mean=jnp.array([140.0, -50.0]))  # fmt: skip
    config = editable(setup.config.sample)
    config.update(sampler="ddim", num_sets=500, num_points=2, num_steps=1, label=-2)
    setup = setup._replace(model=FakeLatent(), process=process)
    z = setup.dataset.normalize(sampling.sample(setup, None, config))
    np.testing.assert_array_equal(z[:, 0], z[:, 1])
    spread = float(np.hypot(schedule.alpha[-1], schedule.sigma[-1]))
    np.testing.assert_allclose(z[:, 0].mean(0), 0, atol=4 * spread / 500**0.5)
    np.testing.assert_allclose(z[:, 0].std(0), spread, rtol=0.13)  # four standard errors


def test_a_completed_set_has_the_latent_of_all_given_points():
    setup, _ = untrained("autoregressive")
    config = editable(setup.config.sample)
    config.update(sampler="ddim", num_sets=2, num_points=5, num_steps=2, label=-2)
    process = diffusion.make_process(setup.process.schedule, "x0")
    setup = setup._replace(model=FakeLatent(), process=process)
    given = np.array([[0.0, 1.0], [2.0, 3.0], [7.0, -1.0]])
    drawn = sampling.sample(setup, None, config, given=given)
    np.testing.assert_allclose(drawn, [[*given, [3, 1], [3, 1]]] * 2, atol=1e-5)


# ---------------------------------------------------------------- guidance and labels


def test_guidance_by_the_history():
    """F = 1 + g (sum of the history), because F = 1 without a history."""
    def expected(g):
        points = []
        for _ in range(6):
            points.append(1 + g * sum(points))
        return [points] * 3

    for g in (0.0, 0.5, 1.7):
        drawn = columns(sums(guidance_scale=g))
        np.testing.assert_allclose(drawn, expected(g), rtol=1e-5)
    np.testing.assert_array_equal(sums(guidance_scale=1.0), sums())
    np.testing.assert_allclose(columns(sums(guidance_scale=1.0)), expected(1.0), rtol=1e-5)


def test_guidance_by_the_label():
    for label, g in [(0, 3.0), (2, 1.0), (2, 3.0), (2, 0.0)]:
        drawn = fake(label_only, num_labels=3, label=label, guidance_scale=g)
        np.testing.assert_allclose(drawn, label * g, atol=1e-5)


def test_with_a_label_the_history_has_no_guidance():
    """Both sides of the guidance have the history, so F = 1 + sum + g label."""
    drawn = columns(fake(both, "same_set", 3, label=2, guidance_scale=5.0, num_points=3))
    np.testing.assert_allclose(drawn, [[11, 22, 44]] * 3, rtol=1e-5)


def test_each_set_has_a_label():
    drawn = fake(label_only, num_labels=3, labels=np.array([2, 0, 1]))
    np.testing.assert_allclose(columns(drawn), [[2] * 6, [0] * 6, [1] * 6], atol=1e-5)
    same = fake(label_only, num_labels=3, label=1)
    np.testing.assert_array_equal(same, fake(label_only, num_labels=3, labels=np.full(3, 1)))
    unnamed = fake(label_or_minus_one, num_labels=3, label=NO_LABEL)
    np.testing.assert_allclose(unnamed, -1, atol=1e-5)


def test_random_labels_are_as_frequent_as_in_the_data():
    draw = functools.partial(fake, label_only, num_labels=2, num_points=1, num_steps=1)
    many = columns(draw(num_sets=2000))[:, 0]
    assert set(np.round(many, 4)) == {0, 1}
    assert np.mean(many) == pytest.approx(0.7, abs=0.04)  # four standard errors
    np.testing.assert_array_equal(many[:50], columns(draw(num_sets=50))[:, 0])
    assert not np.array_equal(many[:50], columns(draw(num_sets=50, seed=9))[:, 0])


def test_a_completed_set_has_no_random_label():
    """A random label may not fit the given points; a requested label is used."""
    given = np.zeros((2, 2))
    np.testing.assert_allclose(
        fake(label_or_minus_one, num_labels=2, given=given)[:, 2:], -1, atol=1e-5)
    np.testing.assert_allclose(
        fake(label_only, num_labels=2, given=given, label=1)[:, 2:], 1.0, atol=1e-5)


# ---------------------------------------------------------------- real networks, all strategies


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_set_depends_on_seed_and_number_only(strategy, monkeypatch):
    few = sample(strategy)
    assert few.shape == (3, 16, 2) and few.dtype == np.float32
    many = sample(strategy, num_sets=7)
    np.testing.assert_allclose(many[:3], few, atol=1e-4)
    assert np.abs(many[:3] - many[4:]).max(axis=(1, 2)).min() > 0.1
    assert np.abs(sample(strategy, seed=2) - few).max() > 0.1
    # one megabyte holds three sets, and seven sets do not divide into chunks of three
    setup, _ = untrained(strategy)
    traits = setup.model.traits._replace(floats_per_point=2**17 // 56)
    monkeypatch.setattr(type(setup.model), "traits", traits)
    in_memory = strategy_of(setup.model).points_in_memory(16)
    # chunks one after another on one core, and three at once on three cores
    for cores in (1, 3):
        monkeypatch.setattr(devices, "num_cores", lambda cores=cores: cores)
        assert chunk_size(traits, 7, in_memory, 16, cores, devices.make_mesh()) == 3
        np.testing.assert_allclose(sample(strategy, num_sets=7, memory_mb=cores), many, atol=1e-4)


def test_the_head_reads_all_filled_slots_of_the_cache(monkeypatch):
    expected = sample("causal")
    monkeypatch.setattr(causal, "CACHE_BLOCK", 4)  # several blocks for sets of 16 points
    np.testing.assert_allclose(sample("causal"), expected, atol=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_given_points_are_the_first_points(strategy):
    given = np.array([[0.5, -1.0], [2.0, 0.25], [-0.125, 0.0]], np.float32)
    drawn = sample(strategy, given=given)
    assert drawn.shape == (3, 16, 2) and np.isfinite(drawn).all()
    np.testing.assert_allclose(drawn[:, :3], np.stack([given] * 3), atol=1e-6)
    rest = drawn[:, 3:]
    assert min(np.abs(rest[i] - rest[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.05
    # the given points change the generated points
    assert np.abs(sample(strategy, given=given + 1)[:, 3:] - rest).max() > 1e-3
    trajectory = sample(strategy, given=given, keep_trajectory=True)
    assert trajectory.shape == (5, 3, 16, 2)
    np.testing.assert_allclose(trajectory[-1], drawn, atol=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_trajectory_starts_from_noise_and_ends_in_the_samples(strategy):
    trajectory = sample(strategy, keep_trajectory=True, num_sets=40)
    assert trajectory.shape == (5, 40, 16, 2)
    np.testing.assert_allclose(trajectory[-1, :3], sample(strategy), atol=1e-4)
    setup, _ = untrained(strategy)
    schedule = setup.process.schedule
    prior_std = float(setup.process.prior(schedule.alpha[-1], schedule.sigma[-1])[1]) ** 0.5
    noise = np.asarray(setup.dataset.normalize(trajectory[0])) / prior_std
    assert noise.mean() == pytest.approx(0, abs=0.12)  # 4 standard errors
    assert noise.std() == pytest.approx(1, abs=0.08)
    # every point starts from different noise, in every block
    assert len(np.unique(noise)) == noise.size


def test_samples_are_in_the_units_of_the_data():
    """Shift and scale the data: the history is normalised, generated points are in own units."""
    setup, params = untrained("autoregressive")
    moved = setup.dataset.replace(shift=jnp.array([5.0, -1.0]), scale=jnp.float32(2.0))
    far = sampling.sample(setup._replace(dataset=moved), params)
    plain = sampling.sample(setup, params)
    np.testing.assert_allclose(far, 2 * plain + np.array([5, -1]), atol=1e-4)
    given = np.array([[7.0, 1.0]])
    far = sampling.sample(setup._replace(dataset=moved), params, given=given)
    plain = sampling.sample(setup, params, given=np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(far, 2 * plain + np.array([5, -1]), atol=1e-4)


def test_independent_points_are_drawn_in_parts(monkeypatch):
    one_part = sample("latent", num_points=8)
    for module in (independent, latent):
        monkeypatch.setattr(module, "PART", 8)
    parts = sample("latent", num_points=21)
    assert parts.shape == (3, 21, 2)
    np.testing.assert_allclose(parts[:, :8], one_part, atol=1e-4)
    assert len(np.unique(parts[..., 0])) == 63  # each part has different noise
    given = np.ones((5, 2))
    completed = sample("latent", num_points=21, given=given)
    assert completed.shape == (3, 21, 2) and (completed[:, :5] == 1).all()


def test_one_label_for_all_sets_equals_a_label_for_each_set():
    changes = dict(model__labels=True)
    setup, params = untrained("joint", **changes)
    config = editable(setup.config.sample)
    config.update(label=1, guidance_scale=2.0)
    named = sampling.sample(setup, params, config)
    config.label = -2
    each = sampling.sample(setup, params, config, labels=np.array([1, 1, 1]))
    np.testing.assert_array_equal(named, each)
    other = sampling.sample(setup, params, config, labels=np.array([1, 0, 1]))
    np.testing.assert_allclose(other[[0, 2]], named[[0, 2]], atol=1e-5)
    assert np.abs(other[1] - named[1]).max() > 1e-3
