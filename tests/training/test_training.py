"""Compare the train step with sums by hand and blocks with single steps, and check learning."""

import functools
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batch_specs import INDEPENDENT, PREVIOUS_BATCH, SAME_SET, Model, make_spec
from jax.tree_util import Partial
from ml_collections import FrozenConfigDict
from oracle import GaussianMixture, three_components
from weights import random_state, random_weights

from tiny_diffusion_jax import api, devices
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.diffusion.process import add_noise, loss_per_set, make_denoise, make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.models import MODELS, make_model
from tiny_diffusion_jax.models.fourier_mlp import FourierMLP, FourierTrunk
from tiny_diffusion_jax.models.student import forced_sets
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.sets.independent import Independent
from tiny_diffusion_jax.sets.latent import Latent
from tiny_diffusion_jax.training import batches
from tiny_diffusion_jax.training import step as training

KEY = jax.random.key(5)


def train_config(**changes):
    """Config of training with decay, clipping of every gradient, and two slices."""
    config = default_config().train
    config.update(dict(steps=40, num_sets=8, num_points=3, warmup=0, block=5,
                       learning_rate=0.01, weight_decay=0.3, clip_norm=1e-3))
    config.update(changes)
    return config


def small_model(embedding="gaussian"):
    return FourierMLP(FourierTrunk(
        hidden_dim=16, num_blocks=1, embedding=embedding, num_frequencies=8, scale=2.0,
        time_frequencies=4,
    ))


def masked_draw(mixture, key, num_sets, num_points):
    """Sets of different sizes, each with a label."""
    sets = mixture.draw(key, num_sets, num_points)
    size = jax.random.randint(key, (num_sets, 1), 1, num_points + 1)
    return PointSets(sets.points, jnp.arange(num_points) < size, size[:, 0])


@functools.cache
def dataset(draw=GaussianMixture.draw):
    return make_dataset(Partial(draw, three_components()), num_points=4096)


PROCESS = make_process(make_schedule("cosine", 100))


@functools.cache
def programs():
    """(function that returns the first state, train step, train block), compiled once."""
    config, model = train_config(), small_model()
    state = random_state(model, FrozenConfigDict(config))
    step = jax.jit(training.make_train_step(PROCESS, model, config, 2))
    return lambda: jax.device_put(state), step, train_block(model, config)


def train_block(model, config, process=PROCESS):
    """Function (state, dataset, key, steps, spec) -> (state, metrics)."""
    block = training.make_train_block(model, config, devices.make_mesh(), 2)
    return lambda state, dataset, key, steps, spec: block(
        state, dataset, process, key, steps=steps, spec=spec
    )


draw_batches = jax.jit(batches.draw_batches, static_argnums=(2, 3, 4))
SPEC = make_spec(8, 3)


def pick(batch, i):
    return jax.tree.map(lambda a: a[i], batch)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_trees_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@functools.partial(jax.jit, static_argnames="slices")
def loss_and_grad(params, batch, slices):
    return training.loss_and_grad(PROCESS, small_model(), params, batch, slices)


# ---------------------------------------------------------------- contents of a batch


def test_batches_are_normalised_data_and_standard_noise():
    shifted = dataset().replace(shift=jnp.array([5.0, -1.0]), scale=jnp.float32(2.0))
    batch = draw_batches(KEY, shifted, 100, 20, make_spec(50, 8))
    assert batch.conditioning == Conditioning()
    x_0, eps, t = map(np.asarray, batch[:3])
    assert x_0.shape == eps.shape == (20, 50, 8, 2) and t.shape == (20, 50)
    np.testing.assert_allclose(x_0.mean((0, 1, 2)), [-2.5, 0.5], atol=0.05)
    assert x_0.var((0, 1, 2)).mean() == pytest.approx(0.25, rel=0.05)
    assert eps.mean() == pytest.approx(0, abs=0.03) and eps.var() == pytest.approx(1, abs=0.05)
    assert t.min() >= 1 and t.max() <= 100 and len(np.unique(t)) == 100
    assert abs(np.corrcoef(x_0.ravel(), eps.ravel())[0, 1]) < 0.03
    assert not np.array_equal(x_0[0], x_0[1])


