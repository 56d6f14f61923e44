"""The train step against sums done by hand; blocks against single steps; and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from oracle import GaussianMixture, three_components

from tiny_diffusion_jax import training
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.base import PointSets, make_dataset
from tiny_diffusion_jax.diffusion import add_noise, loss_per_set, make_denoise, make_process
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models.fourier_mlp import FourierMLP, FourierTrunk
from tiny_diffusion_jax.schedules import make_schedule

KEY = jax.random.key(5)


def train_config(**changes):
    """Every part of the optimizer is at work: decay, clipping of every gradient, two shards."""
    config = default_config().train
    config.update(dict(steps=40, num_sets=8, num_points=3, warmup=0, block=5, shards=2,
                       learning_rate=0.01, weight_decay=0.3, clip_norm=1e-3))
    config.update(changes)
    return config


def small_model(embedding="gaussian"):
    return FourierMLP(FourierTrunk(
        hidden_dim=16, num_blocks=1, embedding=embedding, num_frequencies=8, scale=2.0,
        time_frequencies=4,
    ))


def masked_draw(mixture, key, num_sets, num_points):
    """Sets of different sizes, each with a name."""
    sets = mixture.draw(key, num_sets, num_points)
    size = jax.random.randint(key, (num_sets, 1), 1, num_points + 1)
    return PointSets(sets.points, jnp.arange(num_points) < size, size[:, 0])


@functools.cache
def dataset(draw=GaussianMixture.draw):
    return make_dataset(Partial(draw, three_components()), num_points=4096)


PROCESS = make_process(make_schedule("cosine", 100))


@functools.cache
def programs():
    """(fresh state, train step, train block), compiled once for all tests."""
    config, model = train_config(), small_model()
    optimizer = training.make_optimizer(config)
    state = training.init_state(jax.random.key(0), model, optimizer)
    step = jax.jit(training.make_train_step(PROCESS, model, optimizer, config))
    block = training.make_train_block(PROCESS, model, optimizer, config)
    return lambda: jax.tree.map(jnp.copy, state), step, block  # a block consumes its state


draw_batches = jax.jit(training.draw_batches, static_argnums=(2, 3, 4))
PLAN = training.Plan(num_sets=8, num_points=3)


def pick(batch, i):
    return jax.tree.map(lambda a: a[i], batch)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_trees_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@functools.partial(jax.jit, static_argnames="shards")
def loss_and_grad(params, batch, shards):
    return training.loss_and_grad(PROCESS, small_model().apply, params, batch, shards)


# ---------------------------------------------------------------- what a batch is


def test_batches_are_normalised_data_and_standard_noise():
    shifted = dataset().replace(shift=jnp.array([5.0, -1.0]), scale=jnp.float32(2.0))
    batch = draw_batches(KEY, shifted, 100, 20, training.Plan(50, 8))
    assert batch.mask is None and batch.label is None
    x_0, eps, t = map(np.asarray, batch[:3])
    assert x_0.shape == eps.shape == (20, 50, 8, 2) and t.shape == (20, 50)
    np.testing.assert_allclose(x_0.mean((0, 1, 2)), [-2.5, 0.5], atol=0.05)
    assert x_0.var((0, 1, 2)).mean() == pytest.approx(0.25, rel=0.05)
    assert eps.mean() == pytest.approx(0, abs=0.03) and eps.var() == pytest.approx(1, abs=0.05)
    assert t.min() >= 1 and t.max() <= 100 and len(np.unique(t)) == 100
    assert abs(np.corrcoef(x_0.ravel(), eps.ravel())[0, 1]) < 0.03
    assert not np.array_equal(x_0[0], x_0[1])


def test_batches_carry_mask_and_label():
    batch = draw_batches(KEY, dataset(masked_draw), 100, 2, PLAN)
    assert batch.mask.shape == (2, 8, 3) and batch.label.shape == (2, 8)
    np.testing.assert_array_equal(np.asarray(batch.mask).sum(-1), batch.label)


# ---------------------------------------------------------------- the gradient


def test_shards_do_not_change_loss_or_gradient():
    fresh, _, _ = programs()
    params = fresh().params
    batch = pick(draw_batches(KEY, dataset(masked_draw), 100, 2, PLAN), 0)

    def plain(params):
        losses = loss_per_set(
            PROCESS, small_model().apply, params, batch.x_0, batch.eps, batch.t, batch.mask
        )
        return losses.mean(), losses

    expected, losses = jax.jit(jax.grad(plain, has_aux=True))(params)
    for shards in (1, 2, 4):
        got, grads = loss_and_grad(params, batch, shards)
        np.testing.assert_allclose(got, losses, rtol=1e-5)
        assert_trees_close(grads, expected, rtol=1e-4, atol=1e-6)


def test_one_step_is_adamw_by_hand():
    """The first Adam step moves each weight by the rate against its gradient's sign, whatever its
    size; decay is added to matrices only; the average takes (1 + 0) / (10 + 0) of the old."""
    fresh, step, _ = programs()
    state, config = fresh(), train_config()
    batch = pick(draw_batches(KEY, dataset(), 100, 5, PLAN), 0)
    after, (losses, norm) = step(state, batch)
    plain, grads = loss_and_grad(state.params, batch, 1)
    np.testing.assert_allclose(losses, plain, rtol=1e-5)
    length = np.sqrt(sum(np.sum(np.float64(g) ** 2) for g in jax.tree.leaves(grads)))
    assert norm == pytest.approx(length, rel=1e-5)  # as it was before clipping
    assert length > config.clip_norm

    def expected(path, p, g):
        clipped = np.float64(g) * config.clip_norm / length
        adam = clipped / (np.abs(clipped) + 1e-8)
        decay = config.weight_decay * np.float64(p) if path[-1].key == "kernel" else 0.0
        return np.float64(p) - config.learning_rate * (adam + decay)

    by_hand = jax.tree_util.tree_map_with_path(expected, state.params, grads)
    assert_trees_close(after.params, by_hand, rtol=1e-4, atol=2e-5)
    average = jax.tree.map(
        lambda old, new: 0.1 * np.float64(old) + 0.9 * np.float64(new), state.ema, after.params
    )
    assert_trees_close(after.ema, average, rtol=1e-5, atol=1e-6)
    frequency = lambda s: s.params["params"]["trunk"]["features"]["fixed_frequency"]
    np.testing.assert_array_equal(frequency(after), frequency(state))
    assert after.step == 1


def test_weight_decay_acts_on_matrices_that_are_trained():
    for embedding, frequency in [("gaussian", "fixed_frequency"), ("learned", "frequency")]:
        init = small_model(embedding).init
        params = jax.eval_shape(init, KEY, jnp.zeros((1, 1, 2)), jnp.zeros(1))
        expected = {"kernel": True, "bias": False, frequency: embedding == "learned"}
        for path, decayed in jax.tree_util.tree_leaves_with_path(training.decays(params)):
            assert decayed == expected[path[-1].key], path


@pytest.mark.parametrize("step, decay, expected", [
    (0, 0.998, 0.1), (8, 0.998, 0.5), (90, 0.998, 0.91), (10**6, 0.998, 0.998), (5, 0.0, 0.0),
])
def test_the_average_has_a_short_memory_first(step, decay, expected):
    assert float(training.ema_decay(jnp.int32(step), decay)) == pytest.approx(expected, rel=1e-6)


def test_learning_rate_warms_up_then_falls_to_zero():
    """Read off the updates: without decay, Adam's step on a constant gradient is the rate."""
    config = train_config(steps=20, warmup=4, learning_rate=0.1, weight_decay=0.0, clip_norm=1e9)
    optimizer = training.make_optimizer(config)
    params = {"w": jnp.ones((2, 2))}
    state, rates = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for _ in range(21):
        change, state = update({"w": jnp.ones((2, 2))}, state, params)
        rates.append(-float(np.asarray(change["w"])[0, 0]))
    cosine = [0.05 * (1 + np.cos(np.pi * i / 16)) for i in range(17)]
    np.testing.assert_allclose(rates, [0, 0.025, 0.05, 0.075, *cosine], atol=1e-5)


