"""Draw a batch of sets with extreme sizes, in the same way as training, for any model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from weights import random_weights

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.diffusion.process import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.training import batches

PROCESS = make_process(make_schedule("cosine", 100))
NUM_SETS = 24
SIZES = np.array([1, 1, 2, 40])


def observed():
    points = np.random.default_rng(0).normal(size=(SIZES.sum(), 2))
    return from_observed(points, np.cumsum(SIZES) - SIZES, SIZES, np.array([0, 1, 1, 0]))


draw = jax.jit(batches.draw_batches, static_argnums=(2, 3, 4))


@functools.cache
def masked_batch(name: str):
    """(model, random weights, batch), with the sets ordered by size.

    The number of points differs between slices of this batch as much as possible.
    """
    config = default_config()
    config.update_from_flattened_dict({
        "model.name": name, "model.labels": True, "model.sizes": True, "model.hidden_dim": 8,
        "model.num_blocks": 1, "model.num_frequencies": 4, "model.time_frequencies": 4,
        "model.num_heads": 2, "model.num_inducing": 2, "model.latent_dim": 4,
        "model.context_dim": 8, "model.context_blocks": 1, "model.scale": 2.0,
        "model.max_period": 4.0, "model.state_dim": 4, "model.teacher_forcing": 0.3,
        "train.num_sets": NUM_SETS, "train.num_points": 12, "train.max_history": 6,
        "train.num_levels": 2,
    })  # fmt: skip
    model = make_model(config.model, 2)
    spec = batches.make_batch_spec(config.train, model)
    batch = jax.tree.map(lambda a: a[0], draw(jax.random.key(5), observed(), 100, 1, spec))
    sizes = batch.conditioning.mask.sum(-1)
    order = jnp.argsort(sizes)
    assert np.ptp(sizes) >= 5
    return model, random_weights(model), jax.tree.map(lambda a: a[order], batch)