def test_batches_carry_mask_and_label():
    label, *_, mask, _ = draw_batches(KEY, dataset(masked_draw), 100, 2, SPEC).conditioning
    assert mask.shape == (2, 8, 3) and label.shape == (2, 8)
    np.testing.assert_array_equal(np.asarray(mask).sum(-1), label)


# ---------------------------------------------------------------- the gradient


def test_slices_do_not_change_loss_or_gradient():
    fresh, _, _ = programs()
    params = fresh().params
    batch = pick(draw_batches(KEY, dataset(masked_draw), 100, 2, SPEC), 0)

    def plain(params):
        losses = loss_per_set(
            PROCESS, small_model().apply, params, batch.x_0, batch.eps, batch.t,
            batch.conditioning,
        )  # fmt: skip
        return losses.mean(), losses

    expected, losses = jax.jit(jax.grad(plain, has_aux=True))(params)
    for slices in (1, 2, 4):
        sliced, grads = loss_and_grad(params, batch, slices)
        np.testing.assert_allclose(sliced, losses, rtol=3e-5)
        assert_trees_close(grads, expected, rtol=1e-4, atol=1e-6)


def test_one_step_is_adamw_by_hand():
    """The first Adam step moves each weight by the learning rate against the gradient's sign.

    The size of the gradient does not matter. Decay applies to matrices only.
    The EMA keeps (1 + 0) / (10 + 0) of the old weights.
    """
    fresh, step, _ = programs()
    state, config = fresh(), train_config()
    state = state.replace(ema=jax.tree.map(lambda p: p - 1, state.params))
    batch = pick(draw_batches(KEY, dataset(), 100, 5, SPEC), 0)
    after, (losses, norm) = step(state, batch)
    plain, grads = loss_and_grad(state.params, batch, 1)
    np.testing.assert_allclose(losses, plain, rtol=1e-5)
    length = np.sqrt(sum(np.sum(np.float64(g) ** 2) for g in jax.tree.leaves(grads)))
    assert norm == pytest.approx(length, rel=1e-5)  # the norm is measured before clipping
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


def test_one_step_of_muon_by_hand():
    """A gradient U S V^T moves a matrix along U V^T by 0.2 sqrt(larger side) of the rate.

    Newton-Schulz gives singular values between 0.5 and 1.3, except for values near 0. A vector
    moves by Adam with Nesterov's momentum.
    """
    rng = np.random.default_rng(0)
    config = train_config(steps=9, learning_rate=0.1, weight_decay=0.0, clip_norm=1e9,
                          optimizer="muon")  # fmt: skip
    optimizer = training.make_optimizer(config)
    params = {"kernel": jnp.zeros((5, 12)), "bias": jnp.zeros(12), "fixed": jnp.zeros((2, 3))}
    gradient = jax.tree.map(lambda p: np.float32(rng.normal(size=p.shape)), params)
    change, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    u, _, vt = np.linalg.svd(gradient["kernel"], full_matrices=False)
    moved = u.T @ np.asarray(change["kernel"]) @ vt.T / (-0.1 * 0.2 * 12**0.5)
    np.testing.assert_allclose(moved - np.diag(np.diag(moved)), 0, atol=1e-3)
    assert (np.diag(moved) > 0.5).all() and (np.diag(moved) < 1.3).all()
    for name in ("bias", "fixed"):
        # Nesterov's: (0.9 * 0.1 / (1 - 0.9^2) + 0.1 / (1 - 0.9)) of the rate in the first step
        by_adam = -0.1 * (0.09 / 0.19 + 1) * np.sign(gradient[name])
        np.testing.assert_allclose(change[name], by_adam, rtol=1e-3)


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
    """The rate is read from the updates: Adam's step on a constant gradient, without decay."""
    config = train_config(steps=40, warmup=4, learning_rate=0.1, weight_decay=0.0, clip_norm=1e9)
    optimizer = training.make_optimizer(config)
    params = {"w": jnp.ones((2, 2))}
    state, rates = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for _ in range(41):
        change, state = update({"w": jnp.ones((2, 2))}, state, params)
        rates.append(-float(np.asarray(change["w"])[0, 0]))
    cosine = [0.05 * (1 + np.cos(np.pi * i / 36)) for i in range(37)]
    np.testing.assert_allclose(rates, [0, 0.025, 0.05, 0.075, *cosine], atol=1e-5)


