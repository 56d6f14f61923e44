"""Draw random weights of a network without compiling its initialisation."""

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.training.step import TrainState, init_state


def random_weights(model, dim: int = 2, seed: int = 0, scale: float | None = None):
    """Weights of `model` in numpy, all random, because zeros would hide errors.

    scale: standard deviation of all weights; None: 1 / sqrt(number of inputs), at most 1 / 2.
    """
    x = jnp.zeros((1, 2, dim))
    conditioning = Conditioning(jnp.zeros(1, jnp.int32), history=PointSets(x))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x, jnp.zeros(1), conditioning)
    rng = np.random.default_rng(seed)
    std = lambda shape: scale or max(shape[0], 4) ** -0.5
    return jax.tree.map(lambda a: np.float32(std(a.shape) * rng.normal(size=a.shape)), shapes)


def random_state(model, config, dim: int = 2) -> TrainState:
    """State before the first step with random weights, in numpy.

    config: the `train` part of a config, frozen.
    """
    like = jax.eval_shape(lambda: init_state(jax.random.key(0), model, config, dim))
    state = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)
    params = random_weights(model, dim)
    return state.replace(params=params, ema=params)