# ---------------------------------------------------------------- blocks


def test_a_block_is_its_steps_one_by_one():
    fresh, step, block = programs()
    end, metrics = block(fresh(), dataset(), KEY, 5, PLAN)
    drawn = draw_batches(jax.random.fold_in(KEY, 0), dataset(), 100, 5, PLAN)
    state, all_losses, norms = fresh(), [], []
    for i in range(5):
        state, (losses, norm) = step(state, pick(drawn, i))
        all_losses.append(np.asarray(losses))
        norms.append(float(norm))
    assert_trees_close(end, state, rtol=2e-4, atol=5e-5)
    assert end.step == 5
    np.testing.assert_allclose(metrics.loss, np.mean(all_losses, axis=1), rtol=1e-4)
    np.testing.assert_allclose(metrics.grad_norm, norms, rtol=1e-3)
    slices = (np.asarray(drawn.t) - 1) // 10  # T = 100, ten slices
    for n in range(10):
        mean = np.mean(np.array(all_losses)[slices == n])
        np.testing.assert_allclose(metrics.loss_by_time[n], mean, rtol=1e-4)


def test_slices_of_time_without_a_loss_are_nan():
    fresh, _, block = programs()
    _, metrics = block(fresh(), dataset(), KEY, 1, PLAN)
    # eight sets, a stratum of T / 8 each: no two in one slice of T / 10 but by wrapping around
    assert 7 <= np.isfinite(metrics.loss_by_time).sum() <= 8


def run_blocks(state, total):
    _, _, block = programs()
    while state.step < total:
        state, _ = block(state, dataset(), KEY, min(5, total - int(state.step)), PLAN)
    return state


