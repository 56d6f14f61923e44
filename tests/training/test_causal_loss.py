"""Check the loss of a causal model: each noised point is compared with its clean point."""

import jax.numpy as jnp
import numpy as np
from batch_specs import Model

from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets.batch import Batch
from tiny_diffusion_jax.sets.causal import Causal

B, N, K = 2, 3, 4


def test_every_level_of_a_point_has_the_loss_of_that_point():
    """F = x_t + c_i predicts x_0, so the loss is |(alpha - 1) x_0 + sigma eps + c_i|^2 / D."""
    process = make_process(make_schedule("cosine", 50), "x0")
    rng = np.random.default_rng(0)
    x_0, eps = rng.normal(size=(B, N, 2)), rng.normal(size=(B, N, K, 2))
    t = rng.integers(1, 51, (B, N, K))

    def apply(params, x, *inputs, method=None):
        if method == "contexts":
            assert inputs == (Conditioning(label=label),)
            return 10 * x
        return x + jnp.repeat(inputs[1].latent, K, axis=1)

    label = jnp.arange(B)
    batch = Batch(jnp.float32(x_0), jnp.float32(eps), jnp.asarray(t), Conditioning(label))
    strategy = Causal(Model("causal"))
    losses = strategy.loss(process, apply, None, batch)
    alpha, sigma = (np.asarray(a)[t][..., None] for a in (process.schedule.alpha,
                                                          process.schedule.sigma))  # fmt: skip
    clean = x_0[:, :, None]
    error = (alpha - 1) * clean + sigma * eps + 10 * clean
    np.testing.assert_allclose(losses, (error**2).mean(-1), rtol=1e-4)
