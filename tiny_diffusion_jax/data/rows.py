"""Points of a set in the order in which one reads: row by row, and from left to right in a row.

A law of sets without an order, p(X), and one of sets in rows, p(rows(X)), say the same:
    p(X) = p(rows(X)) / N!    for each of the N! orders of N points that differ,
and the second is easier to learn point after point: the next one is near, or a row further, and
cannot be one that was drawn already (as pixels of an image are drawn one after the other, arXiv
1601.06759; sets in the order of a coordinate: arXiv 1902.01967).
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln


def row_order(
    points: jax.Array, height: float, mask: jax.Array | None = None,
    origin: tuple[float, ...] = (),
) -> jax.Array:  # fmt: skip
    """i32[..., N]: points f32[..., N, D] by floor(x_D / height), the highest first, then by x_1.

    Points that do not exist (mask False, bool[..., N]) come last. `origin`: of points in centred
    units, see units.py. Its whole rows do not change the order, so they are left out.
    """
    y = points[..., -1]
    row = -jnp.floor((y + origin[-1] % height if origin else y) / height)
    missing = jnp.zeros(row.shape, bool) if mask is None else ~mask
    return jnp.lexsort((points[..., 0], row, missing), axis=-1)


def log_orders(size: jax.Array) -> jax.Array:
    """log N!, f32[B], of sets of N = size i32[B] points."""
    return gammaln(size + 1.0)
