"""Orders of the points of a set: by rows, by columns, or by one coordinate.

The density p(X) of a set without order and the density p(order(X)) of the ordered set are
equivalent:
    p(X) = p(order(X)) / N!    for each of the N! orders of N different points.
The ordered density is easier to learn point by point. The next point is near, or in the next row,
and cannot repeat an earlier point. Autoregressive models of pixels use the order of rows
(arXiv 1601.06759), and models of sets use the order of a coordinate (arXiv 1902.01967).

A learned density q has some mass on sequences that are out of order, and only a mass Z < 1 on
ordered sequences. So q(order(X)) / N! integrates to Z over sets. It is a lower bound of two other
densities. The first is the density of drawn sets, the mean of q over all N! orders. The second is
q(order(X)) / (Z N!), the density of drawn sets if sets out of order are rejected.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from tiny_diffusion_jax.errors import require


class Key(NamedTuple):
    """One key of a sort: a coordinate, or the number of its interval of length `height`."""

    axis: int
    falls: bool = False  # from the largest value to the smallest
    height: float = 0.0  # in the units of the data; 0: the coordinate itself


def parse_order(text: str, coordinates: tuple[str, ...]) -> tuple[Key, ...]:
    """Return the keys of an order, the first key first; () for points in random order.

        random                  ();
        rows:HEIGHT             floor(x_D / HEIGHT) falls, then x_1 rises;
        columns:WIDTH           floor(x_1 / WIDTH) rises, then x_D falls;
        coordinate:NAME         x_NAME rises;
        coordinate:NAME:desc    x_NAME falls.

    The other coordinates follow as keys, so that points which are equal in some coordinates have
    one order, too. coordinates: the D names. Raises UserError for an unknown name.
    """
    kind, _, value = text.partition(":")
    last = len(coordinates) - 1
    if kind == "rows":
        keys = Key(last, True, float(value)), Key(0)
    elif kind == "columns":
        keys = Key(0, False, float(value)), Key(last, True)
    elif kind == "coordinate":
        name = value.removesuffix(":desc")
        require(name in coordinates, "config.model.order", text,
                "of a coordinate of the data: " + ", ".join(coordinates))  # fmt: skip
        keys = (Key(coordinates.index(name), value.endswith(":desc")),)
    else:
        return ()
    used = {key.axis for key in keys if not key.height}
    return (*keys, *(Key(axis) for axis in range(last + 1) if axis not in used))


def order_of(
    points: jax.Array, keys: tuple[Key, ...], mask: jax.Array | None = None,
    origin: tuple[float, ...] = (), given: jax.Array | None = None,
) -> jax.Array:  # fmt: skip
    """Order i32[..., N] of points f32[..., N, D] by `keys`, see `parse_order`.

    Points that are given (bool[..., N]) come first, in order, then the other points in order.
    Padding (mask False, bool[..., N]) comes last. `origin`: origin of points in centred units, see
    units.py.
    """
    missing = jnp.zeros(points.shape[:-1], bool) if mask is None else ~mask
    part = 2 * missing if given is None else 2 * missing + ~given
    values = [_value(points, key, origin) for key in keys]
    return jnp.lexsort((*values[::-1], part), axis=-1)  # the last key of lexsort comes first


def out_of_order(
    points: jax.Array, keys: tuple[Key, ...], origin: tuple[float, ...] = ()
) -> jax.Array:
    """Pairs bool[..., N - 1] of points i and i + 1 of f32[..., N, D] that `order_of` exchanges.

    A set is out of order if any pair is out of order. Pairs with NaN padding are always in order.
    """
    wrong = jnp.zeros((*points.shape[:-2], points.shape[-2] - 1), bool)
    tied = ~wrong
    for key in keys:
        value = _value(points, key, origin)
        wrong |= tied & (value[..., 1:] < value[..., :-1])
        tied &= value[..., 1:] == value[..., :-1]
    return wrong


def _value(points: jax.Array, key: Key, origin: tuple[float, ...]) -> jax.Array:
    """Value f32[..., N] of a key, which rises in order.

    Complete rows of `origin` do not change the order, so these rows are not added.
    """
    value = points[..., key.axis]
    if key.height:
        value = jnp.floor((value + origin[key.axis] % key.height if origin else value) / key.height)
    return -value if key.falls else value


def log_orders(size: jax.Array) -> jax.Array:
    """log N!, f32[B], of sets of N = size i32[B] points."""
    return gammaln(size + 1.0)
