"""Draw independent points in parts, to bound memory."""

import math

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.sets.reverse import Asked, Request, reverse

PART = 16_384  # points of a set that are drawn at once


def rows(request: Request, num_given: int = 0) -> int:
    """Number of points of a set that are in memory at once."""
    return min(request.config.num_points, PART)


def draw(request: Request, keys: jax.Array, asked: Asked) -> jax.Array:
    """Draw p(X) = prod_i p(x_i | asked): f32[B, N, D], or trajectories [steps + 1, B, N, D]."""
    return draw_points(request, keys, request.config.num_points, **asked.condition())


def draw_points(request: Request, keys: jax.Array, num_points: int, **condition) -> jax.Array:
    """Draw `num_points` points per set, independent of each other given `condition`."""
    part = min(num_points, PART)
    parts = [
        reverse(request, keys, (part, request.dim), number=j, **condition)
        for j in range(math.ceil(num_points / part))
    ]
    return jnp.concatenate(parts, axis=-2)[..., :num_points, :]
