"""Generate all points of a set together, in one reverse process: p(X) as one density."""

import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.student import forced_sets
from tiny_diffusion_jax.point_sets import PointSets
from tiny_diffusion_jax.sets.reverse import reverse
from tiny_diffusion_jax.sets.strategy import Strategy

EXACT = 32  # numbers N D of a set up to which the divergence is exact


class Joint(Strategy):
    """One density of all N D coordinates, by a network that sees all noisy points.

    To complete a set, every step inserts the given points, noised to the level of the step
    (arXiv 2011.13456, appendix I.2). The log-likelihood is exact for small sets. For larger sets a
    random direction estimates the divergence (Hutchinson).
    """

    default_draws: ClassVar[int] = 2
    averages_log_p: ClassVar[bool] = True

    def noise(self, keys, shape, mask, num_levels, spec):
        fields = super().noise(keys, shape, mask, num_levels, spec)
        share = getattr(self.model, "teacher_forcing", 0.0)
        if not share:
            return fields
        return fields | {"forced": jnp.broadcast_to(forced_sets(shape[1], share), shape[:2])}

    def points_in_memory(self, num_points: int, num_given: int = 0) -> int:
        """Number of points of a set plus copies of the given points, see `with_copies`."""
        copies = math.ceil(num_points / num_given) * num_given if num_given else 0
        return num_points + copies

    def draw(self, context, keys, conditioning, sizes=None):
        mask = self.slots(sizes, context.num_points)
        shape = context.num_points, context.dim
        return reverse(context, self.model, keys, shape,
                       conditioning=conditioning._replace(mask=mask))  # fmt: skip

    def complete(self, context, keys, given, conditioning, sizes=None):
        num_points = context.num_points
        fixed = self.with_copies(given, num_points, len(keys))
        mask = self.slots(sizes, num_points, len(given))
        x = reverse(context, self.model, keys, fixed.points.shape[1:], fixed=fixed,
                    conditioning=conditioning._replace(mask=mask))  # fmt: skip
        return x[..., :num_points, :]

    @partial(jax.jit, static_argnames=("self", "num_points", "num_given"))
    def slots(self, sizes, num_points: int, num_given: int = 0) -> jax.Array | None:
        """Return bool[B, slots], True for points of sets of `sizes` and copies of given points.

        sizes: i32[B]. A smaller set also has fewer copies of the given points. The mask is None if
        `sizes` is None, because all slots are points then.
        """
        if sizes is None:
            return None
        index, size = jnp.arange(self.points_in_memory(num_points, num_given)), sizes[:, None]
        mask = index < size
        if num_given:
            copies = -(-size // num_given) * num_given  # as in points_in_memory
            mask = mask | (index >= num_points) & (index < num_points + copies)
        return mask

    @partial(jax.jit, static_argnames=("self", "num_points", "num_sets"))
    def with_copies(self, given: jax.Array, num_points: int, num_sets: int) -> PointSets:
        """The given points first, then slots for new points, then copies of the given points.

        A few given points among many new points have little influence, so the set may not match
        them. The copies have independent noise, and give the given points as much weight as all
        other points.
        """
        n = len(given)
        index = jnp.arange(self.points_in_memory(num_points, n))
        is_given = (index < n) | (index >= num_points)
        row = jnp.where(index < num_points, jnp.minimum(index, n - 1), (index - num_points) % n)
        points = jnp.where(is_given[:, None], given[row], 0)
        shape = (num_sets, len(index))
        points = jnp.broadcast_to(points, (*shape, points.shape[-1]))
        return PointSets(points, jnp.broadcast_to(is_given, shape))

    def num_draws(self, requested: int, num_points: int, dim: int) -> int:
        if num_points * dim <= EXACT:
            return 1
        return super().num_draws(requested, num_points, dim)

    def scores_training_sizes(self, sizes_vary: bool) -> bool:
        return sizes_vary

    def log_prob(self, scored):
        shape, dtype = scored.x.shape, scored.x.dtype
        if shape[1] * shape[2] <= EXACT:
            directions = _axes(shape)
        else:
            rademacher = partial(jax.random.rademacher, shape=shape[1:], dtype=dtype)
            directions = jax.vmap(rademacher)(scored.keys)[None]
        conditioning = scored.conditioning._replace(mask=scored.mask)
        directions = directions * scored.mask[..., None]
        return self.log_prob_of_points(scored, conditioning, directions), 0.0


def _axes(shape: tuple[int, int, int]) -> jax.Array:
    """Unit vectors f32[N D, B, N, D] of a set."""
    B, N, D = shape
    axes = jnp.eye(N * D).reshape(N * D, 1, N, D)
    return jnp.broadcast_to(axes, (N * D, B, N, D))
