"""Sets of different sizes in one array: f32[S, N, D], each set's points first, then NaN.

The form in which sampled sets come, and in which real ones are compared with them.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.base import Dataset, PointSets, draw_sets
from tiny_diffusion_jax.data.padding import lengths, masked
from tiny_diffusion_jax.errors import require

CELLS = 10  # bits of each coordinate in the order along a Morton curve


def is_ragged(*groups) -> bool:
    """Whether any set of any group f32[S, N, D] lacks points."""
    return any(bool(np.isnan(np.asarray(sets)).any()) for sets in groups)


def require_padded(name: str, sets: np.ndarray) -> None:
    """Raises UserError unless each set has a point, all its points first, and none is infinite."""
    missing = np.isnan(sets)
    infinite = int(np.isinf(sets).any(-1).sum())
    require(infinite == 0, f"{name}: points that are not finite", infinite, "0")
    whole = (missing.all(-1) == missing.any(-1)).all() and not missing[:, 0].any()
    first = np.all(missing[:, 1:] >= missing[:, :-1])
    require(bool(whole and first), f"{name}: missing points", "NaN",
            "whole points, after those that exist, of which each set has at least 1")  # fmt: skip


def real_sets(dataset: Dataset, key: jax.Array, which, num_points: int = 0) -> np.ndarray:
    """Real sets in own units, f32[B, N, D], padded with NaN where one has fewer than N points.

    which: i32[B], the sources to draw from (observed sets, images), or how many sets of any kind
    to draw. num_points: N; 0 = as many as the largest observed set has.
    """
    if not num_points:
        require(dataset.sizes is not None, "num_points", 0, "at least 1 for data without sizes")
        num_points = int(np.max(dataset.sizes))
    return described_sets(dataset, key, which, num_points).points


def described_sets(dataset: Dataset, key: jax.Array, which, num_points: int) -> PointSets:
    """The sets of `real_sets`, with their labels and the sizes of the whole sets, `count`."""
    if np.ndim(which):
        sets = _draw_from(dataset, key, jnp.asarray(which), num_points)
    else:
        sets = draw_sets(dataset, key, int(which), num_points)
    return sets._replace(points=masked(sets.points, sets.mask), mask=None)


@partial(jax.jit, static_argnames="num_points")
def _draw_from(dataset, key, index, num_points: int) -> PointSets:
    return dataset.draw_from(key, index, num_points)


def pad(sets: np.ndarray, num_points: int) -> np.ndarray:
    """f32[S, num_points, D]: places without a point added, or points left out at the end."""
    missing = max(0, num_points - sets.shape[1])
    padded = np.pad(sets, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)
    return padded[:, :num_points]


def trim(sets: np.ndarray, most: int) -> np.ndarray:
    """The first points of each set, at most `most`, without places that no set fills."""
    return sets[:, : min(most, int(lengths(sets).max()))]


def first_of_each(sets: np.ndarray) -> np.ndarray:
    """Indices i64[K] of the different sets among f32[S, N, D], in their order.

    Sets of the same points in another order are the same.
    """
    contents = [points[np.lexsort(points.T)].tobytes() for points in sets + np.float32(0)]
    first = {}
    for i, content in enumerate(contents):
        first.setdefault(content, i)
    return np.array(list(first.values()), int)


def to_one_size(sets: np.ndarray, num_points: int) -> np.ndarray:
    """Each set as K = num_points points, f32[S, K, D]: its uniform measure in K equal parts.

    Of n points each is taken floor(K / n) or ceil(K / n) times. Where r = K mod n > 0, some weigh
    1 / K more than others, r of them: a share r (n - r) / (n K) <= n / (4 K) of the mass is
    not where it should be. Which ones these are is spread evenly along a curve that fills space, so
    that this mass is off by about the distance between neighbours, and does not depend on the order
    of the points. Sets of K points come back as they are.
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
    """An order of points [n, D] in which neighbours are near: that of Morton, bits interleaved."""
    low, width = points.min(0), max(float(np.ptp(points, axis=0).max()), 1e-30)
    cell = ((points - low) / width * (2**CELLS - 1)).astype(np.int64)
    bits = [cell[:, d] >> b & 1 for b in reversed(range(CELLS)) for d in range(points.shape[1])]
    # Points of one cell are told apart by their coordinates: the order is that of the set alone.
    return np.lexsort([*points.T[::-1], *bits[::-1]])
