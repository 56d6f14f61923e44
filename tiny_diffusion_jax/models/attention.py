"""Two ways to look at a history that mixes all members: neither can tell them apart.

    context = tanh(softmax(q k^T / sqrt(d)) v),    F = trunk([features(x), features(t), context])

k and v come from the clean points of the previous batch. Those are drawn from the mixture of all
members, whatever the set at hand is drawn from: history and set are independent, so the best
denoiser given both is the one given x_t alone, and the sets it generates are superpositions.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.attend import attend
from tiny_diffusion_jax.models.embeddings import LabelEmbedding
from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.history import read_history

MAX_HISTORY = 1000  # points; the memory estimate counts on no more


def cycle(points: jax.Array, there: jax.Array, index: jax.Array) -> jax.Array:
    """Point `index` mod m of the m points that are there, counted in their order, f32[B, N, 2].

    points f32[B, M, 2], there bool[B, M], index i32[B, N]; where m = 0, any point.
    """
    first = jnp.argsort(~there, axis=1, stable=True)  # those that are there, in order
    row = index % jnp.maximum(there.sum(1), 1)[:, None]
    return jnp.take_along_axis(points, jnp.take_along_axis(first, row, axis=1)[..., None], axis=1)


class Context(nn.Module):
    """tanh(softmax(q k^T / sqrt(d)) v) f32[B, N, D], one head; 0 where the history is empty.

    q from `asking` f32[B, N, C], k and v from `memory` f32[B, M, C'], which is looked at where
    `there` bool[B, M] is True.
    """

    size: int

    @nn.compact
    def __call__(self, asking: jax.Array, memory: jax.Array, there: jax.Array) -> jax.Array:
        q = nn.Dense(self.size, name="query")(asking)
        k, v = (nn.Dense(self.size, name=name)(memory) for name in ("key", "value"))
        read, weights = attend(q, k, v, 1, there)
        # An empty history has nothing to give, where a softmax gives all the same weight.
        self.sow("intermediates", "attention", jnp.where(there[:, None, None], weights, 0))
        return jnp.tanh(jnp.where(there.any(1)[:, None, None], read, 0))


class _Attention(nn.Module):
    """What both versions share: all but who asks."""

    trunk: FourierTrunk
    num_labels: int = 0

    per_point = False
    history = "previous_batch"
    latent_dim = 0

    @property
    def floats_per_point(self) -> int:
        """The trunk's, query and context, and the attention weights of a full history."""
        return self.trunk.floats_per_point + 2 * self.trunk.hidden_dim + 2 * MAX_HISTORY

    def asking(self, x, time, mask, points, there) -> jax.Array:
        """Features f32[B, N, C] that the query is made of."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x, time, *, history=None, label=None, mask=None, target=None) -> jax.Array:
        size = self.trunk.hidden_dim
        points, there = read_history(history, len(x))
        asking = self.asking(x, time, mask, points, there)
        context = Context(size, name="context")(asking, self.trunk.features(points), there)
        named = LabelEmbedding(self.num_labels, size, name="label")(label, len(x))
        return self.trunk(x, time, per_point=context, per_set=named)


class AttentionV1(_Attention):
    """q, k and v all from the history: point i is given what history point i mod M reads there.

    The context never looks at the noisy point it comes with. It is a label by position in the
    list, with nothing to say about the point; so the order of both lists matters, and should not.
    """

    def asking(self, x, time, mask, points, there) -> jax.Array:
        mask = jnp.ones(x.shape[:2], bool) if mask is None else mask
        index = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)  # masked points are not counted
        return self.trunk.features(cycle(points, there, index))


class AttentionV2(_Attention):
    """q from the noisy point and its noise level, k and v from the history."""

    def asking(self, x, time, mask, points, there) -> jax.Array:
        clock = self.trunk.time_features(time)[:, None]
        clock = jnp.broadcast_to(clock, (*x.shape[:2], clock.shape[-1]))
        return jnp.concatenate([self.trunk.features(x), clock], axis=-1)
