"""A causal transformer over the points of a set, with a diffusion head for the next point.

    p(X) = prod_i p(x_i | c_i),    c_i = transformer(x_1 ... x_{i-1})

Each point is generated given the points before it, as in `history`. Here one pass computes the
contexts c_i of all N points, so training on a set of N points costs about as much as training on
one history of N points. A generated point is added to a cache of keys and values. The head comes
from arXiv 2406.11838, where it generates tokens of images.

The head also attends to the tokens of the earlier points, with a query from its noisy point. The
few numbers of c_i cannot store the positions of all earlier points, and a nearby one may matter.
With `relative`, this attention sees the earlier points relative to the noisy point.

With `order` the points of a set are sorted (sets/order.py). The head may also draw points that
violate this order, so p has some mass on sequences out of order.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.layers import SetEmbedding, attend, read_history, size_features
from tiny_diffusion_jax.models.set_transformer import MLP_RATIO, rms_norm
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning


class CausalBlock(nn.Module):
    """h += W_out [attention, gelu(u)],    [q, k, v, u] = W_in rms_norm(h), as in `SetBlock`.

    h f32[B, n, C] are the tokens number `start` to start + n - 1. keys and values f32[B, W, C] hold
    the earlier tokens, and are returned with the new tokens added. seen: bool[B or 1, n, W], the
    tokens that each of the n tokens attends to.
    """

    num_heads: int

    @nn.compact
    def __call__(self, h: jax.Array, keys: jax.Array, values: jax.Array, start, seen: jax.Array):
        num_sets, n, size = h.shape
        inside = nn.Dense((3 + MLP_RATIO) * size, name="inside")(rms_norm(h).reshape(-1, size))
        inside = inside.reshape(num_sets, n, -1)
        q, k, v, u = jnp.split(inside, (size, 2 * size, 3 * size), axis=-1)
        keys = jax.lax.dynamic_update_slice(keys, k, (0, start, 0))
        values = jax.lax.dynamic_update_slice(values, v, (0, start, 0))
        read, weights = attend(q, keys, values, self.num_heads, seen)
        self.sow("intermediates", "attention", weights)
        out = jnp.concatenate([read, nn.gelu(u)], axis=-1).reshape(num_sets * n, -1)
        out = nn.Dense(size, name="outside")(out).reshape(h.shape)
        return h + out, keys, values


def up_to_itself(start, n: int, num_tokens: int) -> jax.Array:
    """Causal mask bool[1, n, W] of the tokens number `start` to start + n - 1, W = num_tokens.

    A token attends to the tokens before it and to itself.
    """
    return (jnp.arange(num_tokens) <= start + jnp.arange(n)[:, None])[None]


class Context(NamedTuple):
    """Conditioning of the head on the earlier points, for n points of each of B sets."""

    per_layer: jax.Array  # f32[B, n, K + 1, 2 H], scale and shift of each layer of the head by c_i
    keys: jax.Array  # f32[B, W, C], of the tokens of all points
    values: jax.Array
    seen: jax.Array  # bool[B or 1, n, W], True for tokens of points before each of the n

    def at(self, index: jax.Array) -> "Context":
        """Context of m points of each set: the points number `index` i32[B, m]."""
        at = lambda a: index.reshape(*index.shape, *[1] * (a.ndim - 2))
        pick = lambda a: jnp.take_along_axis(a, at(a), axis=1)
        seen = jnp.broadcast_to(self.seen, (len(index), *self.seen.shape[1:]))
        return self._replace(per_layer=pick(self.per_layer), seen=pick(seen))


class Causal(nn.Module):
    """`contexts` of whole sets, `begin` and `extend` for sets that grow; a call denoises.

    A call denoises the points x f32[B, N, D]. conditioning.latent is the `Context` of n points.
    Each of the n contexts serves N / n consecutive noisy points. Without conditioning.latent the
    context is computed from conditioning.history, the points so far.
    """

    trunk: FourierTrunk  # the head
    context_dim: int = 96
    context_blocks: int = 3
    num_labels: int = 0
    counts: bool = False
    order: str = "random"
    coordinates: tuple[str, ...] = ("x", "y")  # names of the D coordinates
    given_share: float = 0.0

    @property
    def traits(self) -> Traits:
        # Given its context, each point is denoised independently. The cache stores keys and values.
        floats = self.trunk.floats_per_point + 2 * (self.context_blocks + 1) * self.context_dim
        # Given points are seldom the first points in order.
        completes = self.order == "random" or self.given_share > 0
        return Traits("causal", floats, self.trunk.num_heads, completes=completes)

    def setup(self):
        size = self.context_dim
        self.from_point = nn.Dense(size)
        self.from_number = nn.Dense(size)
        self.label = SetEmbedding(self.num_labels, size, self.counts)
        self.blocks = [CausalBlock(self.trunk.num_heads) for _ in range(self.context_blocks)]
        self.looked_at = nn.Dense(2 * size)
        if self.given_share:
            self.is_given = self.param("is_given", nn.initializers.normal(1.0), (size,))

    def contexts(self, points, conditioning: Conditioning = NO_CONDITIONING) -> Context:
        """Context of each of the points f32[B, N, D], given the points before it."""
        (B, N, _), given = points.shape, conditioning.given
        start = jnp.zeros((B, 1, self.context_dim))
        tokens, seen = self._tokens(points[:, :-1]), up_to_itself(0, N, N)
        if self.given_share and given is not None:
            is_given = (jnp.arange(N) > 0) & (jnp.arange(N) <= given[:, None])  # of tokens
            tokens = tokens + is_given[:, 1:, None] * self.is_given
            # Given points attend to each other in both directions.
            seen = seen | is_given[..., None] & is_given[:, None]
        tokens = jnp.concatenate([start, tokens], axis=1)
        x = jnp.pad(points[:, :-1], ((0, 0), (1, 0), (0, 0)))
        return self._read(self._empty(B, N), tokens, x, 0, seen, conditioning)[1]

    def begin(self, num_sets: int, capacity: int, conditioning: Conditioning = NO_CONDITIONING):
        """Return (cache for `capacity` tokens, `Context` of the first point)."""
        token, x = (jnp.zeros((num_sets, 1, size))
                    for size in (self.context_dim, len(self.coordinates)))  # fmt: skip
        cache, seen = self._empty(num_sets, capacity), up_to_itself(0, 1, capacity)
        return self._read(cache, token, x, 0, seen, conditioning)

    def extend(
        self, cache, points, number, conditioning: Conditioning = NO_CONDITIONING,
        given: bool = False,
    ):  # fmt: skip
        """Add points f32[B, n, D]; return (cache, `Context` of the next point after each of them).

        The added points have the numbers `number` to number + n - 1 in their sets. given: they are
        all given points of their sets.
        """
        tokens, n, num_tokens = self._tokens(points), points.shape[1], cache[0][0].shape[1]
        seen = up_to_itself(number + 1, n, num_tokens)
        if self.given_share and given:
            tokens, seen = tokens + self.is_given, jnp.broadcast_to(seen[:, -1:], seen.shape)
        return self._read(cache, tokens, points, number + 1, seen, conditioning)

    def _empty(self, num_sets: int, capacity: int) -> tuple:
        """Empty cache: keys and values of the tokens for each block, and for the head."""
        nothing = lambda: jnp.zeros((num_sets, capacity, self.context_dim))
        return tuple((nothing(), nothing()) for _ in range(self.context_blocks + 1))

    def _tokens(self, points: jax.Array) -> jax.Array:
        features = self.trunk.features(points.reshape(-1, points.shape[-1]))
        return self.from_point(features).reshape(*points.shape[:2], self.context_dim)

    def _read(self, cache, h, x, start, seen, conditioning: Conditioning):
        """Pass the tokens f32[B, n, C] number `start` to start + n - 1 through all blocks.

        x f32[B, n, D]: the points of the tokens; 0, the centre of the data, for the first token.
        seen: bool[B or 1, n, W], True for the tokens that each of the n tokens attends to.
        """
        number = self.from_number(size_features(1 + start + jnp.arange(h.shape[1])))
        embedding = self.label(conditioning, len(h))
        h = h + number if embedding is None else h + number + embedding[:, None]
        *of_blocks, of_head = cache
        new_cache = []
        for block, (keys, values) in zip(self.blocks, of_blocks, strict=True):
            h, *pair = block(h, keys, values, start, seen)
            new_cache.append(tuple(pair))
        h = rms_norm(h)
        added = [self.trunk.rotated(a, x) for a in jnp.split(self.looked_at(h), 2, axis=-1)]
        of_head = tuple(jax.lax.dynamic_update_slice(old, new, (0, start, 0))
                        for old, new in zip(of_head, added, strict=True))  # fmt: skip
        return (*new_cache, of_head), Context(self.trunk.film(h), *of_head, seen)

    def _after_history(self, conditioning: Conditioning, num_sets: int, dim: int) -> Context:
        """Context of the point that follows all points of the history."""
        points, mask = read_history(conditioning.history, num_sets, dim)
        first = jnp.argsort(~mask, axis=1)  # stable: unmasked points keep their order
        points = jnp.take_along_axis(points, first[..., None], axis=1)
        points = jnp.pad(points, ((0, 0), (0, 1), (0, 0)))  # `contexts` drops the last point
        return self.contexts(points, conditioning).at(mask.sum(1, keepdims=True))

    def __call__(self, x, time, conditioning: Conditioning = NO_CONDITIONING) -> jax.Array:
        context = conditioning.latent
        if context is None:
            context = self._after_history(conditioning, len(x), x.shape[-1])
        repeats = x.shape[1] // context.per_layer.shape[1]
        attended = context.keys, context.values, jnp.repeat(context.seen, repeats, axis=1)
        return self.trunk(x, time, per_layer=context.per_layer, attended=attended)
