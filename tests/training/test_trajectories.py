"""Distil models whose trajectories are known: for a Gaussian, the ends are linear in x_t."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.diffusion.process import Level, make_process
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import NO_CONDITIONING
from tiny_diffusion_jax.run.distill import distilled_config, with_trajectories
from tiny_diffusion_jax.training.batches import make_batch_spec

TINY = {"model.hidden_dim": 8, "model.num_blocks": 1, "model.num_heads": 2,
        "model.num_frequencies": 4, "train.steps": 4, "train.block": 2, "train.num_sets": 4,
        "train.num_points": 4, "train.max_points": 0, "sample.num_steps": 3, "sample.num_sets": 4,
        "sample.num_points": 6, "compilation_cache": ""}  # fmt: skip
MEAN, STD = jnp.array([3.0, -1.0]), 0.5


def gaussian(key, n):
    return MEAN + STD * jax.random.normal(key, (n, 2))


class Zero(nn.Module):
    """F = 0, the exact denoiser of N(0, I) with the prediction "edm"."""

    strategy: str = "independent"
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self) -> Traits:
        return Traits(self.strategy, 16)

    @nn.compact
    def __call__(self, x, time, conditioning=NO_CONDITIONING):
        return x * self.param("zero", nn.initializers.zeros, ())


def distilled_zero(**options):
    experiment = td.build(data=gaussian, config=TINY, model=Zero(**options))
    settings = distilled_config(experiment.config, model=experiment.model)
    settings.train.trajectories = 48
    return experiment._replace(config=settings), {"params": {"zero": jnp.zeros(())}}


@pytest.mark.parametrize("strategy", ["independent", "joint"])
def test_the_ends_of_a_gaussian_are_linear(strategy):
    """N(0, I) in the network's units: x_0 = x_t / sqrt(alpha^2 + sigma^2)."""
    distilled = with_trajectories(*distilled_zero(strategy=strategy), progress=False)
    for dataset, count in ((distilled.dataset, 45), (distilled.dataset.validation, 3)):
        pool = dataset.trajectories
        assert pool.x_0.shape == (count, 4 if strategy == "independent" else 6, 2)
        assert len(pool.levels) == 40 and pool.levels[0] == 1000 and pool.levels[-1] == 25
        level = distilled.process.level(pool.levels)
        alpha, sigma = (a[:, None, None, None] for a in (level.alpha, level.sigma))
        x_t = alpha * pool.x_0 + sigma * pool.eps
        np.testing.assert_allclose(x_t / jnp.hypot(alpha, sigma), pool.x_0[None] + 0 * x_t,
                                   atol=0.02)  # fmt: skip


def test_batches_hold_one_trajectory_at_one_level():
    experiment, params = distilled_zero()
    pool = with_trajectories(experiment, params, progress=False).dataset.trajectories
    pool = pool.replace(x_0=jnp.arange(45.0)[:, None, None] + 0 * pool.x_0,
                        eps=pool.levels[:, None, None, None] + 0 * pool.eps)  # fmt: skip
    spec = make_batch_spec(experiment.config.train, experiment.model)
    batch = pool.draw_batches(jax.random.key(0), 1000, 200, spec)
    assert batch.x_0.shape == batch.eps.shape == (200, 4, 4, 2) and batch.t.shape == (200, 4)
    np.testing.assert_array_equal(batch.eps, batch.t[..., None, None] + 0 * batch.eps)
    assert (np.ptp(batch.x_0, axis=(2, 3)) == 0).all()
    assert set(np.unique(batch.t)) == set(range(25, 1001, 25))
    assert set(np.unique(batch.x_0)) == set(range(45))


@pytest.mark.parametrize("num_steps", [1, 2, 4])
@pytest.mark.parametrize("schedule", ["karras", "cosine"])
def test_the_exact_end_map_draws_the_gaussian_in_any_number_of_steps(schedule, num_steps):
    """f(x_t, t) = m + s (x_t - alpha m) / sqrt(alpha^2 s^2 + sigma^2) for data N(m, s^2 I)."""
    process = make_process(make_schedule(schedule, 1000), sigma_data=STD, data_mean=MEAN)

    def end(x_t, level: Level):
        norm = jnp.sqrt((level.alpha * STD) ** 2 + level.sigma**2)
        return MEAN + STD * (x_t - level.alpha * MEAN) / norm

    keys, grid = jax.random.split(jax.random.key(0), 8), time_grid(process.schedule, num_steps)
    x = sample(process, make_sampler("consistency"), end, grid, keys, (4000, 2)).reshape(-1, 2)
    error = STD / len(x) ** 0.5
    np.testing.assert_allclose(x.mean(0), MEAN, atol=5 * error)
    np.testing.assert_allclose(x.std(0), STD, atol=5 * error)


def test_every_step_adds_fresh_noise_to_the_end():
    """The sets of two steps with f = 0 are 0, and the noise between them has variance sigma^2."""
    process = make_process(make_schedule("karras", 1000))
    keys = jax.random.split(jax.random.key(0), 4)
    path = sample(process, make_sampler("consistency"), lambda x, level: 0 * x,
                  time_grid(process.schedule, 2), keys, (4000, 2), True)  # fmt: skip
    assert not path[-1].any()
    np.testing.assert_allclose(path[1].std(), process.schedule.sigma[500], rtol=0.02)
    assert abs(np.corrcoef(path[0].ravel(), path[1].ravel())[0, 1]) < 0.03