# ---------------------------------------------------------------- blocks


def test_a_block_is_its_steps_one_by_one():
    fresh, step, block = programs()
    end, metrics = block(fresh(), dataset(), KEY, 5, SPEC)
    drawn = batches.draw_block(jax.random.fold_in(KEY, 0), dataset(), 100, 5, SPEC)
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
    _, metrics = block(fresh(), dataset(), KEY, 1, SPEC)
    # Eight sets with a stratum of T / 8 each: two sets share a slice of T / 10 only by wrap-around.
    assert 7 <= np.isfinite(metrics.loss_by_time).sum() <= 8


def run_blocks(state, total):
    _, _, block = programs()
    while state.step < total:
        state, _ = block(state, dataset(), KEY, min(5, total - int(state.step)), SPEC)
    return state


@pytest.mark.parametrize("total", [20, 16])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(total):
    """Resume also before a last block of a single step."""
    fresh, _, _ = programs()
    uninterrupted = jax.tree.map(np.asarray, run_blocks(fresh(), total))
    half = jax.tree.map(np.array, run_blocks(fresh(), 10))  # the state that is saved
    resumed = run_blocks(jax.tree.map(jnp.asarray, half), total)
    assert resumed.step == total
    assert_trees_equal(uninterrupted, resumed)
    moved = lambda s: np.asarray(s.params["params"]["trunk"]["to_output"]["kernel"])
    assert not np.array_equal(moved(half), moved(resumed))


def test_blocks_draw_fresh_numbers():
    """Two blocks from one state at different steps must have different batches."""
    fresh, _, block = programs()
    _, first = block(fresh(), dataset(), KEY, 5, SPEC)
    _, later = block(fresh().replace(step=jnp.int32(5)), dataset(), KEY, 5, SPEC)
    _, again = block(fresh(), dataset(), KEY, 5, SPEC)
    _, other = block(fresh(), dataset(), jax.random.key(6), 5, SPEC)
    np.testing.assert_array_equal(first.loss, again.loss)
    # a short last block uses the first draws of a full block
    _, short = block(fresh(), dataset(), KEY, 1, SPEC)
    np.testing.assert_allclose(short.loss, first.loss[:1], rtol=1e-5)
    losses = [np.asarray(m.loss)[0] for m in (first, later, other)]
    assert len(set(losses)) == 3


def test_the_start_is_the_same_in_weights_and_average():
    state = programs()[0]()
    assert_trees_equal(state.params, state.ema)
    assert state.step == 0 and state.step.dtype == jnp.int32


# ---------------------------------------------------------------- batches with histories


@functools.cache
def far_apart(num=2):
    """Members at 100, 200, ... with a standard deviation of 1; labels 0, 1, ..."""
    def sample(center, key, n):
        return center + jax.random.normal(key, (n, 2))

    members = tuple(
        make_dataset(single_density(Partial(sample, jnp.float32(100.0 * (k + 1)))), normalize=False)
        for k in range(num)
    )
    mixture = members[0].replace(draw=None, members=members, num_labels=num)
    return mixture.reweighted(jnp.full(num, 1 / num))


def member_of(points):
    """Member of `far_apart` for each set, computed from the coordinates."""
    return np.round(np.asarray(points).mean(-1) / 100).astype(int) - 1


def shares(sizes, last):
    return np.array([np.mean(sizes == n) for n in range(last + 1)])


def test_a_history_of_the_same_set_has_other_points_of_its_member():
    spec = make_spec(64, 3, SAME_SET, min_history=1, max_history=12, history_drop=0.25)
    batch = draw_batches(KEY, far_apart(), 100, 60, spec)
    history = batch.conditioning.history
    assert batch.x_0.shape == (60, 64, 3, 2) and history.points.shape == (60, 64, 12, 2)
    label = np.asarray(batch.conditioning.label)
    assert 0.45 < label.mean() < 0.55
    np.testing.assert_array_equal(member_of(batch.x_0), np.stack([label] * 3, -1))
    np.testing.assert_array_equal(member_of(history.points), np.stack([label] * 12, -1))
    both = np.concatenate([batch.x_0, history.points], axis=2)
    points = both.reshape(-1, 2)
    # equal points come from rounding only
    assert len(np.unique(points, axis=0)) > 0.999 * len(points)
    # the history is empty in a quarter of the sets, else its size is floor(exp(uniform))
    mask = np.asarray(history.mask)
    sizes = mask.sum(-1)
    assert (mask == (np.arange(12) < sizes[..., None])).all()
    n = np.arange(1, 13)
    expected = [0.25, *(0.75 * np.log((n + 1) / n) / np.log(13))]
    np.testing.assert_allclose(shares(sizes, 12), expected, atol=0.03)
    # noise level, member and size of the history are independent
    for a, b in ((sizes, label), (sizes, np.asarray(batch.t)), (label, np.asarray(batch.t))):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.06


