"""Features of coordinates and of time.

A plain network draws smooth functions only; the sines let it draw sharp ones (arXiv 2006.10739).
Each embedding maps f32[..., D] to f32[..., F]. To add one: write it and name it in `EMBEDDINGS`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def sin_turns(turns: jax.Array) -> jax.Array:
    """sin(2 pi turns) to 2e-6, several times faster on a CPU than `jnp.sin`.

    An odd polynomial on [-1/4, 1/4], after folding by sin(pi - a) = sin(a). Full accuracy wants
    |turns| < 1e3 or so, as for any float32 angle.
    """
    r = turns - jnp.round(turns)  # [-1/2, 1/2]
    r = jnp.where(jnp.abs(r) > 0.25, jnp.sign(r) * 0.5 - r, r)
    x = 2 * jnp.pi * r
    x2 = x * x
    # Taylor to x^11: the next term is 6e-8 at pi / 2.
    poly = 1 + x2 * (
        -1 / 6 + x2 * (1 / 120 + x2 * (-1 / 5040 + x2 * (1 / 362880 - x2 / 39916800)))
    )
    return x * poly


def waves(turns: jax.Array) -> jax.Array:
    """[sin(2 pi turns), cos(2 pi turns)] along the last axis."""
    return sin_turns(jnp.concatenate([turns, turns + 0.25], axis=-1))


def sinusoidal(
    x: jax.Array, num_frequencies: int, scale: float, max_period: float
) -> jax.Array:
    """[sin(w_i scale x_d), cos(w_i scale x_d)] of each coordinate d, f32[..., 2 D num_frequencies].

    w_i falls geometrically from 1 to 1 / max_period (arXiv 1706.03762, section 3.5).
    """
    exponent = np.arange(num_frequencies) / max(num_frequencies - 1, 1)
    frequency = scale * max_period**-exponent / (2 * np.pi)
    features = waves(x[..., None] * jnp.asarray(frequency, jnp.float32))
    return features.reshape(*x.shape[:-1], -1)


class Sinusoidal(nn.Module):
    """Fixed geometric frequencies, one coordinate at a time."""

    num_frequencies: int  # per coordinate
    scale: float
    max_period: float = 100.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return sinusoidal(x, self.num_frequencies, self.scale, self.max_period)


class Gaussian(nn.Module):
    """Random directions: waves(B x / 2 pi), B ~ N(0, scale^2), drawn once and never trained."""

    num_frequencies: int  # in all
    scale: float
    max_period: float = 0.0  # not used

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # A parameter, so that it is saved with the model; stop_gradient and the masked weight
        # decay of `training.decays` keep it as it was drawn.
        shape = (x.shape[-1], self.num_frequencies)
        frequency = self.param("fixed_frequency", nn.initializers.normal(self.scale), shape)
        return waves(x @ jax.lax.stop_gradient(frequency) / (2 * jnp.pi))


class Learned(nn.Module):
    """As `Gaussian`, with the directions trained like any weight."""

    num_frequencies: int  # in all
    scale: float
    max_period: float = 0.0  # not used

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.num_frequencies)
        frequency = self.param("frequency", nn.initializers.normal(self.scale), shape)
        return waves(x @ frequency / (2 * jnp.pi))


class Identity(nn.Module):
    """The coordinates themselves: the baseline that shows why features are needed."""

    num_frequencies: int = 0  # not used, nor are the others
    scale: float = 0.0
    max_period: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


EMBEDDINGS = {
    "sinusoidal": Sinusoidal,
    "gaussian": Gaussian,
    "learned": Learned,
    "identity": Identity,
}


class LabelEmbedding(nn.Module):
    """A learned vector for each of `num_labels` labels and one more for "unnamed" (-1 or None).

    f32[B, features] of label i32[B]; None where `num_labels` is 0, for then no label is looked at.
    """

    num_labels: int
    features: int

    @nn.compact
    def __call__(self, label: jax.Array | None, num_sets: int) -> jax.Array | None:
        if not self.num_labels:
            return None
        if label is None:
            label = jnp.full(num_sets, -1)
        row = jnp.where(label < 0, self.num_labels, label)
        return nn.Embed(self.num_labels + 1, self.features, name="table")(row)
