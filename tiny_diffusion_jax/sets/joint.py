"""Generate all points of a set together, in one reverse process: p(X) as one density."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.dataset import PointSets
from tiny_diffusion_jax.sets.reverse import Asked, Request, reverse


def rows(request: Request, num_given: int = 0) -> int:
    """Number of points of a set that are in memory at once."""
    return num_rows(request.config.num_points, num_given)


def num_rows(num_points: int, num_given: int) -> int:
    """Number of points of a set plus copies of the given points, see `with_copies`."""
    return num_points + (math.ceil(num_points / num_given) * num_given if num_given else 0)


def draw(request: Request, keys: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets f32[B, N, D], or the trajectories of all points, [steps + 1, B, N, D]."""
    num_points = request.config.num_points
    mask = places(asked.size, num_points)
    return reverse(request, keys, (num_points, request.dim), mask=mask, **asked.condition())


def complete(request: Request, keys: jax.Array, given: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets like `draw`; all sets start with the points `given` f32[n, D].

    Every step inserts the given points, noised to the level of the step (arXiv 2011.13456,
    appendix I.2).
    """
    num_points = request.config.num_points
    known = with_copies(given, num_points, len(keys))
    mask = places(asked.size, num_points, len(given))
    x = reverse(
        request, keys, known.points.shape[1:], known=known, mask=mask, **asked.condition()
    )
    return x[..., :num_points, :]


@partial(jax.jit, static_argnames=("num_points", "num_given"))
def places(size, num_points: int, num_given: int = 0) -> jax.Array | None:
    """Mask bool[B, rows], True for points of sets of `size` i32[B], with `num_rows` rows.

    A smaller set also has fewer copies of the given points. The mask is None if `size` is None,
    because all rows are points then.
    """
    if size is None:
        return None
    index, size = jnp.arange(num_rows(num_points, num_given)), size[:, None]
    mask = index < size
    if num_given:
        copies = -(-size // num_given) * num_given  # as in num_rows
        mask = mask | (index >= num_points) & (index < num_points + copies)
    return mask


@partial(jax.jit, static_argnames=("num_points", "num_sets"))
def with_copies(given: jax.Array, num_points: int, num_sets: int) -> PointSets:
    """The given points first, then slots for the new points, then copies of the given points.

    A few given points among many new points have little influence, so the set may not match them.
    The copies have independent noise, and give the given points as much weight as all other points.
    """
    n = len(given)
    index = jnp.arange(num_rows(num_points, n))
    is_known = (index < n) | (index >= num_points)
    row = jnp.where(index < num_points, jnp.minimum(index, n - 1), (index - num_points) % n)
    points = jnp.where(is_known[:, None], given[row], 0)
    shape = (num_sets, len(index))
    points = jnp.broadcast_to(points, (*shape, points.shape[-1]))
    return PointSets(points, jnp.broadcast_to(is_known, shape))