@pytest.mark.parametrize("drop, smallest", [(0.0, 5), (1.0, 0)])
def test_a_history_has_at_least_min_history_points(drop, smallest):
    spec = make_spec(32, 2, SAME_SET, min_history=5, max_history=9, history_drop=drop)
    batch = draw_batches(KEY, dataset(), 100, 20, spec)
    sizes = np.asarray(batch.conditioning.history.mask).sum(-1)
    assert sizes.min() == smallest and sizes.max() == (9 if drop == 0 else 0)
    assert drop or set(np.unique(sizes)) == {5, 6, 7, 8, 9}


def test_a_history_has_only_points_of_its_set():
    """A set has 5 points: at most 4 are in the history, and the others are denoised."""
    def draw(key, num_sets, num_points):
        points = jax.random.normal(key, (num_sets, num_points, 2))
        return PointSets(points, jnp.broadcast_to(jnp.arange(num_points) < 5, points.shape[:2]))

    spec = make_spec(8, 3, SAME_SET, max_history=6, min_history=6)
    short = make_dataset(Partial(draw), normalize=False)
    _, _, history, _, mask, _ = draw_batches(KEY, short, 100, 4, spec).conditioning
    assert mask.shape == (4, 8, 3)
    np.testing.assert_array_equal(np.asarray(history.mask).sum(-1), 4)
    np.testing.assert_array_equal(np.asarray(mask).sum(-1), 1)


def test_the_previous_batch_is_the_history_of_the_next():
    spec = make_spec(4, 5, PREVIOUS_BATCH, max_history=1000, history_drop=0.0)
    batch = draw_batches(KEY, far_apart(), 100, 6, spec)
    label, _, history, *_ = batch.conditioning
    assert batch.x_0.shape == (6, 4, 5, 2) and history.points.shape == (6, 4, 20, 2)
    assert label.shape == (6, 4) and batch.t.shape == (6, 4)
    for step in range(1, 6):
        before = np.asarray(batch.x_0[step - 1]).reshape(20, 2)
        np.testing.assert_array_equal(history.points[step], np.stack([before] * 4))
    np.testing.assert_array_equal(member_of(batch.x_0), np.stack([label] * 5, -1))
    # the first set has a history, too
    assert len(np.unique(history.points[0, 0], axis=0)) == 20
    assert np.asarray(history.mask).all()
    last = draw_batches(KEY, far_apart(), 100, 6, spec._replace(max_history=7))
    last = last.conditioning.history
    np.testing.assert_array_equal(last.points, history.points[:, :, -7:])


def test_all_sets_of_a_step_or_none_have_the_previous_batch():
    spec = make_spec(4, 2, PREVIOUS_BATCH, max_history=8, history_drop=0.7)
    batch = draw_batches(KEY, dataset(), 100, 1000, spec)
    mask = np.asarray(batch.conditioning.history.mask)
    has_history = mask[:, 0, 0]
    np.testing.assert_array_equal(mask, np.broadcast_to(has_history[:, None, None], mask.shape))
    assert has_history.mean() == pytest.approx(0.3, abs=0.06)  # four standard errors


def test_set_sizes_are_log_uniform():
    spec = make_spec(64, 8, min_points=2)
    mask = np.asarray(draw_batches(KEY, dataset(), 100, 60, spec).conditioning.mask)
    sizes = mask.sum(-1)
    assert (mask == (np.arange(8) < sizes[..., None])).all()
    n = np.arange(2, 9)
    expected = [0, 0, *(np.log((n + 1) / n) / np.log(9 / 2))]
    np.testing.assert_allclose(shares(sizes, 8), expected, atol=0.03)
    # the history is never larger than the set allows
    label, *_, mask, _ = draw_batches(KEY, dataset(masked_draw), 100, 60, spec).conditioning
    mask = np.asarray(mask)
    assert (mask.sum(-1) <= np.asarray(label)).all()
    assert (mask == (np.arange(8) < mask.sum(-1, keepdims=True))).all()


