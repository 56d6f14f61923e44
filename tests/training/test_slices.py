"""Check that the loss of sets with extreme sizes does not depend on slices and devices."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT
from masked_batches import PROCESS, masked_batch

from tiny_diffusion_jax.models import MODELS
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.training import step as training

# Loss and gradient of each model; all devices share the sets of the batch.
ON_DEVICES = """
import sys
from functools import partial
import jax, numpy as np
from masked_batches import NUM_SETS, PROCESS, masked_batch
from tiny_diffusion_jax import devices
from tiny_diffusion_jax.models import MODELS
from tiny_diffusion_jax.training.step import loss_and_grad

def loss(name, mesh):
    model, params, batch = masked_batch(name)
    params = jax.device_put(params, devices.on_all(mesh))
    batch = jax.device_put(batch, devices.by_set(mesh, NUM_SETS))
    assert len(batch.conditioning.mask.devices()) == mesh.size
    slices = devices.cpu_slices(mesh, NUM_SETS, batch.x_0.shape[1])
    step = jax.jit(partial(loss_and_grad, PROCESS, model, slices=slices))
    return jax.tree.map(np.asarray, step(params, batch))

assert jax.device_count() == 8
for name in MODELS:
    one, eight = (loss(name, devices.make_mesh(jax.devices()[:n])) for n in (1, 8))
    close = partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5, err_msg=name)
    jax.tree.map(close, eight, one)
    print(name)
"""


@functools.partial(jax.jit, static_argnames=("model", "slices"))
def loss_and_grad(model, params, batch, slices):
    return training.loss_and_grad(PROCESS, model, params, batch, slices)


def assert_close(result, expected):
    check = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
    jax.tree.map(check, result, expected)


# One model of each strategy: a network does not know of slices. The test on eight devices compares
# the batch in parts with the whole batch for all models.
@pytest.mark.parametrize("name", ["fourier_mlp", "history", "causal", "set_transformer",
                                  "set_latent"])
def test_slices_do_not_change_the_loss_of_sets_of_extreme_sizes(name):
    model, params, batch = masked_batch(name)
    one_slice = loss_and_grad(model, params, batch, 1)
    assert max(np.abs(g).max() for g in jax.tree.leaves(one_slice[1])) > 1e-2
    assert_close(loss_and_grad(model, params, batch, 3), one_slice)


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_the_causal_loss_is_the_mean_over_all_points_that_exist(slices):
    """The loss is the mean over real points, also if some slices have few points."""
    model, params, batch = masked_batch("causal")
    full = batch._replace(weight=None)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def mean_of_points(params):
        losses = strategy_of(model).loss(PROCESS, model.apply, params, full)
        exists = jnp.broadcast_to(batch.conditioning.mask[..., None], losses.shape)
        return losses.mean(where=exists), losses

    (expected, _), gradient = mean_of_points(params)
    losses, grads = loss_and_grad(model, params, batch, slices)
    assert losses.mean() == pytest.approx(float(expected), rel=1e-5)
    assert_close(grads, gradient)


def test_a_batch_without_padding_has_no_weights():
    """The program of such a batch has no weights either, so its rounding is unchanged."""
    model, params, batch = masked_batch("causal")
    assert batch.weight is not None and batch.weight.mean() == pytest.approx(1.0, rel=1e-5)
    assert masked_batch("set_transformer")[2].weight is None


@pytest.mark.slow
def test_eight_devices_compute_the_loss_of_sets_of_extreme_sizes():
    process = subprocess.run(
        [sys.executable, "-c", f"import jax; jax.config.update('jax_num_cpu_devices', 8)\n"
         f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n{ON_DEVICES}"],
        cwd=ROOT, capture_output=True, text=True)  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == list(MODELS)
