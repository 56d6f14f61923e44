"""Reading order of the points of a set: row by row, and from left to right in a row.

The density p(X) of a set without order and the density p(rows(X)) of the ordered set are
equivalent:
    p(X) = p(rows(X)) / N!    for each of the N! orders of N different points.
The ordered density is easier to learn point by point. The next point is near, or in the next row,
and cannot repeat an earlier point. Autoregressive models of pixels use the same order
(arXiv 1601.06759), and models of sets use the order of a coordinate (arXiv 1902.01967).

A learned density q has some mass on sequences that are out of order, and only a mass Z < 1 on
ordered sequences. So q(rows(X)) / N! integrates to Z over sets. It is a lower bound of two other
densities. The first is the density of drawn sets, the mean of q over all N! orders. The second is
q(rows(X)) / (Z N!), the density of drawn sets if sets out of order are rejected.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln


def row_order(
    points: jax.Array, height: float, mask: jax.Array | None = None,
    origin: tuple[float, ...] = (), given: jax.Array | None = None,
) -> jax.Array:  # fmt: skip
    """Order i32[..., N] of points f32[..., N, D]: by falling floor(x_D / height), then by x_1.

    Points that are given (bool[..., N]) come first, in rows, then the other points in rows. Padding
    (mask False, bool[..., N]) comes last. `origin`: origin of points in centred units, see
    units.py.
    """
    row = _row(points, height, origin)
    missing = jnp.zeros(row.shape, bool) if mask is None else ~mask
    part = 2 * missing if given is None else 2 * missing + ~given
    return jnp.lexsort((points[..., 0], row, part), axis=-1)


def out_of_order(
    points: jax.Array, height: float, origin: tuple[float, ...] = ()
) -> jax.Array:
    """Pairs bool[..., N - 1] of points i and i + 1 of f32[..., N, D] that `row_order` exchanges.

    A set is out of order if any pair is out of order. Pairs with NaN padding are always in order.
    """
    row, x = _row(points, height, origin), points[..., 0]
    same_row = row[..., 1:] == row[..., :-1]
    return (row[..., 1:] < row[..., :-1]) | same_row & (x[..., 1:] < x[..., :-1])


def _row(points: jax.Array, height: float, origin: tuple[float, ...] = ()) -> jax.Array:
    """Row number f32[..., N] of each point, from the top down.

    Complete rows of `origin` do not change the order, so these rows are not added.
    """
    y = points[..., -1]
    return -jnp.floor((y + origin[-1] % height if origin else y) / height)


def log_orders(size: jax.Array) -> jax.Array:
    """log N!, f32[B], of sets of N = size i32[B] points."""
    return gammaln(size + 1.0)