def test_labels_are_dropped_in_a_share_label_drop():
    spec = make_spec(64, 1, label_drop=0.2)
    batch = draw_batches(KEY, far_apart(3), 100, 60, spec)
    label = np.asarray(batch.conditioning.label)
    assert np.mean(label == -1) == pytest.approx(0.2, abs=0.025)
    kept = label >= 0
    np.testing.assert_array_equal(label[kept], member_of(batch.x_0)[..., 0][kept])
    undropped = draw_batches(KEY, far_apart(3), 100, 60, SPEC)
    assert (np.asarray(undropped.conditioning.label) >= 0).all()


def test_latents_have_separate_noise():
    spec = make_spec(64, 2, Model("latent", "same_set", latent_dim=5, latent_noise=0.1),
                     max_history=3)  # fmt: skip
    batch = draw_batches(KEY, dataset(), 100, 30, spec)
    eps, blur = np.asarray(batch.latent_eps), np.asarray(batch.latent_blur)
    assert eps.shape == blur.shape == (30, 64, 1, 5)
    assert eps.std() == pytest.approx(1.0, abs=0.03) and eps.mean() == pytest.approx(0, abs=0.04)
    assert blur.std() == pytest.approx(0.1, abs=0.003)
    assert abs(np.corrcoef(eps.ravel(), blur.ravel())[0, 1]) < 0.04
    none = draw_batches(KEY, dataset(), 100, 3, SPEC)
    assert none.latent_eps is None and none.latent_blur is None
    assert none.conditioning.history is None


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7])
def test_a_share_teacher_forcing_of_the_sets_is_forced(share):
    spec = make_spec(8, 2, Model("joint", teacher_forcing=share))
    forced = draw_batches(KEY, dataset(), 100, 3, spec).forced
    if share:
        np.testing.assert_array_equal(forced, np.stack([forced_sets(8, share)] * 3))
    else:  # the network takes no target
        assert forced is None


# ---------------------------------------------------------------- the spec of a block


def specs(model=None, blocks=range(9), **changes):
    config = train_config(**changes)
    return [batches.make_batch_spec(config, model or small_model(), block) for block in blocks]


def test_blocks_take_turns_at_the_sizes_of_sets():
    options = dict(num_sets=128, num_points=32, max_points=2048)
    large = specs(**options)
    assert [s.num_points for s in large] == [32, 128, 512, 2048] * 2 + [32]
    assert [s.num_sets for s in large] == [128, 32, 8, 2] * 2 + [128]
    below = specs(**options | dict(max_points=2047))
    assert [s.num_points for s in below] == [32, 128, 512] * 3
    few = specs(**options | dict(num_sets=12))
    assert [s.num_sets for s in few] == [12, 3, 1, 1] * 2 + [12]
    for max_points in (0, 1, 32, 127):
        same = specs(**options | dict(max_points=max_points))
        assert {(s.num_sets, s.num_points) for s in same} == {(128, 32)}


def test_a_batch_has_only_the_values_that_the_model_uses():
    options = dict(max_history=9, min_history=2, history_drop=0.3, label_drop=0.4, min_points=1)
    [spec] = specs(blocks=[0], **options)
    assert (spec.num_sets, spec.num_points, spec.min_points, spec.label_drop) == (8, 3, 1, 0)
    assert spec.strategy == Independent(small_model())
    draws = {"none": ((0, 0), 3), "same set": ((0, 9), 12), "previous batch": ((1, 0), 12),
             "causal": ((0, 0), 3 * spec.num_levels)}  # fmt: skip
    models = {"none": INDEPENDENT, "same set": SAME_SET, "previous batch": PREVIOUS_BATCH,
              "causal": Model("causal")}  # fmt: skip
    for name, model in models.items():
        strategy = make_spec(8, 3, model).strategy
        assert (strategy.extra_draws(spec), strategy.values_per_set(spec)) == draws[name]
    config = default_config().model
    config.update(name="set_latent", labels=True, latent_dim=5, latent_noise=0.2)
    model = make_model(config, 2)
    [spec] = specs(model, blocks=[0], **options)
    assert spec.strategy == Latent(model) and spec.label_drop == 0.4
    batch = pick(draw_batches(KEY, far_apart(), 100, 1, spec), 0)
    assert batch.latent_eps.shape == (8, 1, 5) and batch.conditioning.size is None
    # the encoder reads complete histories, whatever min_history and history_drop are
    assert np.asarray(batch.conditioning.history.mask).shape == (8, 9)
    assert np.asarray(batch.conditioning.history.mask).all()


