"""Points of a set in the order in which one reads: row by row, and from left to right in a row.

A law of sets without an order, p(X), and one of sets in rows, p(rows(X)), say the same:
    p(X) = p(rows(X)) / N!    for each of the N! orders of N points that differ,
and the second is easier to learn point after point: the next one is near, or a row further, and
cannot be one that was drawn already (as pixels of an image are drawn one after the other, arXiv
1601.06759; sets in the order of a coordinate: arXiv 1902.01967).

A learned law q has some mass on sequences that are out of order, and only a mass Z < 1 on the
others. So q(rows(X)) / N! integrates to Z over sets. It is a lower bound of the density of drawn
sets, which is the mean of q over all N! orders, and of q(rows(X)) / (Z N!), the density of drawn
sets when sets out of order are rejected.
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
    units, see units.py.
    """
    row = _row(points, height, origin)
    missing = jnp.zeros(row.shape, bool) if mask is None else ~mask
    return jnp.lexsort((points[..., 0], row, missing), axis=-1)


def out_of_order(
    points: jax.Array, height: float, origin: tuple[float, ...] = ()
) -> jax.Array:
    """bool[..., N - 1]: whether `row_order` exchanges point i + 1 and point i of f32[..., N, D].

    A set is out of order if any such pair is. NaN, which pads smaller sets, never is.
    """
    row, x = _row(points, height, origin), points[..., 0]
    same_row = row[..., 1:] == row[..., :-1]
    return (row[..., 1:] < row[..., :-1]) | same_row & (x[..., 1:] < x[..., :-1])


def _row(points: jax.Array, height: float, origin: tuple[float, ...] = ()) -> jax.Array:
    """Number of the row f32[..., N] of each point, from the top down.

    The whole rows of `origin` do not change the order, so they are left out.
    """
    y = points[..., -1]
    return -jnp.floor((y + origin[-1] % height if origin else y) / height)


def log_orders(size: jax.Array) -> jax.Array:
    """log N!, f32[B], of sets of N = size i32[B] points."""
    return gammaln(size + 1.0)
