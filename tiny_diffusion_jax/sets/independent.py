"""Draw all points of a set independently: p(X) = prod_i p(x_i). Sets are superpositions."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets.reverse import SamplingContext, reverse
from tiny_diffusion_jax.sets.strategy import Strategy

PART = 16_384  # points of a set that are drawn at once, to bound memory


class Independent(Strategy):
    """Independent points, in parts of a few thousand points. The log-likelihood is exact."""

    has_point_density: ClassVar[bool] = True

    def points_in_memory(self, num_points: int, num_given: int = 0) -> int:
        return min(num_points, PART)

    def draw(self, context, keys, conditioning, sizes=None):
        return draw_points(context, self.model, keys, context.num_points, conditioning)

    def num_draws(self, requested: int, num_points: int, dim: int) -> int:
        return 1


def draw_points(
    context: SamplingContext, model, keys: jax.Array, num_points: int, conditioning: Conditioning
) -> jax.Array:
    """Draw `num_points` points per set, independent of each other given the conditioning."""
    part = min(num_points, PART)
    parts = [
        reverse(context, model, keys, (part, context.dim), number=j, conditioning=conditioning)
        for j in range(math.ceil(num_points / part))
    ]
    return jnp.concatenate(parts, axis=-2)[..., :num_points, :]