# ---------------------------------------------------------------- the loss of a latent model


def latent_model():
    config = default_config().model
    config.update(dict(name="set_latent", hidden_dim=8, num_blocks=1, num_frequencies=4, scale=1.0,
                       time_frequencies=4, latent_dim=4, latent_noise=0.3))
    return make_model(config)


@functools.cache
def latent_batch():
    model = latent_model()
    params = random_weights(model)
    config = train_config(num_sets=6, max_history=7, min_history=3)
    batch = draw_batches(KEY, dataset(), 100, 1, batches.make_batch_spec(config, model))
    return model, params, pick(batch, 0)


def test_the_loss_with_a_latent_is_the_loss_of_points_plus_the_loss_of_latents():
    model, params, batch = latent_batch()
    loss = functools.partial(Latent(model).loss, PROCESS, model.apply)
    losses = jax.jit(loss)(params, batch)
    encode = functools.partial(model.apply, method="encode")
    z = jax.jit(encode)(params, batch.conditioning.history)
    level = PROCESS.level(batch.t).expand()
    alpha, sigma = (np.asarray(a) for a in level[1:])  # alpha^2 + sigma^2 = 1, so F is -v
    expected, time = np.zeros(6), batch.t / 100
    for clean, eps, answer in [
        (z, batch.latent_eps,
         lambda x: model.apply(params, x, time, method="prior")),
        (batch.x_0, batch.eps,
         lambda x: model.apply(params, x, time, Conditioning(latent=z + batch.latent_blur))),
    ]:
        x_t = alpha * clean + sigma * eps
        error = jax.jit(answer)(x_t) - (sigma * clean - alpha * eps)
        expected += np.mean(np.asarray(error) ** 2, axis=(1, 2))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_the_prior_does_not_pull_at_the_encoder():
    """Multiplying the weights of the prior by 1,000 keeps the gradient of the encoder."""
    model, params, batch = latent_batch()

    @jax.jit
    def gradient(params, factor):
        leaves = params["params"]
        scaled = {k: jax.tree.map(lambda w: w * factor, v) if k == "prior_out" else v
                  for k, v in leaves.items()}
        loss = lambda p: Latent(model).loss(PROCESS, model.apply, p, batch).mean()
        return jax.grad(loss)({"params": scaled})["params"]

    small, large = gradient(params, 1.0), gradient(params, 1000.0)
    for name in small:
        same = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-4, atol=1e-7),
                            small[name], large[name])
        if name.startswith("prior"):
            assert not all(jax.tree.leaves(same)), name
        else:
            assert all(jax.tree.leaves(same)), name
    assert float(jnp.abs(small["to_latent"]["kernel"]).max()) > 1e-6


# ---------------------------------------------------------------- all models, from block to block


ONE_OF_EACH_STRATEGY = ["fourier_mlp", "history", "causal", "set_transformer", "set_latent"]


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in ONE_OF_EACH_STRATEGY else pytest.mark.slow)
    for name in MODELS
])
def test_every_model_resumes_bit_for_bit(name):
    """Two blocks without and with a stop in between; one model has sets of two sizes."""
    config = default_config()
    config.update_from_flattened_dict({
        "model.name": name, "model.hidden_dim": 8, "model.num_blocks": 1,
        "model.num_frequencies": 4, "model.time_frequencies": 4, "model.num_heads": 2,
        "model.num_inducing": 2, "model.latent_dim": 4, "model.labels": True, "train.steps": 4,
        "train.block": 2, "train.warmup": 0, "train.num_sets": 4, "train.num_points": 2,
        "train.min_points": 1, "train.max_history": 4,
        "train.max_points": 8 if name == "fourier_mlp" else 0,
    })  # fmt: skip
    model = make_model(config.model, 2)
    setup = api.Experiment(config, far_apart(), PROCESS, model)
    state = random_state(model, FrozenConfigDict(config.train))
    start, kept = state.params, []

    def keep(state, row):
        kept.append(jax.tree.map(np.array, state))

    api.train(setup, jax.device_put(state), on_block=keep, progress=False)
    half, end = kept
    assert half.step == 2 and end.step == 4
    resumed = api.train(setup, jax.device_put(half), progress=False)
    assert_trees_equal(end, jax.tree.map(np.asarray, resumed))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(end.params))
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), start, end.params)
    assert np.mean(jax.tree.leaves(changed)) > 0.6


