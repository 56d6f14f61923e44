"""Generate block after block, each given the points so far: p(x_1) p(x_2 | x_1) ...

The history is a plain array that grows. The network has no hidden state.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.dataset import PointSets
from tiny_diffusion_jax.sets.reverse import Asked, Request, reverse
from tiny_diffusion_jax.sets.sizes import width


def rows(request: Request, num_given: int = 0) -> int:
    """Number of points of a set that are in memory at once."""
    return request.config.num_points


def draw(request: Request, keys: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets f32[B, N, D], or the trajectories of each block, [steps + 1, B, N, D].

    The first config.burn_in points started without a history, so they are dropped.
    """
    burned, blocks = block_sizes(request.config)
    points, _ = _grow(request, keys, jnp.zeros((0, request.dim)), burned, 0, asked)
    _, ways = _grow(request, keys, points, blocks, len(burned), asked)
    return jnp.concatenate(ways, axis=-2)


def complete(request: Request, keys: jax.Array, given: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets like `draw`; all sets start with the points `given` f32[n, D]."""
    _, blocks = block_sizes(request.config, len(given))
    _, ways = _grow(request, keys, given, blocks, 0, asked)
    lead = jnp.broadcast_to(given, (*ways[0].shape[:-2], *given.shape))
    return jnp.concatenate([lead, *ways], axis=-2)


def block_sizes(config, num_given: int = 0) -> tuple[list[int], list[int]]:
    """Number of points of each dropped block, and of each kept block after `num_given` points."""
    burn_in = 0 if num_given else config.burn_in
    end = burn_in + config.num_points
    return blocks_between(config, 0, burn_in), blocks_between(config, burn_in + num_given, end)


def blocks_between(config, filled: int, end: int) -> list[int]:
    """Number of points of each block with which a set grows from `filled` to `end` points.

    A block after n points holds max(first_block, (growth - 1) n) points.
    """
    sizes = []
    while filled < end:
        block = max(config.first_block, math.floor((config.growth - 1) * filled))
        sizes.append(min(block, end - filled))
        filled += sizes[-1]
    return sizes


def _grow(request, keys, points, sizes: list[int], number: int, asked: Asked) -> tuple:
    """Return all points f32[B, n, D] after blocks of `sizes`, and the blocks or their trajectories.

    points: f32[m, D], the same for all sets, or f32[B, m, D]. number: number of the first block,
    which selects its noise.
    """
    points = jnp.broadcast_to(points, (len(keys), *points.shape[-2:]))
    blocks = []
    for i, size in enumerate(sizes):
        # Points of a block are independent, so a larger block contains a smaller one. Widths
        # that are powers of two need few programs.
        history = _history(points, request.max_history)
        drawn = reverse(
            request, keys, (width(size), request.dim), number=number + i, history=history,
            **asked.condition(),
        )  # fmt: skip
        blocks.append(drawn[..., :size, :])
        last = blocks[-1][-1] if request.keep_trajectory else blocks[-1]
        points = jnp.concatenate([points, last], axis=1)
    return points, blocks


def _history(points: jax.Array, max_history: int) -> PointSets:
    """The last max_history points, padded to a power of two or to max_history."""
    points = points[:, -max_history:] if points.shape[1] else points
    count = points.shape[1]
    places = min(max_history, width(max(count, 1)))
    points = jnp.pad(points, ((0, 0), (0, places - count), (0, 0)))
    return PointSets(points, np.broadcast_to(np.arange(places) < count, points.shape[:2]))
