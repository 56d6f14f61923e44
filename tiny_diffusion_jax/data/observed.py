"""Observed sets: fixed sets of different sizes.

A draw from a set of size s has n = min(s, N) different points, and all s points are equally likely.
The set is stored in a random order. A draw rotates this order by a random offset, and splits it
into n strata:

    q = floor(s / n),  r = s - n q:    stratum i begins at  i q + min(i, r),  is q + (i < r) long

Each stratum gives one point. Without the rotation, points of shorter strata would be more frequent.
The draw needs no sort of the complete set, so sets of 10^5 and of 10^2 points cost the same.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import notices, units
from tiny_diffusion_jax.data.densities import make_dataset
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.point_sets import PointSets


@flax.struct.dataclass
class Observed:
    """Arrays of all observed sets for a draw, set after set."""

    points: jax.Array  # f32[P, D], centred units, each set in a random order
    offsets: jax.Array  # i32[S]
    sizes: jax.Array  # i32[S]
    labels: jax.Array | None  # i32[S]
    # Size of the smallest set. No mask is needed if all sets have at least N points.
    smallest: int = flax.struct.field(pytree_node=False)


def from_observed(
    points: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, labels: np.ndarray | None = None,
    *, normalize: bool = True, per_axis: bool = False, origin: tuple[float, ...] = (), **fields,
) -> Dataset:  # fmt: skip
    """Make a dataset of S equally likely observed sets: set s = points[offsets[s]:][:sizes[s]].

    points: f64[P, D] in own units; offsets, sizes: [S], the sizes above 0; labels: [S] or None;
    origin: see units.py; fields: see `Dataset`. Normalised points have mean 0 and mean variance 1
    over the D coordinates. With `per_axis` the variance is 1 in each coordinate. Raises `UserError`
    if the spread is 0.
    """
    points = np.asarray(units.to_centred(origin, points), np.float32)
    dim = points.shape[1]
    columns = fields.setdefault("columns", tuple(map(str, range(dim))))
    mean, variance = moments(points, offsets, sizes) if normalize else (np.zeros(dim), np.ones(dim))
    if normalize and not per_axis:
        fields["notice"] = notices.join(
            notices.spreads(variance, columns), fields.get("notice", ""))  # fmt: skip
    observed = Observed(
        jnp.asarray(_shuffled(points, offsets, sizes)), jnp.asarray(offsets, jnp.int32),
        jnp.asarray(sizes, jnp.int32), None if labels is None else jnp.asarray(labels, jnp.int32),
        smallest=int(np.min(sizes)),
    )  # fmt: skip
    return make_dataset(
        Partial(_draw, observed), draw_from=Partial(_draw_from, observed), per_axis=per_axis,
        moments=(mean, variance), points=observed.points, offsets=observed.offsets,
        sizes=observed.sizes, source_labels=observed.labels, origin=origin, **fields,
    )  # fmt: skip


def moments(points, offsets, sizes) -> tuple[np.ndarray, np.ndarray]:
    """(mean[D], variance[D]) of a point of a set; all sets have equal weight."""
    index, weight = flat_index(offsets, sizes), np.repeat(1 / (len(sizes) * sizes), sizes)
    points = points[index].astype(np.float64)
    mean = weight @ points
    variance = weight @ (points - mean) ** 2
    # The mean is rounded, so set the variance of constant coordinates to 0.
    return mean, np.where(np.ptp(points, axis=0) > 0, variance, 0.0)


def flat_index(offsets, sizes) -> np.ndarray:
    """Indices i64[sum of sizes] of all points of the sets, set after set."""
    offsets, sizes = np.asarray(offsets, np.int64), np.asarray(sizes, np.int64)
    before = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) + np.repeat(offsets - before, sizes)


def _shuffled(points, offsets, sizes) -> np.ndarray:
    """Shuffle the points of each set, with the same order in every run."""
    index = flat_index(offsets, sizes)
    of_set = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(0).permutation(len(index))
    order = random[np.argsort(of_set[random], kind="stable")]
    shuffled = points.copy()
    shuffled[index] = points[index[order]]
    return shuffled


def _draw(observed: Observed, key: jax.Array, num_sets: int, num_points: int) -> PointSets:
    which, key = jax.random.split(key)
    index = jax.random.randint(which, (num_sets,), 0, len(observed.sizes))
    return _draw_from(observed, key, index, num_points)


def _draw_from(observed: Observed, key, index: jax.Array, num_points: int) -> PointSets:
    """Draw a set from each source of `index` i32[B]: points in random order, then padding.

    The padding repeats points of the set, so that functions that ignore the mask see valid points.
    """
    place_key, turn_key, order_key = jax.random.split(key, 3)
    B, N = len(index), num_points
    size = observed.sizes[index][:, None]
    n = jnp.minimum(size, N)
    i = _random_order(order_key, n, N) % n
    q, r = size // n, size % n
    width = q + (i < r)
    within = (jax.random.uniform(place_key, (B, N)) * width).astype(jnp.int32)
    place = i * q + jnp.minimum(i, r) + jnp.minimum(within, width - 1)
    place = (place + jax.random.randint(turn_key, (B, 1), 0, size)) % size
    points = observed.points[observed.offsets[index][:, None] + place]
    mask = None if observed.smallest >= N else jnp.arange(N) < n
    label = None if observed.labels is None else observed.labels[index]
    return PointSets(points, mask, label, size[:, 0])


def _random_order(key, n: jax.Array, num: int) -> jax.Array:
    """Rows i32[B, num] with the numbers 0 .. n_b - 1 in random order, then n_b .. num - 1.

    n: i32[B, 1]. The function sorts random bits that contain the number in their lowest bits. On a
    CPU, XLA sorts one array many times as fast as it sorts an array by the keys of another array.
    """
    low = max(1, (num - 1).bit_length())
    number = jnp.arange(num, dtype=jnp.uint32)
    bits = jax.random.bits(key, (len(n), num), jnp.uint32) >> 1
    mixed = jnp.where(number < n, bits >> low << low | number, jnp.uint32(2**31) | number)
    return (jnp.sort(mixed, axis=1) & jnp.uint32(2**low - 1)).astype(jnp.int32)