def test_sequential_members_are_trained_one_after_the_other():
    """A network with output 0 has the mean square of the data as its loss."""
    class Silent:
        traits, counts, num_labels = Traits("independent", 1), False, 0

        def apply(self, params, x, time, conditioning):
            return jnp.zeros_like(x) * params["w"]

    sequential = far_apart().replace(sequential=True)
    process = make_process(make_schedule("cosine", 100), "x0")
    weights = lambda: {"w": jnp.ones(())}
    config = train_config(steps=20)
    state = training.TrainState(
        jnp.int32(0), weights(), weights(), training.make_optimizer(config).init(weights()))
    block = train_block(Silent(), config, process)
    seen = []
    for _ in range(4):
        state, metrics = block(state, sequential, KEY, 5, SPEC)
        seen.append(np.sqrt(metrics.loss))
    np.testing.assert_allclose(np.concatenate(seen), [100.0] * 10 + [200.0] * 10, rtol=0.02)


# ---------------------------------------------------------------- learning


def test_a_small_model_comes_near_the_ideal_denoiser():
    """Compare the loss on fresh data with the loss of E[x_0 | x_t], which is the minimum.

    It takes some seconds, because the model is trained until it is good.
    """
    config = train_config(steps=800, num_sets=256, num_points=1, warmup=40, block=400,
                          learning_rate=5e-3, weight_decay=1e-4, clip_norm=1.0)
    model = FourierMLP(FourierTrunk(
        hidden_dim=48, num_blocks=2, num_frequencies=8, scale=4.0, max_period=20.0,
        time_frequencies=8, time_scale=20.0))
    block = train_block(model, config)
    state = training.init_state(jax.random.key(0), model, FrozenConfigDict(config))
    mixture = three_components()

    @jax.jit
    def fresh(mixture):
        x_0 = mixture.draw(jax.random.key(1), 20_000, 1).points
        eps = jax.random.normal(jax.random.key(2), x_0.shape)
        level = PROCESS.level(jax.random.randint(jax.random.key(3), (20_000,), 1, 101))
        weight = PROCESS.coefficients(level).c_out ** -2
        return x_0, add_noise(level.expand(), x_0, eps), level, weight

    x_0, x_t, level, weight = fresh(mixture)

    def loss(denoise):
        error = np.mean((np.asarray(denoise(x_t, level)) - x_0) ** 2, axis=(1, 2))
        return float(np.mean(weight * error))

    of_model = jax.jit(lambda x, level, p: make_denoise(PROCESS, model.apply, p)(x, level))
    start = loss(lambda x, level: of_model(x, level, state.params))
    for _ in range(2):
        state, _ = block(state, dataset(), KEY, 400, make_spec(256, 1))
    ideal = loss(jax.jit(mixture.denoise))
    learned = loss(lambda x, level: of_model(x, level, state.ema))
    assert start > 1.5 * ideal
    assert ideal < learned < 1.05 * ideal


# ---------------------------------------------------------------- the warm-up


@pytest.mark.parametrize("steps, warmup, expected", [(100, 200, 10), (4000, 200, 200), (5, 3, 0)])
def test_the_warm_up_is_at_most_a_tenth_of_all_steps(steps, warmup, expected):
    """A run with train.steps=150 is valid with the default warm-up of 200."""
    config = train_config(steps=steps, warmup=warmup, clip_norm=1e9, weight_decay=0.0)
    optimizer, params = training.make_optimizer(config), {"w": jnp.ones((2, 2))}
    state, rates = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for _ in range(min(steps, expected + 2)):
        updates, state = update({"w": jnp.ones((2, 2))}, state, params)
        # for a constant gradient, the update equals the rate
        rates.append(-float(updates["w"][0, 0]))
    assert int(np.argmax(rates)) == expected
    np.testing.assert_allclose(max(rates), config.learning_rate, rtol=1e-3)


