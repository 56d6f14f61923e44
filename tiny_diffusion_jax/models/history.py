"""Attention to a history of clean points: the chain p(x_1) p(x_2 | x_1) ... of a set.

The points of a set from one of several densities are not independent. Given the points so far, the
next points are nearly independent. The history is an argument and never a hidden state.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.layers import SetEmbedding, attend, fullness, pool, read_history
from tiny_diffusion_jax.models.traits import Traits


class HistoryAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v from noisy points to history points, with several heads.

    q f32[B, N, D] are features of the noisy points; k and v come from `memory` f32[B, M, C]. A
    learned token is always part of the memory, so that an empty history also has an output. Output
    f32[B, N, D].
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
    """The Fourier MLP, conditioned on a history of points of the same set.

    Queries come from the noisy point and its noise level, keys and values from the history
    (`HistoryAttention`). A summary of the whole history (the mean of its features, and its number
    of points) scales and shifts every layer.
    """

    trunk: FourierTrunk
    num_heads: int = 4
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self) -> Traits:
        floats = self.trunk.floats_per_point + 4 * self.trunk.hidden_dim
        return Traits("chain", floats, floats_per_shown=2 * self.num_heads, shown="same_set",
                      completes=True)  # fmt: skip

    @nn.compact
    def __call__(
        self, x, time, *, history=None, label=None, count=None, mask=None, target=None
    ) -> jax.Array:
        size = self.trunk.hidden_dim
        num_sets, num_points, dim = x.shape
        points, shown = read_history(history, num_sets, dim)
        seen = nn.gelu(nn.Dense(size, name="from_history")(self.trunk.features(points)))
        seen = seen + nn.gelu(nn.Dense(size, name="history_block")(seen))
        embed = SetEmbedding(self.num_labels, size, self.counts, name="label")
        known = embed(label, num_sets, count)
        summary = jnp.concatenate([pool(seen, shown), fullness(shown)], axis=-1)
        summary = nn.gelu(nn.Dense(size, name="from_summary")(summary))
        summary = summary if known is None else summary + known
        time_features = self.trunk.time_features(time)
        query_features = jnp.concatenate([
            self.trunk.noisy_features(x, time_features).reshape(num_sets, num_points, -1),
            jnp.repeat(time_features[:, None], num_points, axis=1),
        ], axis=-1)
        query = nn.Dense(size, name="query")(query_features)
        read = HistoryAttention(self.num_heads, name="attention")(query, seen, shown)
        return self.trunk(x, time, per_point=read, per_set=summary)
