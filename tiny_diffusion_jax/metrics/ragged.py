"""Sets of different sizes in one array f32[S, N, D]: the points of each set first, then NaN.

Sampled sets have this form, and so do the real sets that are compared with them.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.dataset import Dataset, draw_sets
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.point_sets import PointSets, lengths, masked

CELLS = 10  # bits of each coordinate in the order along a Morton curve


def is_ragged(*groups) -> bool:
    """Return whether any set of any group f32[S, N, D] has padding."""
    return any(bool(np.isnan(np.asarray(sets)).any()) for sets in groups)


def require_padded(name: str, sets: np.ndarray) -> None:
    """Raise UserError unless each set has points, all before its padding, and all are finite."""
    missing = np.isnan(sets)
    infinite = int(np.isinf(sets).any(-1).sum())
    require(infinite == 0, f"{name}: points that are not finite", infinite, "0")
    complete = (missing.all(-1) == missing.any(-1)).all() and not missing[:, 0].any()
    at_the_end = np.all(missing[:, 1:] >= missing[:, :-1])
    require(bool(complete and at_the_end), f"{name}: missing points", "NaN",
            "whole points, after those that exist, of which each set has at least 1")  # fmt: skip


def real_sets(dataset: Dataset, key: jax.Array, which, num_points: int = 0) -> np.ndarray:
    """Draw real sets in own units, f32[B, N, D]; sets with fewer than N points are padded with NaN.

    which: i32[B], the sources (observed sets, images), or the number of sets to draw from all
    sources. num_points: N; 0 = number of points of the largest observed set.
    """
    if not num_points:
        require(dataset.sizes is not None, "num_points", 0, "at least 1 for data without sizes")
        num_points = int(np.max(dataset.sizes))
    return described_sets(dataset, key, which, num_points).points


def described_sets(dataset: Dataset, key: jax.Array, which, num_points: int) -> PointSets:
    """Draw the sets of `real_sets`, with labels, and with sizes of the complete sets as `count`."""
    if np.ndim(which):
        sets = _draw_from(dataset, key, jnp.asarray(which), num_points)
    else:
        sets = draw_sets(dataset, key, int(which), num_points)
    return sets._replace(points=masked(sets.points, sets.mask), mask=None)


def one_set_each(dataset: Dataset, key: jax.Array, at_most: int, num_points: int):
    """(sets f32[B, N, D], index i32[B]): one set from each of B <= `at_most` different sources.

    The sources are chosen at random, and the sets have the form of `real_sets`.
    """
    choose, draw = jax.random.split(key)
    index = jax.random.permutation(choose, dataset.num_sources)[:at_most]
    return real_sets(dataset, draw, index, num_points), np.asarray(index)


@partial(jax.jit, static_argnames="num_points")
def _draw_from(dataset, key, index, num_points: int) -> PointSets:
    return dataset.draw_from(key, index, num_points)


def pad(sets: np.ndarray, num_points: int) -> np.ndarray:
    """Pad or cut each set to f32[S, num_points, D], at its end."""
    missing = max(0, num_points - sets.shape[1])
    padded = np.pad(sets, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)
    return padded[:, :num_points]


def trim(sets: np.ndarray, most: int) -> np.ndarray:
    """Cut each set to its first `most` points, and remove columns that are padding in all sets."""
    return sets[:, : min(most, int(lengths(sets).max()))]


def first_of_each(sets: np.ndarray) -> np.ndarray:
    """Indices i64[K] of the different sets among f32[S, N, D], in increasing order.

    Two sets are equal if they have the same points in any order.
    """
    contents = [points[np.lexsort(points.T)].tobytes() for points in sets + np.float32(0)]
    first = {contents[i]: i for i in reversed(range(len(contents)))}
    return np.array(sorted(first.values()), int)


def to_one_size(sets: np.ndarray, num_points: int) -> np.ndarray:
    """Resample each set to K = num_points points f32[S, K, D], with nearly uniform weights.

    Each of the n points of a set appears floor(K / n) or ceil(K / n) times. If r = K mod n > 0,
    then r points weigh 1 / K more than the others. A share r (n - r) / (n K) <= n / (4 K) of the
    mass is therefore misplaced. The r points are spread evenly along a space-filling curve, so this
    mass is misplaced by about the distance between neighbours. The result does not depend on the
    order of the points. Sets with K points are unchanged.
    """
    sets = np.asarray(sets)
    result = np.empty((len(sets), num_points, sets.shape[-1]), sets.dtype)
    for i, n in enumerate(lengths(sets)):
        points = sets[i, :n]
        if n != num_points:
            points = points[_along_curve(points)]
            points = points[(2 * np.arange(num_points) + 1) * n // (2 * num_points)]
        result[i] = points
    return result


def _along_curve(points: np.ndarray) -> np.ndarray:
    """Sort points [n, D] along a Morton curve (interleaved bits), so that neighbours are near."""
    low, width = points.min(0), max(float(np.ptp(points, axis=0).max()), 1e-30)
    cell = ((points - low) / width * (2**CELLS - 1)).astype(np.int64)
    bits = [cell[:, d] >> b & 1 for b in reversed(range(CELLS)) for d in range(points.shape[1])]
    # Sort points of one cell by coordinates, so that the order depends only on the set.
    return np.lexsort([*points.T[::-1], *bits[::-1]])