def test_a_second_training_compiles_nothing():
    """The program of a block is reused by runs that differ only in seed and data."""
    from tiny_diffusion_jax.training import loop

    config = default_config()
    config.train = train_config(steps=7, block=3)
    ends = []
    for seed in (0, 1):
        config.seed = seed
        setup = api.Experiment(config, dataset(), PROCESS, small_model())
        programs = list(loop._programs)
        ends.append(api.train(setup, progress=False))
    assert list(loop._programs) == programs
    kernels = [s.params["params"]["trunk"]["to_output"]["kernel"] for s in ends]
    assert not np.array_equal(*kernels)


def test_each_block_is_trained_with_its_spec(monkeypatch):
    """Blocks alternate between sets of 8 and 32 points; the last block has the remaining step."""
    from tiny_diffusion_jax.training import loop
    from tiny_diffusion_jax.training.step import BlockMetrics

    blocks = []

    def lower(state, *constants, steps, spec):
        def program(state, *constants):
            blocks.append((steps, spec.num_sets, spec.num_points))
            metrics = BlockMetrics(np.ones(steps), np.ones(steps), np.ones(10), None)
            return state.replace(step=state.step + steps), metrics

        return SimpleNamespace(compile=lambda: program)

    monkeypatch.setattr(loop, "_programs", {})
    monkeypatch.setattr(loop, "make_train_block", lambda *_: SimpleNamespace(lower=lower))
    config = default_config()
    config.train = train_config(steps=7, block=2, num_sets=16, num_points=8, max_points=32)
    setup = api.Experiment(config, dataset(), PROCESS, small_model())
    assert api.train(setup, progress=False).step == 7
    assert blocks == [(2, 16, 8), (2, 4, 32), (2, 16, 8), (1, 4, 32)]


def test_a_block_ends_when_its_metrics_have_arrived():
    from tiny_diffusion_jax.training import loop

    before = time.perf_counter()
    metrics, done = loop._fetch({"loss": jnp.arange(3.0)})
    assert before <= done <= time.perf_counter()
    assert isinstance(metrics["loss"], np.ndarray) and metrics["loss"].tolist() == [0, 1, 2]


def test_a_block_that_ends_before_the_block_before_it_takes_time(monkeypatch):
    """Threads that wait for short blocks may return in a different order."""
    from tiny_diffusion_jax.training import loop

    config, rows, times = default_config(), [], iter([3e9, 2e9, 4e9])
    config.train = train_config(steps=7, block=3)
    fetch = loop._fetch
    monkeypatch.setattr(loop, "_fetch", lambda metrics: (fetch(metrics)[0], next(times)))
    setup = api.Experiment(config, dataset(), PROCESS, small_model())
    api.train(setup, on_block=lambda _, row: rows.append(row), progress=False)
    speeds = [row["steps_per_second"] for row in rows]
    assert all(0 < speed < np.inf for speed in speeds) and len(speeds) == 3


def test_a_block_runs_while_the_block_before_it_is_reported(monkeypatch):
    """Each block's results and state are passed on after the next block was sent."""
    from tiny_diffusion_jax.training import loop

    config, events = default_config(), []
    config.train = train_config(steps=7, block=3)
    make_block = loop.Block

    def recorded(before, after, steps, *others):
        events.append(("sent", int(before.step) + steps))
        return make_block(before, after, steps, *others)

    def on_block(state, row):
        assert row["step"] == int(state.step)
        events.append(("reported", row["step"]))
        return row["step"] == last

    monkeypatch.setattr(loop, "Block", recorded)
    setup = api.Experiment(config, dataset(), PROCESS, small_model())
    last = 0
    assert api.train(setup, on_block=on_block, progress=False).step == 7
    sent, reported = (lambda step: ("sent", step)), (lambda step: ("reported", step))
    assert events == [sent(3), sent(6), reported(3), sent(7), reported(6), reported(7)]
    events.clear()
    last = 3
    assert api.train(setup, on_block=on_block, progress=False).step == 3
    assert events == [sent(3), sent(6), reported(3)]