@pytest.mark.parametrize("total", [20, 16])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(total):
    """Also with a last block of a single step."""
    fresh, _, _ = programs()
    whole = jax.tree.map(np.asarray, run_blocks(fresh(), total))
    half = jax.tree.map(np.array, run_blocks(fresh(), 10))  # all that is saved
    resumed = run_blocks(jax.tree.map(jnp.asarray, half), total)
    assert resumed.step == total
    assert_trees_equal(whole, resumed)
    moved = lambda s: np.asarray(s.params["params"]["trunk"]["to_output"]["kernel"])
    assert not np.array_equal(moved(half), moved(resumed))


def test_blocks_draw_fresh_numbers():
    """Two blocks from one state at different steps must not repeat their batches."""
    fresh, _, block = programs()
    _, first = block(fresh(), dataset(), KEY, 5, PLAN)
    _, later = block(fresh().replace(step=jnp.int32(5)), dataset(), KEY, 5, PLAN)
    _, again = block(fresh(), dataset(), KEY, 5, PLAN)
    _, other = block(fresh(), dataset(), jax.random.key(6), 5, PLAN)
    np.testing.assert_array_equal(first.loss, again.loss)
    # a last block takes the first of its numbers
    _, short = block(fresh(), dataset(), KEY, 1, PLAN)
    np.testing.assert_allclose(short.loss, first.loss[:1], rtol=1e-5)
    losses = [np.asarray(m.loss)[0] for m in (first, later, other)]
    assert len(set(losses)) == 3


def test_the_start_is_the_same_in_weights_and_average():
    state = programs()[0]()
    assert_trees_equal(state.params, state.ema)
    assert state.step == 0 and state.step.dtype == jnp.int32


# ---------------------------------------------------------------- learning


def test_a_small_model_comes_near_the_ideal_denoiser():
    """Its loss on fresh data, beside that of E[x_0 | x_t], which nothing can beat."""
    config = train_config(steps=800, num_sets=256, num_points=1, warmup=40, block=400,
                          learning_rate=5e-3, weight_decay=1e-4, clip_norm=1.0)
    model = FourierMLP(FourierTrunk(
        hidden_dim=48, num_blocks=2, num_frequencies=8, scale=4.0, max_period=20.0,
        time_frequencies=8, time_scale=20.0))
    optimizer = training.make_optimizer(config)
    block = training.make_train_block(PROCESS, model, optimizer, config)
    state = training.init_state(jax.random.key(0), model, optimizer)
    mixture = three_components()
    x_0 = mixture.draw(jax.random.key(1), 20_000, 1).points
    eps = jax.random.normal(jax.random.key(2), x_0.shape)
    level = PROCESS.level(jax.random.randint(jax.random.key(3), (20_000,), 1, 101))
    x_t = add_noise(level.expand(), x_0, eps)
    weight = PROCESS.coefficients(level).c_out ** -2

    def loss(denoise):
        error = jnp.mean((denoise(x_t, level) - x_0) ** 2, axis=(1, 2))
        return float(jnp.mean(weight * error))

    of_model = jax.jit(lambda x, level, p: make_denoise(PROCESS, model.apply, p)(x, level))
    start = loss(lambda x, level: of_model(x, level, state.params))
    for _ in range(2):
        state, _ = block(state, dataset(), KEY, 400, training.Plan(256, 1))
    ideal = loss(jax.jit(mixture.denoise))
    learned = loss(lambda x, level: of_model(x, level, state.ema))
    assert start > 1.5 * ideal
    assert ideal < learned < 1.05 * ideal


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(steps=0), "config.train.steps = 0: must be at least 1"),
        (dict(steps=-5), "config.train.steps = -5: must be at least 1"),
        (dict(num_sets=0), "config.train.num_sets = 0: must be at least 1"),
        (dict(num_points=0), "config.train.num_points = 0: must be at least 1"),
        (dict(block=0), "config.train.block = 0: must be at least 1"),
        (dict(shards=0), "config.train.shards = 0: must be at least 1"),
        (dict(shards=3), "config.train.shards = 3: must be a divisor of config.train.num_sets = 8"),
        (dict(warmup=-1), "config.train.warmup = -1: must be at least 0"),
        (dict(warmup=40), "config.train.warmup = 40: must be below config.train.steps = 40"),
        (dict(checkpoint_every=0), "config.train.checkpoint_every = 0: must be at least 1"),
        (dict(keep=0), "config.train.keep = 0: must be at least 1"),
        (dict(learning_rate=0.0), "config.train.learning_rate = 0.0: must be above 0"),
        (dict(learning_rate=float("nan")), "config.train.learning_rate = nan: must be above 0"),
        (dict(weight_decay=-0.1), "config.train.weight_decay = -0.1: must be 0 or more"),
        (dict(clip_norm=0.0), "config.train.clip_norm = 0.0: must be above 0"),
        (dict(ema_decay=1.0), "config.train.ema_decay = 1.0: must be in [0, 1)"),
    ],
)
def test_bad_training_options_are_named(changes, message):
    with pytest.raises(UserError) as error:
        training.make_optimizer(train_config(**changes))
    assert str(error.value).startswith(message)


def test_the_default_options_are_good():
    assert isinstance(
        training.make_optimizer(default_config().train), optax.GradientTransformation
    )
