"""Attention to a history of clean points: p(x_1) p(x_2 | x_1) ....

The points of a set from one of several densities are not independent. Given the points so far, the
next points are nearly independent. The history is an argument and never a hidden state.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.layers import SetEmbedding, attend, fullness, pool, read_history
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning


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
        return Traits("autoregressive", floats, floats_per_history_point=2 * self.num_heads,
                      history_source="same_set", completes=True)  # fmt: skip

    @nn.compact
    def __call__(self, x, time, conditioning: Conditioning = NO_CONDITIONING) -> jax.Array:
        size = self.trunk.hidden_dim
        num_sets, num_points, dim = x.shape
        points, history_mask = read_history(conditioning.history, num_sets, dim)
        memory = nn.gelu(nn.Dense(size, name="from_history")(self.trunk.features(points)))
        memory = memory + nn.gelu(nn.Dense(size, name="history_block")(memory))
        embed = SetEmbedding(self.num_labels, size, self.counts, name="label")
        per_set = embed(conditioning, num_sets)
        summary = jnp.concatenate([pool(memory, history_mask), fullness(history_mask)], axis=-1)
        summary = nn.gelu(nn.Dense(size, name="from_summary")(summary))
        summary = summary if per_set is None else summary + per_set
        time_features = self.trunk.time_features(time)
        query_features = jnp.concatenate([
            self.trunk.noisy_features(x, time_features).reshape(num_sets, num_points, -1),
            jnp.repeat(time_features[:, None], num_points, axis=1),
        ], axis=-1)
        query = nn.Dense(size, name="query")(query_features)
        read = HistoryAttention(self.num_heads, name="attention")(query, memory, history_mask)
        return self.trunk(x, time, per_point=read, per_set=summary)
