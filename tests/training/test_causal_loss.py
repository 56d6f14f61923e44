"""Check the loss of a causal model: each noised point is compared with its clean point."""

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.training.batches import Batch
from tiny_diffusion_jax.training.step import loss_of_batch

B, N, K = 2, 3, 4


def test_every_level_of_a_point_has_the_loss_of_that_point():
    """F = x_t + c_i predicts x_0, so the loss is |(alpha - 1) x_0 + sigma eps + c_i|^2 / D."""
    process = make_process(make_schedule("cosine", 50), "x0")
    rng = np.random.default_rng(0)
    x_0, eps = rng.normal(size=(B, N, 2)), rng.normal(size=(B, N, K, 2))
    t = rng.integers(1, 51, (B, N, K))

    def apply(params, x, time=None, *, method=None, latent=None, **condition):
        return 10 * x if method == "contexts" else x + jnp.repeat(latent, K, axis=1)

    batch = Batch(jnp.float32(x_0), jnp.float32(eps), jnp.asarray(t))
    found = jax.jit(lambda batch: loss_of_batch(process, apply, None, batch))(batch)
    alpha, sigma = (np.asarray(a)[t][..., None] for a in (process.schedule.alpha,
                                                          process.schedule.sigma))  # fmt: skip
    clean = x_0[:, :, None]
    error = (alpha - 1) * clean + sigma * eps + 10 * clean
    np.testing.assert_allclose(found, (error**2).mean(-1), rtol=1e-4)
