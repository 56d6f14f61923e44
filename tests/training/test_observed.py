"""Check training on observed sets: history points, denoised points, and held-out loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batch_specs import INDEPENDENT, SAME_SET, Model, make_spec
from jax.tree_util import Partial

from tiny_diffusion_jax import api
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.diffusion.process import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.point_sets import PointSets
from tiny_diffusion_jax.training import batches
from tiny_diffusion_jax.training import step as training
from tiny_diffusion_jax.training.augment import Augment

KEY = jax.random.key(5)
SIZES = np.array([2, 5, 9, 30])


def observed(sizes=SIZES, **fields):
    """Point k of set s is (s, k), so that values identify set and point."""
    points = np.concatenate([np.stack([np.full(n, s), np.arange(n)], 1)
                             for s, n in enumerate(sizes)])  # fmt: skip
    offsets = np.cumsum(sizes) - sizes
    return from_observed(points, offsets, sizes, np.arange(len(sizes)), normalize=False, **fields)


draw_batches = jax.jit(batches.draw_batches, static_argnums=(2, 3, 4))


def draw(model=INDEPENDENT, **fields):
    """Points f32[30, 32, N, 2] of 30 x 32 sets and their conditioning, in numpy."""
    spec = make_spec(32, 4, model._replace(counts=True), **fields)
    batch = jax.tree.map(np.asarray, draw_batches(KEY, observed(), 100, 30, spec))
    return batch.x_0, batch.conditioning


def test_sets_have_masks_and_sizes():
    x_0, (label, size, history, _, mask, _) = draw()
    np.testing.assert_array_equal(size, SIZES[label])
    np.testing.assert_array_equal(mask.sum(-1), np.minimum(size, 4))
    assert (x_0[~mask] == 0).all()  # padding is 0, not random
    assert (x_0[..., 0] == label[..., None])[mask].all()
    assert history is None
    _, (label, size, *_, mask, _) = draw(min_points=1)
    assert set(mask.sum(-1).ravel()) == {1, 2, 3, 4} and mask[..., 0].all()
    # the size is the size of the complete set
    np.testing.assert_array_equal(size, SIZES[label])


def test_no_point_is_in_the_history_and_denoised():
    x_0, (label, size, history, _, mask, _) = draw(
        SAME_SET, min_history=2, max_history=8, history_drop=0.25
    )
    h, n = history.mask.sum(-1), mask.sum(-1)
    np.testing.assert_array_equal(n, np.minimum(4, size - h))
    assert (n >= 1).all()
    most = np.minimum(8, size - 1)
    assert (h <= most).all() and np.mean(h == 0) == pytest.approx(0.25, abs=0.05)
    assert (h[h > 0] >= np.minimum(2, most)[h > 0]).all()
    # the history of the largest set has a log-uniform size on 2..8
    sizes = h[(label == 3) & (h > 0)]
    k = np.arange(2, 9)
    share = [np.mean(sizes == i) for i in k]
    np.testing.assert_allclose(share, np.log((k + 1) / k) / np.log(9 / 2), atol=0.12)
    points = np.concatenate([x_0, history.points], axis=2)
    exists = np.concatenate([mask, history.mask], axis=2)
    for step in range(3):
        for b in range(32):
            of_set = points[step, b][exists[step, b]]
            assert len(np.unique(of_set, axis=0)) == len(of_set)
            assert (of_set[:, 0] == label[step, b]).all()


def test_a_latent_describes_the_complete_set():
    model = Model("latent", "same_set", latent_dim=3)
    x_0, (label, size, history, _, mask, _) = draw(model, min_history=2, max_history=8)
    np.testing.assert_array_equal(history.mask.sum(-1), np.minimum(size, 8))
    np.testing.assert_array_equal(mask.sum(-1), np.minimum(size, 4))
    large = label == 3  # no point appears twice if the set is large enough
    both = np.concatenate([x_0[large], history.points[large]], axis=1)
    assert all(len(np.unique(points, axis=0)) == 12 for points in both)
    [small] = history.points[0, label[0] == 0][:1]
    assert set(small[:2, 1]) == {0, 1}


def test_a_complete_set_is_moved_with_its_history():
    """Points of a set lie on a line x = s, and a shift moves the complete line."""
    move = Augment(shift=10.0)
    x_0, (_, _, history, *_) = draw(SAME_SET, min_history=2, max_history=8, augment=move)
    x = np.where(history.mask, history.points[..., 0], np.nan)
    distance = np.abs(x - x_0[..., :1, 0])[history.mask]
    assert distance.max() < 1e-4 and np.std(x_0[..., 0, 0]) > 5


def test_the_size_of_sets_without_a_size_is_their_number_of_points():
    plain = observed().replace(draw=Partial(lambda key, b, n: PointSets(jnp.zeros((b, n, 2)))))
    for counts in (True, False):
        spec = make_spec(4, 3, Model(counts=counts))
        size = draw_batches(KEY, plain, 100, 2, spec).conditioning.size
        assert (size == 3).all() if counts else size is None


# ---------------------------------------------------------------- held-out loss, best weights


def small_config(**changes):
    config = default_config()
    config.update_from_flattened_dict({
        "model.name": "fourier_mlp", "model.hidden_dim": 8, "model.num_blocks": 1,
        "model.num_frequencies": 4, "model.time_frequencies": 4, "model.sizes": True,
        "train.steps": 6, "train.block": 2, "train.warmup": 0, "train.num_sets": 4,
        "train.num_points": 4, "train.learning_rate": 0.05,
        "train.ema_decay": 0.0,
    } | changes)  # fmt: skip
    return config


PROCESS = make_process(make_schedule("cosine", 100))


@functools.cache
def setup(keep_best):
    config = small_config(**{"train.keep_best": keep_best})
    data = observed().replace(heldout=observed([3, 7]))
    return api.Experiment(config, data, PROCESS, make_model(config.model, 0))


def run(keep_best, state=None, last=None):
    """(final state in numpy, states after each block, rows)."""
    kept, rows = [], []

    def on_block(state, row):
        kept.append(jax.tree.map(np.array, state))
        rows.append(row)
        return row["step"] == last

    state = api.train(setup(keep_best), state, on_block, progress=False)
    return jax.tree.map(np.array, state), kept, rows


@functools.cache
def complete_run():
    return run(True)


def test_held_out_loss_of_the_ema_weights_on_the_same_batches():
    _, states, rows = complete_run()
    config, data, process, model, _ = setup(True)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    spec = batches.make_batch_spec(config.train, model)
    key = jax.random.fold_in(key, training.HELDOUT_KEY)
    drawn = draw_batches(key, data.heldout, 100, 1, spec)
    batch = jax.tree.map(lambda a: a[0], drawn)
    assert set(np.asarray(batch.conditioning.size)) <= {3, 7}
    loss = jax.jit(lambda ema: spec.strategy.loss(PROCESS, model.apply, ema, batch).mean())
    losses = [row["heldout_loss"] for row in rows]
    np.testing.assert_allclose(losses, [loss(state.ema) for state in states], rtol=1e-4)


def test_weights_are_chosen_on_the_validation_half():
    config, data, process, model, _ = setup(True)
    data = data.replace(validation=data.heldout, heldout=observed([2, 2]))
    split = api.Experiment(config, data, process, model)
    rows = []
    api.train(split, None, lambda state, row: rows.append(row), progress=False)
    expected = [row["heldout_loss"] for row in complete_run()[2]]
    np.testing.assert_allclose([row["heldout_loss"] for row in rows], expected, rtol=1e-5)


def test_a_rotation_with_a_scale_for_each_axis_is_not_trained():
    config = small_config(**{"data.augment_rotate": True, "data.per_axis": True})
    with pytest.raises(UserError, match="augment_rotate = True: must be False with config.data.pe"):
        api.train(setup(True)._replace(config=config), progress=False)


def test_the_best_weights_have_the_lowest_loss():
    end, states, rows = complete_run()
    losses = [row["heldout_loss"] for row in rows]
    best = int(np.argmin(losses))
    assert end.best.step == rows[best]["step"]
    assert end.best.loss == pytest.approx(losses[best])
    jax.tree.map(np.testing.assert_array_equal, end.sampled, states[best].ema)


def test_a_larger_or_nan_loss_is_never_the_best():
    state = training.TrainState(jnp.int32(7), None, {"w": jnp.ones(2)}, None, training.Best(
        {"w": jnp.zeros(2)}, jnp.float32(0.5), jnp.int32(3)))  # fmt: skip
    for loss, step in ((0.6, 3), (np.nan, 3), (0.4, 7)):
        after = training.keep_best(state, jnp.float32(loss))
        assert after.best.step == step and after.sampled["w"][0] == (step == 7)
    assert state.replace(best=None).sampled is state.ema


def test_training_is_the_same_with_and_without_the_best_and_after_a_stop():
    end, states, _ = complete_run()
    without, *_ = run(False)
    assert without.best is None and without.sampled is without.ema
    assert len(jax.tree.leaves(without)) < len(jax.tree.leaves(end))
    jax.tree.map(np.testing.assert_array_equal, without.params, end.params)
    resumed, *_ = run(True, jax.tree.map(jnp.asarray, states[0]))
    jax.tree.map(np.testing.assert_array_equal, resumed, end)
