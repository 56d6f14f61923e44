"""Parts that denoisers share: features of coordinates and time, attention, pooling.

A plain network learns only smooth functions, and sine features let it learn sharp ones (arXiv
2006.10739). Each embedding maps f32[..., D] to f32[..., F]. To add an embedding, write a builder
and name it in `EMBEDDINGS`.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.point_sets import Conditioning

# The slowest wave of log(size) makes half a turn from 1 to 10^6 points. The fastest wave makes one
# turn from 20 to 25 points.
SIZE_FREQUENCIES, SIZE_SCALE, SIZE_MAX_PERIOD = 16, 28.0, 128.0


def sin_turns(turns: jax.Array) -> jax.Array:
    """sin(2 pi turns) with an error of 2e-6, several times faster on a CPU than `jnp.sin`.

    Fold by sin(pi - a) = sin(a), then evaluate an odd polynomial on [-1/4, 1/4]. Full accuracy
    requires |turns| < 1e3 or so, as for any float32 angle.
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
    return features.reshape(*x.shape[:-1], x.shape[-1] * features.shape[-1])


class Sinusoidal(nn.Module):
    """Sine features with fixed geometric frequencies, for one coordinate at a time."""

    num_frequencies: int  # per coordinate
    scale: float
    max_period: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return sinusoidal(x, self.num_frequencies, self.scale, self.max_period)


class RandomWaves(nn.Module):
    """waves(B x / 2 pi) for random directions B ~ N(0, scale^2), which are trained or fixed."""

    num_frequencies: int  # in all
    scale: float
    trained: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # A fixed B is a parameter, too, so that it is saved with the model. stop_gradient, and
        # `decays` in training/step.py (no weight decay), keep its initial value.
        name = "frequency" if self.trained else "fixed_frequency"
        shape = (x.shape[-1], self.num_frequencies)
        frequency = self.param(name, nn.initializers.normal(self.scale), shape)
        frequency = frequency if self.trained else jax.lax.stop_gradient(frequency)
        # Always in float32: less precision would lose the fraction of a turn.
        turns = jnp.matmul(x, frequency, precision=jax.lax.Precision.HIGHEST) / (2 * jnp.pi)
        return waves(turns)


class Identity(nn.Module):
    """The coordinates themselves, a baseline that shows why features are needed."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


# name -> builder(num_frequencies, scale, max_period)
EMBEDDINGS = {
    "sinusoidal": Sinusoidal,
    "gaussian": lambda num_frequencies, scale, _: RandomWaves(num_frequencies, scale, False),
    "learned": lambda num_frequencies, scale, _: RandomWaves(num_frequencies, scale, True),
    "identity": lambda *_: Identity(),
}


class SetEmbedding(nn.Module):
    """Embedding f32[B, features] of the label and the size of a set; None if neither is used.

    The embedding is the sum of a learned vector for each of `num_labels` labels (one more for "no
    label": -1 or None) and, with `counts`, a learned map of sinusoidal features of log(size).
    """

    num_labels: int
    features: int
    counts: bool = False

    @nn.compact
    def __call__(self, conditioning: Conditioning, num_sets: int) -> jax.Array | None:
        (label, size, *_), terms = conditioning, []
        if self.num_labels:
            if label is None:
                label = jnp.full(num_sets, -1)
            row = jnp.where(label < 0, self.num_labels, label)
            terms.append(nn.Embed(self.num_labels + 1, self.features, name="table")(row))
        if self.counts:
            unknown = jnp.zeros((num_sets, 2 * SIZE_FREQUENCIES))
            features = unknown if size is None else size_features(size)
            terms.append(nn.Dense(self.features, name="count")(features))
        return functools.reduce(jnp.add, terms) if terms else None


def size_features(size: jax.Array) -> jax.Array:
    """Sinusoidal features of log(size), f32[B, 2 SIZE_FREQUENCIES] of size i32[B]."""
    log_size = jnp.log(jnp.maximum(size, 1).astype(jnp.float32))
    return sinusoidal(log_size[:, None], SIZE_FREQUENCIES, SIZE_SCALE, SIZE_MAX_PERIOD)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, heads: int, mask=None):
    """softmax(q k^T / sqrt(d)) v over `heads` heads, and the weights f32[B, heads, N, M].

    q f32[B, N, D]; k and v f32[B, M, D]. mask bool[B, M], or bool[B or 1, N, M] for each point, is
    False for keys that get no weight.
    """
    q, k, v = (a.reshape(*a.shape[:2], heads, -1) for a in (q, k, v))
    logits = jnp.einsum("bnhd,bmhd->bhnm", q * q.shape[-1] ** -0.5, k)
    if mask is not None:
        mask = mask.reshape(len(mask), 1, -1, k.shape[1])
        logits = jnp.where(mask, logits, -1e9)
    weights = jax.nn.softmax(logits, axis=-1)
    out = jnp.einsum("bhnm,bmhd->bnhd", weights, v)
    return out.reshape(*out.shape[:2], -1), weights


def rotate(a: jax.Array, x: jax.Array, heads: int, scale: float, max_period: float) -> jax.Array:
    """Rotate pairs of numbers of a f32[..., C] by the angles w_i x_d of points x f32[..., D].

    w_i falls geometrically from `scale` to scale / max_period, and the coordinates d take turns.
    The angles of x and y differ by the angle of x - y, so the product of a query rotated by x and a
    key rotated by y depends only on x - y (arXiv 2104.09864). A value that is rotated by y and then
    by -x also depends on the positions only through x - y.
    """
    num_pairs = a.shape[-1] // heads // 2
    # Neighbouring frequencies go to different heads, so that each head has low and high ones.
    number = np.arange(num_pairs) * heads + np.arange(heads)[:, None]
    frequency = scale * max_period ** (-number / max(heads * num_pairs - 1, 1)) / (2 * np.pi)
    axis = np.arange(heads * num_pairs).reshape(heads, num_pairs) % x.shape[-1]
    turns = x[..., axis] * jnp.asarray(frequency, jnp.float32)
    sin, cos = sin_turns(turns), sin_turns(turns + 0.25)
    of_heads = a.reshape(*a.shape[:-1], heads, -1)
    first, second, rest = jnp.split(of_heads, (num_pairs, 2 * num_pairs), axis=-1)
    rotated = first * cos - second * sin, first * sin + second * cos, rest
    return jnp.concatenate(rotated, axis=-1).reshape(a.shape)


def read_history(history, num_sets: int, dim: int) -> tuple[jax.Array, jax.Array]:
    """Points f32[B, M, dim], 0 where masked, and mask bool[B, M], with M >= 1.

    An empty history becomes one masked point.
    """
    if history is None or history.points.shape[1] == 0:
        return jnp.zeros((num_sets, 1, dim)), jnp.zeros((num_sets, 1), bool)
    if history.mask is None:
        return history.points, jnp.ones(history.points.shape[:2], bool)
    return jnp.where(history.mask[..., None], history.points, 0), history.mask


def pool(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean f32[B, C] of values f32[B, M, C] over unmasked points; 0 if all are masked."""
    total = jnp.where(mask[..., None], values, 0).sum(1)
    return total / jnp.maximum(mask.sum(1), 1)[:, None]


def fullness(mask: jax.Array) -> jax.Array:
    """log(1 + number of unmasked points) / log 256, f32[B, 1], of mask bool[B, M]."""
    return jnp.log1p(mask.sum(1).astype(jnp.float32))[:, None] / jnp.log(256.0)
