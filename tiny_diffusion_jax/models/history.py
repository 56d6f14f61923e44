"""Attention over a history of clean points: the chain p(x_1) p(x_2 | x_1) ... of a set.

A set that comes from one of several densities is not made of independent points, but given the
points so far the next ones nearly are. The history is an argument and never a hidden state.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.attend import attend
from tiny_diffusion_jax.models.embeddings import LabelEmbedding
from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk


def read_history(history, num_sets: int) -> tuple[jax.Array, jax.Array]:
    """Points f32[B, M, 2], 0 where masked, and mask bool[B, M], M >= 1; None: a masked point."""
    if history is None or history.points.shape[1] == 0:
        return jnp.zeros((num_sets, 1, 2)), jnp.zeros((num_sets, 1), bool)
    if history.mask is None:
        return history.points, jnp.ones(history.points.shape[:2], bool)
    return jnp.where(history.mask[..., None], history.points, 0), history.mask


def pool(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over the points that are there, f32[B, C] of values f32[B, M, C]; 0 where none is."""
    total = jnp.where(mask[..., None], values, 0).sum(1)
    return total / jnp.maximum(mask.sum(1), 1)[:, None]


def fullness(mask: jax.Array) -> jax.Array:
    """log(1 + number of points), in units of log 256, f32[B, 1] of mask bool[B, M]."""
    return jnp.log1p(mask.sum(1).astype(jnp.float32))[:, None] / jnp.log(256.0)


class HistoryAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v from noisy points to history points, several heads.

    q f32[B, N, D] are the noisy points' own features; k, v come from `memory` f32[B, M, C]. A
    learned token that is always there answers where the history is empty. Output f32[B, N, D].
    """

    num_heads: int

    @nn.compact
    def __call__(self, query: jax.Array, memory: jax.Array, mask: jax.Array) -> jax.Array:
        size = query.shape[-1]
        keys = nn.Dense(2 * size, name="keys_values")(memory)
        null = self.param("null", nn.initializers.normal(0.02), (1, 1, 2 * size))
        keys = jnp.concatenate([jnp.broadcast_to(null, (len(keys), 1, 2 * size)), keys], axis=1)
        mask = jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        k, v = jnp.split(keys, 2, axis=-1)
        read, weights = attend(query, k, v, self.num_heads, mask)
        self.sow("intermediates", "attention", weights)
        return read


class HistoryDenoiser(nn.Module):
    """The Fourier MLP, told what each point reads from a history of points of its own set.

    The noisy point and its noise level ask, the history answers (`HistoryAttention`); a summary of
    the whole history (mean of features, and how many there are) scales and shifts every layer.
    """

    trunk: FourierTrunk
    num_heads: int = 4
    num_labels: int = 0

    per_point = False
    history = "same_set"
    latent_dim = 0

    @property
    def floats_per_point(self) -> int:
        """As the trunk's, and the attention weights of a history of 64 points."""
        return self.trunk.floats_per_point + 4 * self.trunk.hidden_dim + 2 * 64 * self.num_heads

    @nn.compact
    def __call__(self, x, time, *, history=None, label=None, mask=None, target=None) -> jax.Array:
        size = self.trunk.hidden_dim
        num_sets, num_points, _ = x.shape
        points, there = read_history(history, num_sets)
        seen = nn.gelu(nn.Dense(size, name="from_history")(self.trunk.features(points)))
        seen = seen + nn.gelu(nn.Dense(size, name="history_block")(seen))
        named = LabelEmbedding(self.num_labels, size, name="label")(label, num_sets)
        summary = jnp.concatenate([pool(seen, there), fullness(there)], axis=-1)
        summary = nn.gelu(nn.Dense(size, name="from_summary")(summary))
        summary = summary if named is None else summary + named
        asking = jnp.concatenate([
            self.trunk.features(x),
            jnp.repeat(self.trunk.time_features(time)[:, None], num_points, axis=1),
        ], axis=-1)
        query = nn.Dense(size, name="query")(asking)
        read = HistoryAttention(self.num_heads, name="attention")(query, seen, there)
        return self.trunk(x, time, per_point=read, per_set=summary)
