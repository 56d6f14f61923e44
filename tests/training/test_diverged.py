"""Check that the diverged step is reproduced, and that the report names all values not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import MOONS
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import api, devices
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.run import debug_step
from tiny_diffusion_jax.training import loop
from tiny_diffusion_jax.training.batches import make_batch_spec
from tiny_diffusion_jax.training.loop import TrainingDiverged
from tiny_diffusion_jax.training.step import BlockMetrics, TrainState, make_train_block


def built(*arguments):
    return api.build(parse(["", *arguments]).config)


@pytest.fixture(scope="module")
def moons():
    return built(*MOONS)


@pytest.fixture(scope="module")
def step(moons, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diverged")
    debug_step.write(folder, moons, api.init(moons), 0)
    return debug_step.read(folder, moons)


def test_the_repeated_step_equals_the_step_of_the_block_and_its_file(tmp_path):
    experiment = built(*MOONS, "--config.train.block=2", "--config.train.min_points=2")
    config, data, process, model, _ = experiment
    start, key = api.init(experiment), jax.random.fold_in(jax.random.key(config.seed), 1)
    block = make_train_block(model, FrozenConfigDict(config.train), devices.make_mesh(), 1)
    spec = make_batch_spec(config.train, model)
    _, metrics = block(start, data, process, key, 2, spec)
    for done in (0, 1):
        debug_step.write(tmp_path, experiment, start, done)
        number, params, batch = debug_step.read(tmp_path, experiment)
        losses, _, norm = debug_step._loss_and_grad(process, params, batch, model=model)
        assert number == done + 1 and batch.conditioning.mask is not None
        np.testing.assert_allclose(losses.mean(), metrics.loss[done], rtol=1e-5)
        np.testing.assert_allclose(norm, metrics.grad_norm[done], rtol=1e-4)


def test_finite_values_are_reported(moons, step):
    first, last = debug_step.describe(moons, step)
    assert first.startswith("step 1: loss = ")
    assert last.startswith("all values of the repeated step are finite")


def test_a_nan_point_is_reported_with_its_noise_level(moons, step):
    batch = step.batch._replace(x_0=step.batch.x_0.at[3, 5, 1].set(jnp.nan))
    first, losses, points, *gradients = debug_step.describe(moons, step._replace(batch=batch))
    assert first == "step 1: loss = nan, gradient norm = nan"
    assert losses == (f"losses not finite: 1 of 8, at the noise levels {int(batch.t[3])} of 1000")
    assert points == "batch not finite: x_0, 1 of 128 numbers"
    kernels = [line for line in gradients if "kernel" in line]
    assert len(kernels) >= 3 and all(line.startswith("gradient not finite: ") for line in gradients)


def test_an_infinite_weight_is_reported_with_its_name(moons, step):
    flat, structure = jax.tree.flatten(step.params)
    flat[-1] = flat[-1].at[0].set(jnp.inf)
    lines = debug_step.describe(moons, step._replace(params=jax.tree.unflatten(structure, flat)))
    [weights] = [line for line in lines if line.startswith("weights not finite: ")]
    assert "params" not in weights and ", 1 of " not in weights.partition("numbers")[2]


@pytest.mark.parametrize("loss, norm, at, words", [
    ([1, 2, np.nan], [1, 1, 1], 2, "loss = nan at step 13"),
    ([1, 2, np.inf], [1, np.inf, np.inf], 1, "gradient norm = inf at step 12"),
    ([np.nan, 2, np.inf], [1, np.inf, np.inf], 0, "loss = nan at step 11"),
    ([1, 2, 3], [np.inf, 1, np.nan], 2, "gradient norm = nan at step 13"),
    # clipping scales a gradient of infinite norm to zero, so training continues
    ([1, 2, 3], [np.inf, 1, 1], None, ""),
])  # fmt: skip
def test_the_step_at_fault(loss, norm, at, words):
    state = TrainState(np.int32(10), {}, {}, ())
    metrics = BlockMetrics(np.array(loss), np.array(norm), np.ones(10))
    if at is None:
        return loop._require_finite(metrics, state)
    with pytest.raises(TrainingDiverged) as error:
        loop._require_finite(metrics, state)
    assert (str(error.value), error.value.state, error.value.done) == (words, state, at)
