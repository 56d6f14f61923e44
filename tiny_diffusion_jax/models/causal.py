"""A causal transformer over the points of a set, with a diffusion head for the next one.

    p(X) = prod_i p(x_i | c_i),    c_i = transformer(x_1 ... x_{i-1})

As in `history` each point is drawn given those before it. Here one pass gives the contexts c_i of
all N points, so a set of N costs about as much to learn from as one history of N, and a point
that is drawn is added to a cache of keys and values (arXiv 2406.11838 has the head, for tokens of
images).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.layers import SetEmbedding, attend, count_features, read_history
from tiny_diffusion_jax.models.set_transformer import MLP_RATIO, unit
from tiny_diffusion_jax.models.traits import Traits


class CausalBlock(nn.Module):
    """h += W_out [attention, gelu(u)],    [q, k, v, u] = W_in unit(h), as `SetBlock`.

    h f32[B, n, C] are tokens number `start` to start + n - 1; keys, values f32[B, W, C] hold those
    of earlier ones, and come back with these. A token attends to those up to itself.
    """

    num_heads: int

    @nn.compact
    def __call__(self, h: jax.Array, keys: jax.Array, values: jax.Array, start):
        num_sets, n, size = h.shape
        inside = nn.Dense((3 + MLP_RATIO) * size, name="inside")(unit(h).reshape(-1, size))
        inside = inside.reshape(num_sets, n, -1)
        q, k, v, u = jnp.split(inside, (size, 2 * size, 3 * size), axis=-1)
        keys = jax.lax.dynamic_update_slice(keys, k, (0, start, 0))
        values = jax.lax.dynamic_update_slice(values, v, (0, start, 0))
        before = jnp.arange(keys.shape[1]) <= start + jnp.arange(n)[:, None]
        read, weights = attend(q, keys, values, self.num_heads, before[None])
        self.sow("intermediates", "attention", weights)
        out = jnp.concatenate([read, nn.gelu(u)], axis=-1).reshape(num_sets * n, -1)
        out = nn.Dense(size, name="outside")(out).reshape(h.shape)
        return h + out, keys, values


class Causal(nn.Module):
    """`contexts` of all points of whole sets; `begin` and `extend` with a cache; a call denoises.

    A call takes the context of each set as `latent` f32[B, 1, C], or of each point f32[B, N, C],
    or makes it from `history`, the points so far.
    """

    trunk: FourierTrunk  # the head
    context_dim: int = 96
    context_blocks: int = 3
    num_heads: int = 4
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self) -> Traits:
        # Given its context, a point is denoised alone; the cache has keys and values.
        floats = self.trunk.floats_per_point + 2 * self.context_blocks * self.context_dim
        return Traits("causal", floats, completes=True)

    def setup(self):
        size = self.context_dim
        self.from_point = nn.Dense(size)
        self.from_number = nn.Dense(size)
        self.label = SetEmbedding(self.num_labels, size, self.counts)
        self.blocks = [CausalBlock(self.num_heads) for _ in range(self.context_blocks)]

    def contexts(self, points, *, label=None, count=None) -> jax.Array:
        """f32[B, N, C], of each of the points f32[B, N, D] by those before it."""
        cache, first = self.begin(len(points), points.shape[1], label=label, count=count)
        if points.shape[1] == 1:
            return first
        _, later = self.extend(cache, points[:, :-1], 0, label=label, count=count)
        return jnp.concatenate([first, later], axis=1)

    def begin(self, num_sets: int, places: int, *, label=None, count=None):
        """(cache for `places` tokens, context f32[B, 1, C] of the first point)."""
        empty = jnp.zeros((self.context_blocks, 2, num_sets, places, self.context_dim))
        token = jnp.zeros((num_sets, 1, self.context_dim))
        return self._read(empty, token, 0, label, count)

    def extend(self, cache, points, number, *, label=None, count=None):
        """(cache, contexts f32[B, n, C] of the points after each) with points f32[B, n, D].

        They are those number `number` to number + n - 1 of their sets.
        """
        token = self.from_point(self.trunk.features(points.reshape(-1, points.shape[-1])))
        token = token.reshape(*points.shape[:2], -1)
        return self._read(cache, token, number + 1, label, count)

    def _read(self, cache, h, start, label, count):
        """Tokens f32[B, n, C] number `start` and on, through all blocks."""
        number = self.from_number(count_features(1 + start + jnp.arange(h.shape[1])))
        known = self.label(label, len(h), count)
        h = h + number if known is None else h + number + known[:, None]
        kept = []
        for block, (keys, values) in zip(self.blocks, cache, strict=True):
            h, *pair = block(h, keys, values, start)
            kept.append(jnp.stack(pair))
        return jnp.stack(kept), unit(h)

    def _after(self, history, num_sets: int, dim: int, label, count) -> jax.Array:
        """The context f32[B, 1, C] of a point after all that are shown of `history`."""
        points, shown = read_history(history, num_sets, dim)
        first = jnp.argsort(~shown, axis=1)  # a stable order: the shown ones as they come
        points = jnp.take_along_axis(points, first[..., None], axis=1)
        points = jnp.pad(points, ((0, 0), (0, 1), (0, 0)))  # contexts leave out the last
        contexts = self.contexts(points, label=label, count=count)
        return jnp.take_along_axis(contexts, shown.sum(1)[:, None, None], axis=1)

    def __call__(
        self, x, time, *, history=None, label=None, count=None, mask=None, target=None, latent=None
    ) -> jax.Array:
        if latent is None:
            latent = self._after(history, len(x), x.shape[-1], label, count)
        return self.trunk(x, time, per_set=latent)
