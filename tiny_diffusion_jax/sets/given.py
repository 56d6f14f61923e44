"""Given points of a set in training: a random part of the set, before the other points.

A model of sorted sets can complete a set only if it has seen points that are given before the
sorted ones. In a share of the training sets, h random points are given, and the model learns the
density of the other points:
    p(rest | given) = q(order(rest) | order(given)) / (N - h)!
With h = 0 this is the density of the set, see order.py.
"""

import jax
import jax.numpy as jnp


def draw_given(key: jax.Array, exists: jax.Array, share: float) -> jax.Array:
    """Draw the given points bool[..., N] among the points that exist, bool[..., N].

    A set of n points has h of 1 to n - 1 given points with probability `share`, all h equally
    likely, and otherwise none. All subsets of h points are equally likely.
    """
    rank_key, size_key, share_key = jax.random.split(key, 3)
    n = exists.sum(-1)
    h = jax.random.randint(size_key, n.shape, 1, jnp.maximum(n, 2))
    h = jnp.where((n > 1) & jax.random.bernoulli(share_key, share, n.shape), h, 0)
    random = jnp.where(exists, jax.random.uniform(rank_key, exists.shape), 2.0)
    rank = random.argsort(-1).argsort(-1)
    return rank < h[..., None]


def denoised_points(given: jax.Array, mask: jax.Array | None, num_points: int) -> jax.Array:
    """Indices i32[B, N] of the points that are denoised in the N slots of each set.

    No given point is denoised. The first h slots (given i32[B]) would be unused, so they repeat the
    other points: slot i < h has point h + i mod (n - h), where n is the size of the set. Sets with
    many given points then weigh as much as sets without given points.
    """
    slot, h = jnp.arange(num_points), given[:, None]
    n = num_points if mask is None else mask.sum(1, keepdims=True)
    return jnp.where(slot < h, h + slot % jnp.maximum(n - h, 1), slot)
