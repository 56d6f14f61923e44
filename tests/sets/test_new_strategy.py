"""Check that a new strategy is one class and one line of `STRATEGIES`."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import sets
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models.fourier_mlp import FourierMLP
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets.batch import Batch
from tiny_diffusion_jax.sets.order import Key
from tiny_diffusion_jax.sets.reverse import reverse
from tiny_diffusion_jax.sets.strategy import Strategy


class Mirrored(Strategy):
    """Draw half of the points, and reflect the first coordinate of these points."""

    def loss(self, process, apply, params, batch):
        x_0 = batch.x_0.at[..., 0].set(jnp.abs(batch.x_0[..., 0]))
        return super().loss(process, apply, params, batch._replace(x_0=x_0))

    def points_in_memory(self, num_points, num_given=0):
        return num_points // 2

    def sample_limits(self, options):
        yield "num_points", options.num_points % 2 == 0, "even"

    def draw(self, context, keys, conditioning, sizes=None):
        shape = context.num_points // 2, context.dim
        points = reverse(context, self.model, keys, shape, conditioning=conditioning)
        return jnp.concatenate([points, points.at[..., 0].multiply(-1)], axis=-2)


class Sorted(Strategy):
    """Sort the points of a set by their first coordinate."""

    sort_keys = (Key(axis=0),)
    grows = True


def test_a_strategy_sorts_if_it_has_keys():
    model = SimpleNamespace(counts=True)
    assert Sorted(model).sorts and not Sorted(model).scores_given
    assert not Mirrored(model).sorts


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.setitem(sets.STRATEGIES, "mirrored", Mirrored)
    monkeypatch.setattr(FourierMLP, "traits", Traits("mirrored", floats_per_point=100))
    config = td.default_config("fourier_mlp")
    config.update_from_flattened_dict({
        "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4,
        "model.time_frequencies": 4, "train.steps": 2, "train.block": 1, "train.warmup": 0,
        "train.num_sets": 4, "train.num_points": 8, "sample.num_sets": 3, "sample.num_points": 6,
        "sample.num_steps": 4,
    })  # fmt: skip
    return td.build(config)


def test_a_new_strategy_trains_samples_and_scores(experiment):
    strategy, losses = sets.strategy_of(experiment.model), []
    assert isinstance(strategy, Mirrored)
    state = td.train(experiment, on_block=lambda _, row: losses.append(row["loss"]), progress=False)
    assert state.step == 2 and len(losses) == 2 and np.isfinite(losses).all()
    points = td.sample(experiment, state.sampled)
    x = np.asarray(experiment.dataset.normalize(points))
    assert points.shape == (3, 6, 2) and len(np.unique(x[:, :3, 0])) == 9
    np.testing.assert_allclose(x[:, 3:], x[:, :3] * np.array([-1, 1]), atol=1e-5)
    trajectory = td.sample(experiment, state.sampled, keep_trajectory=True)
    np.testing.assert_allclose(trajectory[-1], points, atol=1e-5)
    # without a method of the class, log p(X) is the sum of the densities of the points
    log_p = td.log_prob(experiment, state.sampled, points, num_steps=2)
    assert log_p.shape == (3,) and np.isfinite(log_p).all()


def test_a_new_strategy_has_a_loss_and_limits(experiment):
    """The loss is the loss of points with |x|, and sets of an odd number of points are refused."""
    params = random_weights(experiment.model)
    strategy = sets.strategy_of(experiment.model)
    x_0 = np.float32(np.random.default_rng(1).normal(size=(2, 3, 2)))
    batch = Batch(x_0, x_0, np.array([5, 50]), Conditioning())
    loss = jax.jit(lambda batch: strategy.loss(
        experiment.process, experiment.model.apply, params, batch))  # fmt: skip
    reflected = batch._replace(x_0=x_0 * np.float32([-1, 1]))
    np.testing.assert_array_equal(loss(batch), loss(reflected))
    odd = editable(experiment.config.sample)
    odd.num_points = 7
    with pytest.raises(UserError, match="config.sample.num_points = 7: must be even"):
        td.sample(experiment, params, odd)
